"""The quality record: how true the shipped configs' adaptations of the miniature are, in every style.

    python -m benchmarks.miniature [--output=docs/miniature.md] [--workdir=runs/miniature] [--samples=512]

Adapts the generator for three styles, two references of each and three seeds; measures each run against the ground
truth, which the world can draw; and writes a table (medians over a style's runs, and the least and the largest) with a
JSON of every run beside it. Runs that are done are found in the working directory and not done again; those of other
settings or another generator are refused. ``--set NAME=VALUE`` changes the configs (give it a --workdir and an --output
of its own), ``--validation`` measures on heads and references apart from the reported ones: how settings are chosen.

The metrics, for N adapted samples:

- Frechet distance to true renderings of other heads in the style, in the embedding of the judge, which guidance never
  sees; the same of the source's samples, of the source's samples with the reference's colours (Reinhard), and of the
  reference in place of every sample.
- Fidelity to the truth, the true drawing of the same head by the same camera: PSNR, SSIM, and perceptual: the distance
  in the judge's embedding as a share of that between true drawings of different heads.
- Colour error: the mean distance from the truth's colour, lightness apart: of (a*, b*) in CIELAB. Tints and coloured
  fringes in a pencil drawing, and the reference's own colours on other heads, which the judge hardly minds.
- Attributes: how many of the heads' classes (headwear, glasses, hair style, ...) the judge reads right off the adapted
  samples; and off the true drawings, which is as well as it can.
- Depth: the mean absolute difference from the true depth where a head is (world units), and from the source's
  everywhere, as a share of the range that rays are sampled over.
- Diversity: the mean distance of pairs in the judge's embedding, as a share of the true drawings'.
- Views: how far apart two views of a head are in the judge's embedding (yaw -0.3 and 0.3), as a share of the distance
  between different heads in one view: small where a head stays itself; and the same of true drawings.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image
from skimage.color import rgb2lab
from skimage.metrics import structural_similarity

from adaptation import load_adapted
from adaptation.adapter import load_source
from adaptation.commands import run_command
from benchmarks.ground_truth import (
    VALIDATION,
    GroundTruth,
    Painted,
    Poses,
    generate,
    ground_truth,
    paint,
    poses,
    read_ground_truth,
    save_ground_truth,
)
from benchmarks.records import Row, command_line, style_table, write_records
from benchmarks.target_domain import BATCH, Embeddings, Images, Samples, depth_change, diversity, frechet, reinhard
from benchmarks.timed_run import timed_run
from eg3d_jax import TriPlaneGenerator
from eg3d_jax.cameras import orbit_cameras
from eg3d_jax.files import read_json, replacing, write_json
from eg3d_jax.huge_pages import restart_with_huge_pages
from eg3d_jax.machine import machine
from miniature import world
from miniature.judge import Judge, embed_all, load_judge
from miniature.references import HEADS, VALIDATION_HEADS, draw

STYLES = ('sketch', 'ukiyoe', 'cartoon')
SAMPLES = 512
REFERENCES = 2
SEEDS = 3
VIEWS = (-0.3, 0.3)  # radians of yaw
VIEWED = 32  # heads that are seen from both sides
RECORD_FILE = 'record.json'
ROOT = Path(__file__).resolve().parent.parent
COLUMNS = {  # of the table: the number's name -> its heading and format
    'frechet.source': ('Source', '.1f'),
    'frechet.colour_transfer': ('Colour transfer', '.1f'),
    'frechet.pasted_reference': ('Reference pasted', '.1f'),
    'frechet.adapted': ('Adapted', '.1f'),
    'fall': ('Fall', '.0%'),
    'diversity': ('Diversity', '.2f'),
    'psnr': ('PSNR, dB', '.1f'),
    'ssim': ('SSIM', '.2f'),
    'perceptual': ('Perceptual', '.2f'),
    'colour_error': ('Colour error', '.1f'),
    'attributes': ('Attributes', '.0%'),
    'attributes_of_truth': ('of the truth', '.0%'),
    'depth_error': ('Depth error', '.3f'),
    'depth_change': ('Depth change', '.1%'),
    'views': ('Views', '.2f'),
    'views_of_truth': ('of the truth', '.2f'),
    'seconds': ('Seconds', '.0f'),
}


class Job(NamedTuple):
    """One adaptation: a style, the number of its reference head, a seed."""

    style: str
    head: int
    seed: int

    @property
    def name(self) -> str:
        return f'{self.style}_{self.head}_{self.seed}'


class Setup(NamedTuple):
    """What all jobs of a benchmark share."""

    workdir: Path
    samples: int
    validation: bool
    changes: tuple[str, ...]  # NAME=VALUE each
    trial: str = ''  # a folder of the working directory for these changes' runs

    def directory(self, job: Job) -> Path:
        """Of a run."""
        return self.workdir / self.trial / job.name


def jobs(styles: Sequence[str], references: int, seeds: int, validation: bool) -> list[Job]:
    """All adaptations, the styles one after the other."""
    heads = VALIDATION_HEADS if validation else HEADS
    return [Job(style, head, seed) for style in styles for head in heads[style][:references] for seed in range(seeds)]


def config_of(job: Job, setup: Setup, reference: Path) -> dict[str, Any]:
    """The shipped config of the style, for this reference and seed, with the setup's changes."""
    path = ROOT / 'configs' / f'{job.style}.py'
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    config.reference.image = str(reference)
    config.seed = job.seed
    config.sample_heads = 1
    config.intervals.samples = config.intervals.checkpoint = 10**6
    for change in setup.changes:
        name, _, value = change.partition('=')
        config.update_from_flattened_dict({name: json.loads(value)})
    return config.to_dict()


