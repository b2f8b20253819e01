"""What `python -m adaptation.invert` does, once its flags are read."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import clip_jax
from adaptation.config import MINIATURE
from adaptation.errors import ConfigError
from adaptation.generation.defaults import FPS, TURNTABLE_FRAMES
from adaptation.generation.film_files import check_encoder
from adaptation.generation.subjects import SOURCE, Subject, load_subjects, source_name
from adaptation.inputs import encoder_directories
from adaptation.inversion.photos import Photo, load_photo
from adaptation.inversion.pictures import as_photographed, save_film, save_side_by_side, save_views
from adaptation.inversion.results import Inversion, InversionError, load_inversion, save_inversion
from adaptation.inversion.run import Request, invert
from adaptation.provenance import run_config
from eg3d_jax.files import read_json, write_json
from eg3d_jax.interrupts import StopRequest

RESULT, NUMBERS = 'inversion.safetensors', 'inversion.json'
FILM_FORMAT = 'mp4'
ASKED = ('space', 'yaw', 'pitch', 'align', 'scale', 'clip')  # flags that a fit depends on, beside the photograph
FLAGS = {'photo': '--image', 'crop': '--crop', **{name: f'--{name}' for name in ASKED}, 'align': '--no-align'}


def run(flags: argparse.Namespace) -> None:
    """Fits, unless that is done, and draws.

    Raises:
        ConfigError: the output holds the inversion of another photograph, or with other flags.
        AdaptationError: the photograph, the run or the generator cannot be used, or no head is found.
    """
    if flags.video:
        check_encoder(FILM_FORMAT)
    subjects = load_subjects(flags.workdir, flags.generator, flags.strength, with_source=True, domain=flags.domain)
    source = subjects[0]
    photo = load_photo(flags.image, flags.crop, source.generator.config.image_resolution)
    flags.output.mkdir(parents=True, exist_ok=True)
    told = _told(flags, photo)
    found = _finished(flags.output, told, source)
    if found is None:
        found = _fit(flags, photo, source)
        save_inversion(flags.output / RESULT, found, source.generator)
        write_json(flags.output / NUMBERS, {**told, **found.numbers})
    _draw(flags, photo, found, subjects)
    print(_summary(found))
    print(f'written to {flags.output}')


def _told(flags: argparse.Namespace, photo: Photo) -> dict[str, Any]:
    """What the fit depends on, as it is written beside it."""
    asked = {name: getattr(flags, name) for name in ASKED}
    crop = None if photo.crop is None else list(photo.crop)
    return {'image': str(flags.image), 'photo': photo.hash, 'crop': crop, 'face_detected': photo.face, **asked}


def _finished(output: Path, told: Mapping[str, Any], source: Subject) -> Inversion | None:
    """The inversion that is there already, of the same photograph, flags and generator.

    Raises:
        ConfigError: one of something else is.
    """
    path = output / NUMBERS
    if not path.exists() or not (output / RESULT).exists():
        return None
    try:
        written = read_json(path)
    except ValueError:
        return None
    if not isinstance(written, dict):
        return None
    instead = f'delete {path}, or give another --output'
    problems = [flag for name, flag in FLAGS.items() if written.get(name) != told[name]]
    if problems:
        wrong = f'--output: {output} holds an inversion with another {", ".join(problems)}'
        raise ConfigError([f'{wrong}: give the same again, {instead}'])
    try:
        return load_inversion(output / RESULT, source.generator)
    except InversionError as error:
        raise ConfigError([f'--output: {str(error).removesuffix(".")}; {instead}']) from None


def _fit(flags: argparse.Namespace, photo: Photo, source: Subject) -> Inversion:
    encoders, layers = _encoders(flags)
    request = Request(flags.space, flags.yaw, flags.pitch, flags.align, flags.scale)
    shown: dict[str, np.ndarray] = {}

    def watch(stage: str, picture: np.ndarray) -> None:
        shown[stage] = picture
        save_side_by_side(flags.output / 'progress.png', [('photo', photo.image), *shown.items()])

    with StopRequest() as stop:
        return invert(
            source.generator,
            photo.image,
            encoders,
            layers,
            request,
            camera=source.camera,
            directory=flags.output,
            watch=watch,
            stopped=lambda: stop.requested,
        )


def _encoders(flags: argparse.Namespace) -> tuple[tuple[clip_jax.Clip, ...], tuple[int, ...]]:
    """The encoders that are named, those of the run, or the miniature's for the miniature."""
    named: str | None = flags.clip
    layers: tuple[int, ...] = ()
    config = None if flags.workdir is None else run_config(flags.workdir)
    if named is None and config is not None:
        named, layers = config.clip, config.clip_layers
    if named is None and source_name(flags.workdir, flags.generator) == MINIATURE:
        named = MINIATURE
    if not named:
        print('colours alone are compared: name encoders by --clip for better likeness')
        return (), ()
    try:
        directories = encoder_directories(tuple(part.strip() for part in named.split(',')))
        encoders = tuple(clip_jax.load_clip(directory) for directory in directories)
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError([f'--clip: {error}']) from None
    for encoder in encoders:
        del encoder.text_model, encoder.text_projection
    if not layers:
        layers = tuple(default_block(encoder) for encoder in encoders)
    return encoders, layers if len(layers) == len(encoders) else layers[:1] * len(encoders)


def default_block(encoder: clip_jax.Clip) -> int:
    """Whose tokens are compared where no run says: the paper's fourth of twelve, in proportion, counted from 0."""
    return max(0, round(encoder.config.vision.layers / 3) - 1)


def _draw(flags: argparse.Namespace, photo: Photo, found: Inversion, subjects: list[Subject]) -> None:
    seen = [(f'{subject.title}', as_photographed(found, subject)) for subject in subjects]
    seen[0] = (flags.space if seen[0][0] == SOURCE else seen[0][0], seen[0][1])
    save_side_by_side(flags.output / 'reconstruction.png', [('photo', photo.image), *seen])
    save_views(flags.output, found, subjects, flags.views, flags.turn)
    if flags.video:
        save_film(flags.output / f'turntable.{FILM_FORMAT}', found, subjects, TURNTABLE_FRAMES, flags.turn, FPS)


def _summary(found: Inversion) -> str:
    lines = [
        f'{stage}: {values["psnr"]:.1f} dB, SSIM {values["ssim"]:.2f}'
        for stage, values in found.numbers['stages'].items()
    ]
    pose = found.numbers['pose']
    return '\n'.join([*lines, f'camera: yaw {pose["yaw"]:.1f}, pitch {pose["pitch"]:.1f} degrees ({json.dumps(pose)})'])
