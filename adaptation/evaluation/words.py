"""What an evaluation says on the screen."""

from typing import TYPE_CHECKING

import jax

from adaptation.domain_codes import in_words
from adaptation.evaluation.features import CLIP, Networks
from adaptation.evaluation.metrics import Metric
from adaptation.evaluation.run import Run
from adaptation.evaluation.statistics import Statistics
from adaptation.evaluation.targets import Sizes, TargetFolder, name_some

if TYPE_CHECKING:
    from adaptation.evaluation.runner import Options

TITLE_WIDTH = 50


def banner(options: 'Options', run: Run, networks: Networks, target: TargetFolder | None, done: int) -> list[str]:
    """What is about to be measured, and what is left out and why."""
    side = run.inputs.generator.config.image_resolution
    lines = [f'adapter    {options.workdir}, source {run.config.generator}, {side} x {side} pixels']
    if options.domain is not None:
        none = '' if run.inputs.reference is not None else '; a mixture has no reference, and is compared with none'
        lines.append(f'domain     {in_words(options.domain)}{none}')
    if not run.finished:
        lines.append(f'warning: this run is not finished: what is measured is the adapter after step {run.steps}.')
    lines.append(f'networks   {", ".join(networks.by_name())}')
    if target is None:
        lines.append('target     none: FID, KID, CLIP-FID and CMMD are left out; --target=FOLDER gives the last two,')
        lines.append('           and with --inception=DIR all four')
    else:
        lines.append(f'target     {target.root}, {len(target.files)} pictures')
        if networks.inception is None:
            lines.append('           FID and KID are left out: --inception=DIR gives them')
    if networks.arcface is None:
        lines.append('identity   by CLIP, which is no face recognition network: --arcface=DIR gives one')
    device = jax.devices()[0]
    resumed = f', resumed after {done}' if done else ''
    lines.append(f'samples    {options.samples}, seed {options.seed}{resumed}')
    lines.append(f'device     {device.platform} ({device.device_kind})')
    return lines


def size_report(sizes: Sizes, resolution: int) -> list[str]:
    """How the target pictures were brought to one size, and which were skipped."""
    lines = []
    if sizes.smallest != sizes.largest or sizes.smallest != resolution:
        span = f'{sizes.smallest}' if sizes.smallest == sizes.largest else f'{sizes.smallest} to {sizes.largest}'
        lines.append(
            f'           short sides of {span} pixels: the central squares were brought to '
            f'{resolution} x {resolution} (bicubic, antialiased)'
        )
    if sizes.smaller:
        lines.append(
            f'warning: {sizes.smaller} of {sizes.read} target pictures are smaller than the {resolution} pixels of the '
            f'samples and were enlarged: distances measure their blur too.'
        )
    if sizes.skipped:
        lines.append(f'warning: skipped {len(sizes.skipped)} unreadable pictures: {name_some(sizes.skipped)}.')
    return lines


def rank_warnings(statistics: Statistics, samples: int) -> list[str]:
    """Warns of Frechet distances between sets that are too small for the number of features."""
    short: dict[tuple[int, int], list[str]] = {}
    for (kind, name), features in statistics.features.items():
        if kind != 'target' or name == CLIP:
            continue
        moments = features.moments
        dimension, smaller = len(moments.mean), min(moments.count, samples)
        if smaller <= dimension:
            short.setdefault((dimension, smaller), []).append(name)
    return [
        f'warning: with {smaller} pictures the covariance of the {dimension} features of {" and ".join(names)} has a '
        f'rank of at most {smaller - 1}: the Frechet distance is too high, and unstable; give more than {dimension} '
        f'target pictures and samples, or compare only sets of this size.'
        for (dimension, smaller), names in short.items()
    ]


def table(metrics: list[Metric]) -> list[str]:
    """A line for each metric: title, value, interval."""
    lines = []
    for metric in metrics:
        spread = '' if metric.interval is None else f'  [{metric.interval[0]:.4g}, {metric.interval[1]:.4g}]'
        lines.append(f'{metric.title:<{TITLE_WIDTH}} {metric.value:>10.4g}{spread}')
    return lines