def adapt(job: Job, setup: Setup) -> tuple[Path, Path, float]:
    """Adapts, unless that is done; returns the reference, the run's directory and the seconds it took."""
    directory = setup.directory(job)
    reference = setup.workdir / 'references' / f'{job.style}_{job.head}.png'
    if not reference.exists():
        with replacing(reference) as unfinished:
            Image.fromarray(draw(job.style, job.head)).save(unfinished, format='PNG')
    return reference, directory, timed_run(config_of(job, setup, reference), directory)


class Tested(NamedTuple):
    """A style's ground truth, and what is the same for all of its runs."""

    truth: GroundTruth
    source: TriPlaneGenerator
    before: Samples
    frechet: dict[str, float]  # of the source and of the floor
    attributes: float  # read off the true drawings
    views: float  # of true drawings
    judge: Judge
    transfers: dict[bytes, float]  # the distance of the source's samples in a reference's colours, where it is known


@cache
def source_heads(samples: int, seed: int) -> list[Painted]:
    """The test set's heads before they are looked at."""
    return paint(load_source('miniature'), poses(samples, seed))


@cache
def source_samples(samples: int, seed: int) -> Samples:
    """What the source makes of the test set."""
    return generate(load_source('miniature'), poses(samples, seed), source_heads(samples, seed))


def adapted_heads(adapted: TriPlaneGenerator, samples: int, seed: int) -> list[Painted]:
    """The same of an adapted generator, which mostly has the source's mapping and backbone."""
    source = load_source('miniature')
    parts = [jax.tree.leaves(nnx.state((one.mapping, one.backbone))) for one in (source, adapted)]
    if all(map(np.array_equal, *parts)):
        return source_heads(samples, seed)
    return paint(adapted, poses(samples, seed))


@cache
def tested(style: str, samples: int, seed: int, workdir: Path) -> Tested:
    """Renders and measures what does not depend on the run; other processes find the truth in the working directory."""
    judge, source = load_judge(), load_source('miniature')
    path = workdir / 'truth' / f'{style}_{samples}_{seed}.npz'
    if not path.exists():
        depth_resolution = source.config.rendering.neural_resolution
        save_ground_truth(ground_truth(style, samples, seed, judge, depth_resolution), path)
    truth = read_ground_truth(path)
    before = source_samples(samples, seed)
    distances = {'source': frechet(embed_all(judge, before.images), truth.domain), 'floor': truth.floor}
    drawn = (
        np.asarray(world.render(world.from_latent(seen.z), seen.camera, style, judge.config.resolution))
        for seen in views(truth.poses)
    )
    apart = view_distance(*(embed_all(judge, images) for images in drawn))
    return Tested(truth, source, before, distances, accuracy(judge, truth.embedded, truth.classes), apart, judge, {})


def views(chosen: Poses) -> Iterator[Poses]:
    """The first heads of the test set, from each side."""
    z = chosen.z[:VIEWED]
    for yaw in VIEWS:
        camera = load_source('miniature').config.camera
        yield Poses(z, orbit_cameras(jnp.full(len(z), yaw), jnp.zeros(len(z)), camera))


def view_distance(left: Embeddings, right: Embeddings) -> float:
    """The distance between two views of a head, as a share of that between different heads in one view."""
    between = (diversity(left) + diversity(right)) / 2
    return float(np.mean(np.linalg.norm(left - right, axis=1)) / between)


