"""An evaluation from a working directory to its `evaluation.json`, resumable after any batch.

N batch, D features, R side of the generator's images.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from adaptation.domain_codes import directory_name, without_zeros
from adaptation.errors import AdaptationError, ConfigError, Interrupted
from adaptation.evaluation import statistics as counted
from adaptation.evaluation.batch_size import SHARE, fit_batch, free_memory, largest_batch, program_memory
from adaptation.evaluation.features import ARCFACE, CLIP, INCEPTION, Networks, clip_networks, load_network
from adaptation.evaluation.metrics import Metric, collect
from adaptation.evaluation.programs import Around, First, Pair, embed, make_around, make_first
from adaptation.evaluation.progress import SampleProgress
from adaptation.evaluation.run import Run, load_run
from adaptation.evaluation.statistics import Statistics
from adaptation.evaluation.targets import SMALLEST_SET, Sizes, TargetFolder, list_folder, read_pictures, resized
from adaptation.evaluation.words import banner, rank_warnings, size_report, table
from adaptation.workdir import Workdir
from eg3d_jax.files import write_json
from eg3d_jax.interrupts import StopRequest
from eg3d_jax.machine import machine

FORMAT = 1
RESULT_FILE = 'evaluation.json'
STATE_FILE = 'unfinished.npz'
FEWEST_SAMPLES = 16  # without a target folder: two in each group of the jackknife
AROUND_SAMPLES = 1000  # at most that are seen from a second side and on the grid: they cost as much again
TARGET_BATCH = 16  # pictures at a time
SECONDS_BETWEEN_SAVES = 300.0


@dataclass(frozen=True)
class Options:
    """What is asked for; see `adaptation.evaluate` for the flags of these names."""

    workdir: Path
    target: Path | None = None
    samples: int = 5000
    seed: int = 0
    domain: dict[str, float] | None = None  # weights by domain, of a run of several
    output: Path | None = None  # None: `evaluation` in the working directory; of several domains, the domain's in it
    inception: Path | None = None
    arcface: Path | None = None
    batch: int | None = None  # None: from the memory
    skip_unreadable: bool = False

    @property
    def directory(self) -> Path:
        """Where the result is written."""
        if self.output is not None:
            return self.output
        return self.workdir / 'evaluation' / ('' if self.domain is None else directory_name(self.domain))


def evaluate(options: Options, *, command: str = '', quiet: bool = False) -> Path:
    """Measures an adapted generator, from where an earlier call with these options was stopped.

    Args:
        options: what to measure.
        command: said in the result.
        quiet: nothing on the screen.

    Returns:
        The path of the finished `evaluation.json`.

    Raises:
        ConfigError: options that cannot be met, a working directory that is none, or target pictures that are no good.
        Interrupted: Ctrl-C or SIGTERM; what was counted is saved.
        AdaptationError: an adapter that is missing, damaged or of another source, or features that are not finite.
        OSError: the output cannot be written.
    """
    _check(options)
    skip = options.skip_unreadable
    target = None if options.target is None else list_folder(options.target, options.seed, skip_unreadable=skip)
    run = load_run(options.workdir, options.domain)
    networks = Networks(
        clip_networks(run.inputs.encoders),
        load_network(INCEPTION, options.inception),
        load_network(ARCFACE, options.arcface),
    )
    with Workdir(options.directory).lock('--output'), StopRequest() as stop:
        return _Evaluation(options, run, networks, target, stop, quiet).finish(command)


def _check(options: Options) -> None:
    problems = []
    fewest = FEWEST_SAMPLES if options.target is None else SMALLEST_SET
    if options.samples < fewest:
        why = 'for intervals' if options.target is None else 'for a distance between distributions'
        problems.append(
            f'--samples: {options.samples} are too few {why}; give at least {fewest}, better some thousands'
        )
    if not 0 <= options.seed < 2**32:
        problems.append(f'--seed: {options.seed} does not lie in [0, 2^32)')
    if options.batch is not None and options.batch < 1:
        problems.append(f'--batch: {options.batch} is not positive')
    if options.inception is not None and options.target is None:
        problems.append('--inception: only FID and KID need it, and they need target pictures: give --target as well')
    if problems:
        raise ConfigError(problems)


class _Evaluation:
    """The part of an evaluation that one process does."""

    def __init__(
        self,
        options: Options,
        run: Run,
        networks: Networks,
        target: TargetFolder | None,
        stop: StopRequest,
        quiet: bool,
    ):
        self._options, self._run, self._networks = options, run, networks
        self._target, self._stop, self._quiet = target, stop, quiet
        self._resolution = run.inputs.generator.config.image_resolution
        measured = [name for name in networks.by_name() if name != ARCFACE] if target else []
        self._statistics = Statistics(tuple(measured), (CLIP,))
        self._settings = _settings(options, run, networks, target)
        self._sizes = Sizes()
        self._target_done = self._done = 0
        self._batch = options.batch
        self._seconds, self._since = 0.0, time.monotonic()
        self._saved = self._since

    @property
    def _state_file(self) -> Path:
        return self._options.directory / STATE_FILE

    def finish(self, command: str) -> Path:
        """All that is left, and the result."""
        self._restore()
        self._say(*banner(self._options, self._run, self._networks, self._target, self._done))
        picture, reference = self._run.inputs.reference, None
        if picture is not None:
            embedded = self._embedded(resized(picture, self._resolution)[None])[CLIP][0]
            reference = np.asarray(embedded, np.float64)
        if self._target is not None:
            self._count_targets(self._target)
            self._say(*size_report(self._sizes, self._resolution))
        self._count_samples()
        self._say('computing distances' if self._target is not None else 'computing intervals')
        metrics = collect(self._statistics, reference, self._options.seed)
        result = self._options.directory / RESULT_FILE
        write_json(result, self._result(metrics, command))
        self._state_file.unlink(missing_ok=True)
        self._say('', *table(metrics), '', f'Written to {result}.')
        return result

    def _say(self, *lines: str) -> None:
        if not self._quiet:
            print(*lines, sep='\n', flush=True)

    def _result(self, metrics: list[Metric], command: str) -> dict[str, Any]:
        domain = self._options.domain
        return {
            'format': FORMAT,
            **({} if domain is None else {'domain': without_zeros(domain) or domain}),
            'samples': self._options.samples,
            'seed': self._options.seed,
            'machine': machine(),
            'seconds': round(self._elapsed(), 1),
            'command': command,
            'metrics': [metric.to_dict() for metric in metrics],
        }

    def _elapsed(self) -> float:
        return self._seconds + time.monotonic() - self._since

    def _restore(self) -> None:
        """Takes up what an interrupted evaluation of the same settings has left."""
        if not self._state_file.exists():
            return
        arrays, meta = counted.load(self._state_file)
        before = meta.get('settings', {})
        problems = [name for name, value in self._settings.items() if before.get(name) != value]
        if problems:
            raise ConfigError(
                [
                    f'--output: {self._options.directory} holds an unfinished evaluation with another '
                    f'{", ".join(problems)}: give the same again, delete {self._state_file}, or give another --output'
                ]
            )
        self._statistics.restore(arrays)
        self._sizes = Sizes(**meta['sizes'])
        self._target_done, self._done, self._seconds = meta['target_done'], meta['done'], meta['seconds']
        self._batch = self._options.batch or meta['batch']

    def _save(self) -> None:
        meta = {
            'settings': self._settings,
            'sizes': vars(self._sizes),
            'target_done': self._target_done,
            'done': self._done,
            'seconds': self._elapsed(),
            'batch': self._batch,
        }
        self._statistics.save(self._state_file, meta)
        self._saved = time.monotonic()

    def _after_batch(self, *, last: bool) -> None:
        """Saves now and then, and stops where that is asked for."""
        if self._stop.requested and not last:
            self._save()
            raise Interrupted(
                f'Stopped after {self._done} of {self._options.samples} samples; '
                f'all that was counted is saved in {self._options.directory}.'
            )
        if time.monotonic() - self._saved > SECONDS_BETWEEN_SAVES:
            self._save()

    def _embedded(self, images: Float[np.ndarray, 'N R R 3']) -> dict[str, np.ndarray]:
        """Features of up to TARGET_BATCH pictures, by one program whatever their number."""
        rows = np.minimum(np.arange(TARGET_BATCH), len(images) - 1)
        found = jax.device_get(embed(self._networks, jnp.asarray(images[rows])))
        return {name: features[: len(images)] for name, features in found.items()}

    def _count_targets(self, folder: TargetFolder) -> None:
        total = len(folder.files)
        if self._target_done == total:
            return
        skip = self._options.skip_unreadable
        pictures = read_pictures(folder, self._target_done, self._resolution, self._sizes, skip_unreadable=skip)
        shown = not self._quiet
        with SampleProgress(total, 'picture', 'target pictures', done=self._target_done, shown=shown) as progress:
            waiting: dict[str, np.ndarray] = {}  # by what they are called
            for index, picture in pictures:
                waiting[str(folder.files[index])] = picture
                if len(waiting) == TARGET_BATCH:
                    self._count_target_batch(waiting, index + 1, progress)
                    waiting = {}
            if waiting:
                self._count_target_batch(waiting, total, progress)
        self._target_done = total

    def _count_target_batch(self, pictures: dict[str, np.ndarray], done: int, progress: SampleProgress) -> None:
        rows = self._embedded(np.stack(list(pictures.values())))
        _refuse_broken(rows, list(pictures))
        self._statistics.add_features('target', rows, np.zeros(len(pictures)))
        progress.advance(done - self._target_done)
        self._target_done = done
        self._after_batch(last=False)

    def _count_samples(self) -> None:
        samples = self._options.samples
        if self._done == samples:
            return
        self._say(*rank_warnings(self._statistics, samples))
        shown = not self._quiet
        with SampleProgress(samples, 'sample', 'samples (compiling)', done=self._done, shown=shown) as progress:
            pair = Pair(self._run.inputs.generator, self._run.adapted, self._networks)
            first, around = self._compile(pair)
            progress.doing('samples')
            while self._done < samples:
                count = self._count_sample_batch(pair, first, around)
                progress.advance(count)
                self._after_batch(last=self._done == samples)

    def _compile(self, pair: Pair) -> tuple[First, Around]:
        """Both programs, for the batch asked for or for as large a one as fits."""
        sampling = self._run.sampling(self._options.seed)
        first, around = make_first(sampling, own_backbone=self._run.own_backbone), make_around(sampling)

        def compile_for(batch: int) -> tuple[tuple[First, Around], int]:
            indices = jax.ShapeDtypeStruct((batch,), jnp.int32)
            seen, _ = jax.eval_shape(first, pair, indices)
            programs = first.lower(pair, indices).compile(), around.lower(pair, seen).compile()
            kept = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(seen))
            return programs, max(program_memory(programs[0]), kept + program_memory(programs[1]))

        if self._batch is not None:
            return first, around
        budget = int(SHARE * free_memory())
        programs, self._batch = fit_batch(compile_for, largest_batch(self._options.samples), budget)
        return programs

    def _count_sample_batch(self, pair: Pair, first: First, around: Around) -> int:
        assert self._batch is not None
        samples, start = self._options.samples, self._done
        count = min(self._batch, samples - start)
        indices = np.minimum(np.arange(start, start + self._batch), samples - 1).astype(np.int32)
        seen, values = first(pair, jnp.asarray(indices))
        looked_around = min(count, AROUND_SAMPLES - start)
        more = jax.device_get(around(pair, seen)) if looked_around > 0 else {}
        for side, features in jax.device_get(seen.features).items():
            rows = {name: array[:count] for name, array in features.items()}
            _refuse_broken(rows, [f'{side} images, number {start + index}' for index in range(count)])
            self._statistics.add_features(side, rows, indices[:count] / samples)
        self._statistics.add_values({name: array[:count] for name, array in jax.device_get(values).items()})
        self._statistics.add_values({name: array[:looked_around] for name, array in more.items()})
        self._done += count
        return count


def _settings(options: Options, run: Run, networks: Networks, target: TargetFolder | None) -> dict[str, Any]:
    """All that the numbers depend on, by the names that a message gives them."""
    return {
        '--domain': None if options.domain is None else without_zeros(options.domain),
        '--samples': options.samples,
        '--seed': options.seed,
        '--target': None if target is None else target.fingerprint,
        '--inception': None if networks.inception is None else str(Path(options.inception or '').resolve()),
        '--arcface': None if networks.arcface is None else str(Path(options.arcface or '').resolve()),
        '--skip-unreadable': options.skip_unreadable,
        'adapter or source': run.hashes,
        'config': {
            'truncation_psi': run.config.truncation_psi,
            'conditioning': run.config.conditioning,
            'camera': repr(run.inputs.camera),
        },
    }


def _refuse_broken(rows: dict[str, np.ndarray], pictures: Sequence[str]) -> None:
    """Stops at features that are not finite; the pictures are named."""
    for name, features in rows.items():
        broken = ~np.isfinite(features).all(axis=1)
        if broken.any():
            picture = pictures[int(np.argmax(broken))]
            raise AdaptationError(
                f'{picture}: the features of {name} are not finite. Check the checkpoints and the adapter.'
            )
