"""From what was counted to the list of metrics: names, titles, definitions and intervals."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from adaptation.evaluation import diversity, intervals
from adaptation.evaluation.definitions import SETS, VALUES, Definition
from adaptation.evaluation.features import CLIP, INCEPTION
from adaptation.evaluation.frechet import FrechetTarget
from adaptation.evaluation.intervals import Interval
from adaptation.evaluation.kernel_distance import KernelDistance, cmmd, kid
from adaptation.evaluation.statistics import Statistics

ADAPTED, SOURCE, TARGET = 'adapted', 'source', 'target'
YARDSTICK = "The source generator's own figure, as a yardstick: "


@dataclass(frozen=True)
class Metric:
    """One number.

    Attributes:
        name: the same in every evaluation.
        title: for people.
        value: the number.
        interval: 95 % confidence, or None where none is taken.
        better: 'lower', 'higher', or None where neither is.
        samples: how many samples it is of.
        about: its definition, unit, and what to beware of.
    """

    name: str
    title: str
    value: float
    interval: Interval | None
    better: str | None
    samples: int
    about: str

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return {**asdict(self), 'interval': None if self.interval is None else list(self.interval)}


def collect(statistics: Statistics, reference: Float[np.ndarray, 'D'] | None, seed: int) -> list[Metric]:
    """All metrics, most important first; what could be taken of no sample is left out.

    Args:
        statistics: of all samples.
        reference: the reference's joint CLIP embedding; None where texts alone guided: nothing is compared with it.
        seed: of KID's subsets.
    """
    distances = [name for kind, name in statistics.features if kind == TARGET and name != CLIP]
    result: list[Metric] = []
    for name in sorted(distances, key=lambda name: name != INCEPTION):
        result += _distances(statistics, name, seed)
    result += _means(statistics)
    result += _diversity(statistics)
    if reference is not None:
        result += _reference(statistics, reference)
    return result


def _distances(statistics: Statistics, name: str, seed: int) -> Iterator[Metric]:
    """Frechet and kernel distances of one network's features to the target pictures, adapted and source."""
    target = statistics.features[TARGET, name]
    frechet, count = FrechetTarget(target.moments), target.moments.count
    inception = name == INCEPTION
    suffix = name.removeprefix(f'{CLIP}_')
    names = ('fid_inception', 'kid_inception') if inception else (f'clip_fid_{suffix}', f'cmmd_{suffix}')
    network = 'InceptionV3' if inception else f"the run's CLIP, {suffix}"
    titles = (f'FID ({network})', f'KID ({network})') if inception else (f'CLIP-FID ({network})', f'CMMD ({network})')
    for side, ending in ((ADAPTED, ''), (SOURCE, '_source')):
        features = statistics.features[side, name]
        moments, kept = features.moments, features.kept.rows
        goal, start, whose = ('lower', '', '') if side == ADAPTED else (None, YARDSTICK, ', source')
        value = frechet.distance(moments)
        interval = intervals.of_jackknife(value, frechet.without_each(features.groups)) if side == ADAPTED else None
        about = start + _about_frechet(inception, min(moments.count, count), len(moments.mean), count)
        yield Metric(names[0] + ending, titles[0] + whose, value, interval, goal, moments.count, about)

        rows = target.kept.rows
        kernel = kid(kept, rows, seed) if inception else cmmd(kept, rows)
        about = start + _about_kernel(inception, len(rows))
        spread = intervals.of_jackknife(kernel.value, kernel.without)
        yield Metric(names[1] + ending, titles[1] + whose, kernel.value, spread, goal, len(kept), about)
        if inception and side == ADAPTED:
            yield _kid_deviation(kernel, len(kept))


