"""What `python -m adaptation.generate` does, once its arguments are read."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adaptation.generation import meshes
from adaptation.generation.defaults import INTERPOLATION, TURNTABLE
from adaptation.generation.depths import depth_picture, encode_depth
from adaptation.generation.film_files import check_encoder, write_film
from adaptation.generation.films import default_frames, film_frames
from adaptation.generation.grids import ROWS, compose, tile
from adaptation.generation.mesh_files import save_mesh
from adaptation.generation.pictures import Picture, as_text, film_comment, pictures, save_png
from adaptation.generation.progress import Progress
from adaptation.generation.rendering import fitting_batch
from adaptation.generation.subjects import Subject, load_subjects
from adaptation.leaves import fingerprint
from eg3d_jax.interrupts import StopRequest


@dataclass(frozen=True)
class Options:
    """The arguments of the command, by their names; angles in radians."""

    workdir: Path | None
    generator: str | None
    source: bool
    strength: float
    domain: dict[str, float] | None
    seeds: tuple[int, ...]
    truncation: float
    output: Path
    pictures: bool
    views: int
    yaw: float
    pitch: float
    depth: bool
    video: str | None
    format: str
    frames: int | None
    fps: float
    mesh: tuple[str, ...]
    mesh_resolution: int | None
    mesh_level: float
    mesh_crop: float
    mesh_texture: int
    mesh_raw: bool
    batch: int | None


def run(options: Options) -> None:
    """Makes what is asked for, under `options.output`: grids and films there, the rest in a directory a generator.

    Raises:
        AdaptationError: it cannot be made. Files that were finished before are whole.
        OSError: a file cannot be written.
    """
    with StopRequest() as stop:
        if options.video:
            check_encoder(options.format)
        subjects = load_subjects(
            options.workdir, options.generator, options.strength, with_source=options.source, domain=options.domain
        )
        options.output.mkdir(parents=True, exist_ok=True)
        if options.pictures:
            _make_pictures(options, subjects, stop)
        if options.video:
            _make_films(options, subjects, stop)
        if options.mesh:
            _make_meshes(options, subjects, stop)


def _make_pictures(options: Options, subjects: list[Subject], stop: StopRequest) -> None:
    """All views of each seed from all generators, and grids of so many seeds."""
    total = len(options.seeds) * options.views * len(subjects)
    drawn = [_draw(options, subject) for subject in subjects]
    with Progress('pictures', total, 'picture', stop) as progress:
        for start in range(0, len(options.seeds), ROWS):
            seeds = options.seeds[start : start + ROWS]
            heads: list[list[list[np.ndarray]]] = []
            for _ in seeds:
                heads.append([])
                for subject, made in zip(subjects, drawn, strict=True):
                    row = []
                    for view in range(options.views):
                        picture = next(made)
                        _save(options, subject, view, picture)
                        row.append(tile(picture.pixels))
                        progress.done()
                    heads[-1].append(row)
            _save_grid(options, subjects, seeds, compose(heads))


def _draw(options: Options, subject: Subject) -> Iterator[Picture]:
    return pictures(
        subject.generator,
        options.seeds,
        views=options.views,
        yaw=options.yaw,
        pitch=options.pitch,
        truncation=options.truncation,
        camera=subject.camera,
        batch_size=options.batch,
        subject=subject.title,
    )


def _save(options: Options, subject: Subject, view: int, picture: Picture) -> None:
    text = picture.description.text()
    stem = options.output / subject.name / f'{_name(picture.description.seed)}_view{view}'
    save_png(stem.with_suffix('.png'), picture.pixels, text)
    if options.depth:
        levels, scale = encode_depth(picture.depth, subject.generator.config.rendering)
        save_png(Path(f'{stem}_depth.png'), levels, text | scale)
        save_png(Path(f'{stem}_depth_picture.png'), depth_picture(picture.depth, len(picture.pixels)), text)


def _save_grid(options: Options, subjects: list[Subject], seeds: tuple[int, ...], grid: np.ndarray) -> None:
    path = options.output / f'grid_{seeds[0]:04d}-{seeds[-1]:04d}.png'
    save_png(path, grid, as_text(_facts(options, subjects, seeds)))


def _facts(options: Options, subjects: list[Subject], seeds: tuple[int, ...]) -> dict[str, Any]:
    """How a grid or a film is made, for its metadata."""
    return {
        'seeds': seeds,
        'truncation': options.truncation,
        'rows': [subject.title for subject in subjects],
        'generators': [fingerprint(subject.generator) for subject in subjects],
    }


def _make_films(options: Options, subjects: list[Subject], stop: StopRequest) -> None:
    """A turntable of each seed, or one film through all; with the source, it runs on the left."""
    kind = options.video or TURNTABLE
    groups = [options.seeds] if kind == INTERPOLATION else [(seed,) for seed in options.seeds]
    for seeds in groups:
        frames = options.frames or default_frames(kind, seeds)
        name = f'{seeds[0]:04d}-{seeds[-1]:04d}' if kind == INTERPOLATION else f'{seeds[0]:04d}'
        path = options.output / f'{kind}_{name}.{options.format}'
        comment = film_comment(_facts(options, subjects, seeds))
        with Progress(path.name, frames, 'frame', stop) as progress:
            write_film(path, _side_by_side(options, subjects, seeds, frames, progress), options.fps, comment)


def _side_by_side(
    options: Options, subjects: list[Subject], seeds: tuple[int, ...], frames: int, progress: Progress
) -> Iterator[np.ndarray]:
    films = [
        film_frames(
            subject.generator,
            seeds,
            kind=options.video or TURNTABLE,
            frames=frames,
            yaw=options.yaw,
            pitch=options.pitch,
            truncation=options.truncation,
            camera=subject.camera,
            batch_size=options.batch or fitting_batch(subject.generator.config),
        )
        for subject in subjects
    ]
    for frame in zip(*films, strict=True):
        yield np.concatenate(frame, axis=1)
        progress.done()


def _make_meshes(options: Options, subjects: list[Subject], stop: StopRequest) -> None:
    for seed in options.seeds:
        for subject in subjects:
            stem = options.output / subject.name / _name(seed)
            total = meshes.steps(subject.generator, options.mesh_resolution, subject.camera)
            with Progress(f'mesh of {subject.name} {seed}', total, 'step', stop) as progress:
                made = meshes.mesh(
                    subject.generator,
                    seed,
                    truncation=options.truncation,
                    resolution=options.mesh_resolution,
                    level=options.mesh_level,
                    crop=options.mesh_crop,
                    raw=options.mesh_raw,
                    texture_resolution=options.mesh_texture if 'glb' in options.mesh else 0,
                    camera=subject.camera,
                    batch_size=options.batch,
                    tick=progress.done,
                )
            for form in options.mesh:
                save_mesh(made, stem.with_suffix(f'.{form}'))
            _report(stem, made)


def _report(stem: Path, made: meshes.Mesh) -> None:
    closed = 'watertight' if made.watertight else 'NOT watertight'
    size = f'{len(made.surface.vertices):,} vertices, {len(made.surface.faces):,} triangles'
    print(f'{stem}: {size}, {closed}', file=sys.stderr)


def _name(seed: int) -> str:
    return f'seed{seed:04d}'