def accuracy(judge: Judge, embedded: Embeddings, classes: Mapping[str, np.ndarray]) -> float:
    """The share of the heads' classes that the judge reads right, those of colour left out."""
    read = judge.read(jnp.asarray(embedded, jnp.float32))
    shapes = [name for name in classes if not (name == 'skin' or name.endswith('_colour'))]
    return float(np.mean([np.mean(np.asarray(read[name]).argmax(-1) == classes[name]) for name in shapes]))


def measure(job: Job, setup: Setup) -> dict[str, Any]:
    """Adapts and measures one run; a record that is there already is read.

    Raises:
        ConfigError: the run that is there is of other settings, or of another generator or reference.
    """
    reference, directory, seconds = adapt(job, setup)
    record = directory / RECORD_FILE
    found: dict[str, Any] = read_json(record) if record.exists() else {}
    if found.get('samples') == setup.samples:
        return found
    seed = VALIDATION * setup.validation
    test = tested(job.style, setup.samples, seed, setup.workdir)
    adapted = load_adapted(test.source, directory)
    heads = adapted_heads(adapted, setup.samples, seed)
    after = generate(adapted, test.truth.poses, heads)
    seen = [generate(adapted, side, heads[: VIEWED // BATCH]).images for side in views(test.truth.poses)]
    sides = [embed_all(test.judge, images) for images in seen]
    result = {
        **job._asdict(),
        'samples': setup.samples,
        'seconds': seconds,
        **compare(test, after, picture(reference, test.judge.config.resolution)),
        'views': view_distance(*sides),
        'views_of_truth': test.views,
    }
    write_json(record, result)
    save_grid(setup.directory(job).with_suffix('.png'), test.before.images, after.images, test.truth.images)
    return result


def compare(test: Tested, after: Samples, reference: Images) -> dict[str, Any]:
    """The numbers of one run; `reference` in [-1, 1], of the judge's resolution."""
    truth, before, judge = test.truth, test.before, test.judge
    embedded = embed_all(judge, after.images)
    if (colours := reference.tobytes()) not in test.transfers:
        transferred = embed_all(judge, reinhard(before.images, reference))
        test.transfers[colours] = frechet(transferred, truth.domain)
    pasted = np.broadcast_to(embed_all(judge, reference[None]), embedded.shape)
    distances = {
        **test.frechet,
        'adapted': frechet(embedded, truth.domain),
        'colour_transfer': test.transfers[colours],
        'pasted_reference': frechet(pasted, truth.domain),
    }
    seen = np.isfinite(truth.depth)
    error = np.abs(after.depth[..., 0] - np.where(seen, truth.depth, 0.0))[seen]
    rendering = test.source.config.rendering
    similar = [
        structural_similarity(one, other, channel_axis=-1, data_range=2.0)
        for one, other in zip(after.images, truth.images, strict=True)
    ]
    return {
        'frechet': distances,
        'fall': 1.0 - distances['adapted'] / distances['source'],
        'diversity': diversity(embedded) / diversity(truth.embedded),
        'psnr': float(-10.0 * np.log10(np.mean(np.square(after.images - truth.images)) / 4.0)),
        'ssim': float(np.mean(similar)),
        'perceptual': float(np.mean(np.linalg.norm(embedded - truth.embedded, axis=1)) / diversity(truth.embedded)),
        'colour_error': colour_error(after.images, truth.images),
        'attributes': accuracy(judge, embedded, truth.classes),
        'attributes_of_truth': test.attributes,
        'depth_error': float(np.mean(error)),
        'depth_change': depth_change(before, after, rendering.ray_end - rendering.ray_start),
    }


def colour_error(images: Images, truth: Images) -> float:
    """The mean distance of the pixels' colours, lightness apart, in units of CIELAB."""
    apart = [
        np.linalg.norm(rgb2lab((one + 1.0) / 2.0)[..., 1:] - rgb2lab((other + 1.0) / 2.0)[..., 1:], axis=-1)
        for one, other in zip(images, truth, strict=True)
    ]
    return float(np.mean(apart))


def picture(path: Path, resolution: int) -> Images:
    """A picture file in [-1, 1], of this resolution."""
    image = Image.open(path).convert('RGB').resize((resolution, resolution), Image.Resampling.LANCZOS)
    return np.asarray(image, np.float32) / 127.5 - 1.0


def save_grid(path: Path, *rows: Images, heads: int = 8) -> None:
    """The first heads: source, adapted, truth."""
    grid = np.concatenate([np.concatenate(list(row[:heads]), axis=1) for row in rows])
    Image.fromarray(np.clip(grid * 127.5 + 128.0, 0, 255).astype(np.uint8)).save(path)


def flat(record: Mapping[str, Any], prefix: str = '') -> dict[str, float]:
    """All measured numbers by dotted name."""
    numbers: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            numbers |= flat(value, f'{prefix}{name}.')
        elif isinstance(value, float):
            numbers[prefix + name] = value
    return numbers


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a row for each number, a column for each style; see `style_table`."""

    def row(name: str) -> Row:
        heading, form = COLUMNS[name]
        group = 'Fréchet distance: ' if name.startswith('frechet.') else ''
        return Row(group + heading, form, lambda record: flat(record)[name])

    return style_table(records, map(row, COLUMNS))


def _work(job_setup: tuple[Job, Setup]) -> dict[str, Any]:
    result = measure(*job_setup)
    print(f'{result["style"]} {result["head"]} seed {result["seed"]}: {result["frechet"]["adapted"]:.1f}', flush=True)
    return result


def measure_all(every: Sequence[Job], setup: Setup, processes: int) -> list[dict[str, Any]]:
    """All records; each process takes neighbouring jobs, which share a style's truth and its compiled programs."""
    work = [(job, setup) for job in every]
    if processes == 1:
        return [_work(item) for item in work]
    with multiprocessing.get_context('spawn').Pool(processes, _start, (setup.workdir,)) as pool:
        return pool.map(_work, work, chunksize=-(-len(work) // processes))


def _start(workdir: Path) -> None:
    """Processes share what they compile; with the threads of one core between them they would wait: each takes one."""
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]  # made at run time
        jax.config.update('jax_compilation_cache_dir', str((workdir / 'compiled').resolve()))
    if hasattr(os, 'sched_setaffinity'):
        cores = sorted(os.sched_getaffinity(0))
        (number, *_) = multiprocessing.current_process()._identity
        os.sched_setaffinity(0, {cores[(number - 1) % len(cores)]})


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say which runs a benchmark is of; `chosen_runs` reads them."""
    parser.add_argument('--workdir', type=Path, default=Path('runs/miniature'), help='runs are found or done here')
    parser.add_argument('--styles', nargs='+', choices=STYLES, default=STYLES)
    parser.add_argument('--references', type=int, default=REFERENCES, help='heads for each style')
    parser.add_argument('--seeds', type=int, default=SEEDS)
    parser.add_argument('--validation', action='store_true', help='heads and references for choosing settings')
    parser.add_argument('--set', action='append', default=[], metavar='NAME=VALUE', help='changes the configs')


def chosen_runs(options: argparse.Namespace, samples: int) -> tuple[list[Job], Setup]:
    """The runs that the flags ask for, each measured by this many samples."""
    setup = Setup(options.workdir, samples, options.validation, tuple(options.set))
    return jobs(options.styles, options.references, options.seeds, options.validation), setup


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.miniature', description=(__doc__ or '').split('\n')[0])
    parser.add_argument('--output', type=Path, default=ROOT / 'docs' / 'miniature.md', help='Markdown file')
    parser.add_argument('--samples', type=int, default=SAMPLES, help='a multiple of 64')
    parser.add_argument('--processes', type=int, default=2)
    add_run_flags(parser)
    options = parser.parse_args(arguments)
    every, setup = chosen_runs(options, options.samples)
    found = sum((setup.directory(job) / RECORD_FILE).exists() for job in every)
    started = time.perf_counter()
    records = measure_all(every, setup, options.processes)
    minutes = (time.perf_counter() - started) / 60
    command = command_line('benchmarks.miniature', arguments)
    done = f'in {minutes:.0f} minutes on {options.processes} processes'
    if found:
        done = f'{len(records) - found} of them done {done} and the others found done'
    if found == len(records):
        done = 'all of them found done'
    text = (
        f'# The miniature benchmark\n\nWritten by `{command}`: {len(records)} adaptations, {options.samples} '
        f'samples each, {done} ({machine()}). Medians (least to '
        f'largest) of the runs of a style; what each number is, `benchmarks/miniature.py` says.\n\n{table(records)}\n'
    )
    write_records(options.output, text, records)
    return 0


if __name__ == '__main__':
    restart_with_huge_pages()
    sys.exit(run_command(main, None))