def _about_frechet(inception: bool, smaller: int, dimension: int, target: int) -> str:
    network = 'InceptionV3 pool features' if inception else 'unit-norm CLIP image embeddings'
    rank = (
        f'; with {smaller} pictures the covariance of {dimension} features has not its full rank, so that the distance '
        f'is too high and to be compared only between sets of the same size'
        if smaller <= dimension
        else '; it grows as sets get smaller, so compare sets of the same size'
    )
    flattered = '' if inception else '; the adaptation was trained against this very encoder, which flatters it'
    return (
        f'Squared Frechet distance between Gaussians fitted to {network} of the samples and of {target} target '
        f'pictures, no unit{rank}{flattered}. Interval: delete-a-group jackknife over samples, the pictures fixed.'
    )


def _about_kernel(inception: bool, target: int) -> str:
    if inception:
        return (
            f'Unbiased squared MMD with the kernel (x y / 2048 + 1)^3 of InceptionV3 pool features, mean over random '
            f'subsets of at most 1000, to {target} target pictures; can be below 0. '
            'Interval: delete-a-group jackknife over samples, the pictures fixed.'
        )
    return (
        f'1000 times the unbiased squared MMD with a Gaussian kernel of sigma 10 (arXiv 2401.09603) between unit-norm '
        f'image embeddings of the samples and of {target} target pictures, by an encoder that guided the adaptation, '
        "which flatters it, and not the paper's ViT-L/14 of 336 pixels; can be below 0. "
        'Interval: delete-a-group jackknife over samples, the pictures fixed.'
    )


def _kid_deviation(kernel: KernelDistance, count: int) -> Metric:
    about = (
        'Standard deviation of KID over its random subsets, as papers report it; 0 where all pictures are one subset.'
    )
    return Metric('kid_inception_deviation', 'KID, deviation over subsets', kernel.deviation, None, None, count, about)


def _means(statistics: Statistics) -> Iterator[Metric]:
    """What is a mean over samples."""
    for name, definition in VALUES.items():
        mean = statistics.values.get(name)
        if mean is None or not mean.count:
            continue
        interval = intervals.of_mean(mean.mean, mean.standard_error)
        yield _metric(name, definition, mean.mean, interval, mean.count)


def _diversity(statistics: Statistics) -> Iterator[Metric]:
    adapted, source = (statistics.features[kind, CLIP] for kind in (ADAPTED, SOURCE))
    count = adapted.moments.count
    share = diversity.mean_distance(adapted.moments) / diversity.mean_distance(source.moments)
    parts = [diversity.mean_distances_without_each(features.groups) for features in (adapted, source)]
    interval = intervals.of_jackknife(share, parts[0] / parts[1])
    yield _metric('diversity_clip', SETS['diversity_clip'], share, interval, count)


def _reference(statistics: Statistics, reference: np.ndarray) -> Iterator[Metric]:
    adapted, source, target = (statistics.features[kind, CLIP] for kind in (ADAPTED, SOURCE, TARGET))
    for name, features in (('reference_distance_clip', adapted), ('reference_distance_clip_source', source)):
        distance = 1.0 - float(features.moments.mean @ reference)
        without = [1.0 - group @ reference for group in _means_without_each(features.groups)]
        spread = intervals.of_jackknife(distance, np.asarray(without))
        yield _metric(name, SETS[name], distance, spread, features.moments.count)
    kept = adapted.kept.rows
    for name, yardstick in (('reference_copies', source), ('reference_copies_target', target)):
        if len(yardstick.kept.rows):
            hits = diversity.copies(kept, reference, diversity.copy_threshold(yardstick.kept.rows))
            yield _metric(name, SETS[name], hits / len(kept), intervals.of_share(hits, len(kept)), len(kept))


def _means_without_each(groups: list[Any]) -> Iterator[np.ndarray]:
    total = sum(group.count * group.mean for group in groups)
    count = sum(group.count for group in groups)
    for group in groups:
        yield (total - group.count * group.mean) / (count - group.count)


def _metric(name: str, definition: Definition, value: float, interval: Interval | None, count: int) -> Metric:
    return Metric(name, definition.title, value, interval, definition.better, count, definition.about)
