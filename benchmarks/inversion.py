"""How well inversion recovers heads whose camera is known: heads of the world, and the generator's own.

    python -m benchmarks.inversion [--heads=4] [--output=docs/inversion.md] [--workdir=runs/inversion]
        [--adapter=runs/sketch]

The heads are no network's training heads, seen by cameras of the generator's distribution; inversion is told nothing
but the picture. Reported are the errors of yaw and pitch (degrees), PSNR and SSIM of the reconstruction, and the share
of the head's classes (glasses, hair style, ...) that the judge reads right off it, beside what it reads off the picture
itself. For heads of the world the PSNR is bounded by how true the generator is to it.

The working directory gets `world.png` and `generator.png`: a column for each head, with the picture, the
reconstruction, the same head from another side, and, with --adapter, that in the run's style.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

import clip_jax
from adaptation import load_adapted
from adaptation.adapter import load_source
from adaptation.commands import run_command
from adaptation.generation.grids import compose, tile
from adaptation.generation.pictures import save_png
from adaptation.generation.poses import pose_cameras
from adaptation.generation.rendering import look, to_pixels
from adaptation.generation.subjects import Subject
from adaptation.inputs import encoder_directories
from adaptation.inversion import Inversion, Request, ViewReader, invert
from adaptation.inversion.command import default_block
from adaptation.inversion.pictures import as_photographed
from benchmarks.miniature import ROOT, accuracy
from benchmarks.records import command_line, write_records
from eg3d_jax import TriPlaneGenerator
from eg3d_jax.cameras import orbit_cameras
from eg3d_jax.huge_pages import restart_with_huge_pages
from eg3d_jax.machine import machine
from miniature import world
from miniature.judge import Judge, embed_all, load_judge

SEED = 95_000  # no training command uses it
OTHER_SIDE = 0.45  # radians of yaw
COLUMNS = {
    'yaw_error': ('Yaw error, degrees', '.1f'),
    'pitch_error': ('Pitch error, degrees', '.1f'),
    'psnr_w': ('PSNR in w, dB', '.1f'),
    'psnr_w+': ('PSNR in W+, dB', '.1f'),
    'psnr': ('PSNR tuned, dB', '.1f'),
    'ssim': ('SSIM', '.2f'),
    'attributes': ('Attributes', '.0%'),
    'attributes_of_picture': ('of the picture itself', '.0%'),
    'seconds': ('Seconds', '.0f'),
}


def subjects(generator: TriPlaneGenerator, count: int) -> tuple[Any, Float[np.ndarray, 'N 2'], dict[str, np.ndarray]]:
    """Latents, (yaw, pitch) in radians, and pictures in [-1, 1] of the world's and of the generator's heads."""
    camera = generator.config.camera
    random = np.random.default_rng(SEED)
    views = np.asarray((camera.yaw_mean, camera.pitch_mean)) + random.standard_normal((count, 2)) * np.asarray(
        (camera.yaw_std, camera.pitch_std)
    )
    looking = orbit_cameras(jnp.asarray(views[:, 0]), jnp.asarray(views[:, 1]), camera)
    z = jax.random.normal(jax.random.key(SEED), (count, generator.config.z_dim))
    made = jax.jit(lambda g, z, c: g(z, c).image)(generator, z, looking)
    true = world.render(world.from_latent(z), looking, 'photo', generator.config.image_resolution)
    return z, views, {'world': np.asarray(true), 'generator': np.clip(np.asarray(made), -1.0, 1.0)}


def measure_one(
    image: np.ndarray, view: np.ndarray, setup: tuple[TriPlaneGenerator, ViewReader, tuple[clip_jax.Clip, ...]]
) -> tuple[dict[str, Any], Inversion]:
    """The numbers of a head, and what was found."""
    generator, reader, encoders = setup
    started = time.perf_counter()
    found = invert(generator, image, encoders, tuple(map(default_block, encoders)), Request(align=False), reader=reader)
    seconds = time.perf_counter() - started
    stages = found.numbers['stages']
    errors = np.degrees(np.abs(found.pose[:2] - view))
    numbers = {
        'yaw_error': float(errors[0]),
        'pitch_error': float(errors[1]),
        'psnr_w': stages['w']['psnr'],
        'psnr_w+': stages['w+']['psnr'],
        'psnr': stages['tuned']['psnr'],
        'ssim': stages['tuned']['ssim'],
        'seconds': seconds,
    }
    return numbers, found


def from_another_side(found: Inversion, subject: Subject) -> np.ndarray:
    """The head from the side that its picture does not show."""
    yaw = -np.copysign(OTHER_SIDE, found.pose[0])
    looking = pose_cameras(np.asarray([[yaw, 0.0]], np.float32), subject.camera)
    (seen,) = look(found.tuned(subject.generator), found.ws, looking, 1)
    return seen.images[0]


def measure(count: int, workdir: Path, adapter: Path | None) -> list[dict[str, Any]]:
    """A record of each head; a sheet of pictures of each kind."""
    generator, judge = load_source('miniature'), load_judge()
    camera = generator.config.camera
    source = Subject('source', 'source', generator, camera)
    turned = [source]
    if adapter is not None:
        turned.append(Subject('adapted', adapter.name, load_adapted(generator, adapter), camera))
    encoders = tuple(clip_jax.load_clip(directory) for directory in encoder_directories(('miniature',)))
    setup = (generator, ViewReader(generator, generator.config.camera), encoders)
    z, views, pictures = subjects(generator, count)
    classes = {name: np.asarray(value) for name, value in world.classes(world.from_latent(z)).items()}
    records = []
    for kind, images in pictures.items():
        columns = []
        for index, (image, view) in enumerate(zip(images, views, strict=True)):
            numbers, found = measure_one(image, view, setup)
            rebuilt = as_photographed(found, source)
            mine = {name: value[index : index + 1] for name, value in classes.items()}
            numbers['attributes'] = _attributes(judge, rebuilt, mine)
            numbers['attributes_of_picture'] = _attributes(judge, image, mine)
            columns.append([image, rebuilt, *(from_another_side(found, shown) for shown in turned)])
            records.append({'heads': kind, 'head': index, **numbers})
            print(records[-1], flush=True)
        rows = [[tile(to_pixels(image)) for image in row] for row in zip(*columns, strict=True)]
        save_png(workdir / f'{kind}.png', compose([rows]), {})
    return records


def _attributes(judge: Judge, image: np.ndarray, classes: dict[str, np.ndarray]) -> float:
    return accuracy(judge, embed_all(judge, np.clip(image, -1.0, 1.0)[None]), classes)


def table(records: list[dict[str, Any]]) -> str:
    """Markdown: means and largest values over each kind of heads."""
    kinds = list(dict.fromkeys(record['heads'] for record in records))
    lines = ['| | ' + ' | '.join(f'heads of the {kind}' for kind in kinds) + ' |', '| --- |' + ' --- |' * len(kinds)]
    for name, (heading, form) in COLUMNS.items():
        cells = []
        for kind in kinds:
            values = [record[name] for record in records if record['heads'] == kind]
            cells.append(f'{np.mean(values):{form}} ({np.min(values):{form}} to {np.max(values):{form}})')
        lines.append(f'| {heading} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.inversion', description=(__doc__ or '').split('\n')[0])
    parser.add_argument('--output', type=Path, default=ROOT / 'docs' / 'inversion.md', help='Markdown file')
    parser.add_argument('--workdir', type=Path, default=Path('runs/inversion'), help='for pictures')
    parser.add_argument('--heads', type=int, default=4, help='of each kind')
    parser.add_argument('--adapter', type=Path, help='a run whose style the pictures show as well')
    options = parser.parse_args(arguments)
    records = measure(options.heads, options.workdir, options.adapter)
    command = command_line('benchmarks.inversion', arguments)
    text = (
        f'# Inversion of heads with known cameras\n\nWritten by `{command}` ({machine()}): {options.heads} '
        f'heads of each kind, means (least to largest); what each number is, `benchmarks/inversion.py` says.\n\n'
        f'{table(records)}\n'
    )
    write_records(options.output, text, records)
    return 0


if __name__ == '__main__':
    restart_with_huge_pages()
    sys.exit(run_command(main, None))
