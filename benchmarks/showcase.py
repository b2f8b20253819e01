"""Pictures of a run for the README: `python -m benchmarks.showcase --workdir=runs/sketch [--output=docs/images]`.

Writes, each whole or not at all:

    film.webp (or .gif)   heads that change into one another and sway, the source's above the adapted ones; it loops
    mesh.png              an adapted head's mesh from all sides, with its texture and as grey clay
    head.glb              that mesh

A file that is too large for a page (a film over 2.5 MB, a mesh over 1 MB) is refused and not left behind.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from adaptation.commands import Parser, run_command
from adaptation.errors import AdaptationError, ConfigError
from adaptation.generation import meshes
from adaptation.generation.defaults import GIF, INTERPOLATION, TRUNCATION, WEBP
from adaptation.generation.film_files import check_encoder, write_film
from adaptation.generation.films import film_frames
from adaptation.generation.mesh_files import save_mesh
from adaptation.generation.mesh_pictures import draw_mesh
from adaptation.generation.pictures import save_png
from adaptation.generation.poses import pose_cameras
from adaptation.generation.progress import Progress
from adaptation.generation.seeds import parse_seeds
from adaptation.generation.subjects import Subject, load_subjects
from eg3d_jax import CameraConfig
from eg3d_jax.interrupts import StopRequest

SEEDS, MOST_SEEDS = '0-3', 8
FRAMES = 48
FPS = 12.0
TILE = 128  # side in pixels of a head in the film
MOST_FILM_BYTES = 2_500_000  # a page with it has to load quickly
MESH_RESOLUTION, TEXTURE = 88, 512  # grid points and texels of a side: a file that a page can hold
MOST_GLB_BYTES = 1_000_000
SIDES = 6  # from which the mesh is seen
SHOT = 176  # side of each of its pictures in pixels
SHOT_FOV = 0.92  # of the camera's field of view
SHOT_PITCH = 0.1  # radians


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(_run, arguments)


def _run(arguments: Sequence[str]) -> None:
    parser = Parser('python -m benchmarks.showcase', __doc__)
    add = parser.add_argument
    add('--workdir', type=Path, required=True, metavar='DIR', help='of a finished run')
    add('--generator', metavar='S', help='the source of the run, if it was moved')
    add('--output', type=Path, default=Path('docs/images'), metavar='DIR')
    add('--seeds', default=SEEDS, metavar='SEEDS', help=f'of the heads, at most {MOST_SEEDS}; the mesh is of the first')
    add('--frames', type=int, default=FRAMES, metavar='N', help='of the film')
    add('--format', choices=(WEBP, GIF), default=WEBP, help='of the film')
    options = parser.read(arguments)
    try:
        seeds = parse_seeds(options.seeds, MOST_SEEDS)
    except ValueError as error:
        raise ConfigError([f'--seeds: {error}']) from None
    if options.frames < 2:
        raise ConfigError([f'--frames: a film has at least 2, got {options.frames}'])
    if not options.workdir.is_dir():
        raise ConfigError([f'--workdir: there is no directory {options.workdir}: give that of a run'])
    check_encoder(options.format)
    with StopRequest() as stop:
        subjects = load_subjects(options.workdir, options.generator, with_source=True)
        write_showcase_film(subjects, seeds, options.output / f'film.{options.format}', options.frames, stop)
        write_mesh(subjects[-1], seeds[0], options.output, stop)


def write_showcase_film(
    subjects: Sequence[Subject], seeds: tuple[int, ...], path: Path, frames: int, stop: StopRequest
) -> None:
    """Each column is the film through all seeds, begun at another one; each row is a generator's.

    Raises:
        TooLarge: the film is too large for a page.
        Interrupted: the user has asked to stop.
    """
    with Progress(path.name, frames, 'frame', stop) as progress, _sized(path, MOST_FILM_BYTES) as unchecked:
        write_film(unchecked, _rows(subjects, seeds, frames, progress), FPS)


class TooLarge(AdaptationError):
    """A file that a page should not hold."""


@contextmanager
def _sized(path: Path, most: int) -> Iterator[Path]:
    """A hidden name beside `path`, with its ending, to write to; it takes the name `path` if it is small enough.

    Raises:
        TooLarge: nothing is left of it.
    """
    unchecked = path.with_name(f'.{path.name}')
    try:
        yield unchecked
        size = unchecked.stat().st_size
        if size > most:
            raise TooLarge(
                f'{path} would have {size / 1e6:.2f} MB, more than {most / 1e6:g}: of a film, ask for fewer --frames '
                f'or --seeds, or --format={WEBP}.'
            )
        unchecked.replace(path)
    finally:
        unchecked.unlink(missing_ok=True)
    print(f'{path}: {size / 1e6:.2f} MB')


def _rows(subjects: Sequence[Subject], seeds: tuple[int, ...], frames: int, progress: Progress) -> Iterator[np.ndarray]:
    films = [
        [
            film_frames(
                subject.generator,
                seeds[start:] + seeds[:start],
                kind=INTERPOLATION,
                frames=frames,
                camera=subject.camera,
            )
            for start in range(len(seeds))
        ]
        for subject in subjects
    ]
    for _ in range(frames):
        yield np.concatenate([np.concatenate([_tile(next(film)) for film in row], axis=1) for row in films], axis=0)
        progress.done()


def _tile(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((TILE, TILE), Image.Resampling.LANCZOS))


def write_mesh(subject: Subject, seed: int, output: Path, stop: StopRequest) -> None:
    """`mesh.png` and `head.glb`.

    Raises:
        MeshError: the head has no surface.
        TooLarge: the `.glb` is too large for a page; `mesh.png` is there.
        Interrupted: the user has asked to stop.
    """
    total = meshes.steps(subject.generator, MESH_RESOLUTION, subject.camera) + 2 * SIDES
    with Progress('mesh', total, 'step', stop) as progress:
        made = meshes.mesh(
            subject.generator,
            seed,
            resolution=MESH_RESOLUTION,
            texture_resolution=TEXTURE,
            camera=subject.camera,
            tick=progress.done,
        )
        picture = around(made, subject.camera, SHOT, progress)
    save_png(output / 'mesh.png', picture, {'seed': str(seed), 'truncation': str(TRUNCATION), 'subject': subject.title})
    with _sized(output / 'head.glb', MOST_GLB_BYTES) as unchecked:
        save_mesh(made, unchecked)


def around(made: meshes.Mesh, camera: CameraConfig, side: int, progress: Progress) -> np.ndarray:
    """A mesh from all sides: above with its colours, below as clay, [2 side, SIDES side, 3]."""
    turns = camera.yaw_mean + 2.0 * math.pi * np.arange(SIDES) / SIDES
    poses = np.stack([turns, np.full(SIDES, camera.pitch_mean + SHOT_PITCH)], axis=1)
    cameras = np.asarray(pose_cameras(poses, replace(camera, fov_degrees=SHOT_FOV * camera.fov_degrees)))
    rows = []
    for clay in (False, True):
        row = []
        for looking in cameras:
            row.append(draw_mesh(made, looking, side, clay=clay))
            progress.done()
        rows.append(np.concatenate(row, axis=1))
    return np.concatenate(rows, axis=0)


if __name__ == '__main__':
    sys.exit(main())
