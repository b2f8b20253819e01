"""How near the head that is found for a reference is to the head that the reference shows.

    python -m benchmarks.counterparts [--output=docs/counterparts.md] [--references=5]

The world knows whose drawing each of its references is, and can draw the same head, seen by the same camera, as the
photograph that the generator was trained on. `adaptation.counterpart` is given the drawing alone. Measured is its head
against that photograph, and, for comparison, the mean head, where the search begins, against it:

- PSNR (dB).
- Attributes: of how many of the head's classes (headwear, hair, colours, ...) the judge says of it what it says of the
  photograph.
- The errors of its camera's yaw and pitch, in degrees.

Writes a table and a JSON of all numbers beside it, and the pictures: drawing, photograph, mean head, found head.

R resolution.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from PIL import Image

import clip_jax
from adaptation.adapter import load_source
from adaptation.commands import run_command
from adaptation.counterpart import draw_counterpart, find_counterpart
from adaptation.guidance import embed_source
from adaptation.inputs import encoder_directories
from adaptation.inversion.latents import w_basis
from adaptation.pair import Counterpart
from benchmarks.ground_truth import VALIDATION, generate, poses
from benchmarks.miniature import ROOT, STYLES, picture
from benchmarks.records import Row, command_line, style_table, write_records
from benchmarks.target_domain import BATCH, Images
from eg3d_jax.cameras import orbit_cameras
from eg3d_jax.files import replacing
from eg3d_jax.huge_pages import restart_with_huge_pages
from eg3d_jax.machine import machine
from miniature import world
from miniature.judge import Judge, embed_all, load_judge
from miniature.references import HEADS, PITCH, VALIDATION_HEADS, YAW, draw, latent

KNOWN = 64  # source images that content is told from
BLOCK = 1  # whose tokens are compared, as in the configs
ROWS = (
    Row('PSNR of the mean head, dB', '.1f', lambda record: float(record['psnr_of_mean'])),
    Row('PSNR of the found head, dB', '.1f', lambda record: float(record['psnr'])),
    Row('Attributes of the mean head', '.0%', lambda record: float(record['attributes_of_mean'])),
    Row('Attributes of the found head', '.0%', lambda record: float(record['attributes'])),
    Row('Yaw error, degrees', '.1f', lambda record: float(record['yaw_error'])),
    Row('Pitch error, degrees', '.1f', lambda record: float(record['pitch_error'])),
    Row('Seconds', '.0f', lambda record: float(record['seconds'])),
)


def alike(judge: Judge, one: Images, other: Images) -> float:
    """The share of the classes in which the judge says the same of two pictures [1, R, R, 3] in [-1, 1]."""
    said = [judge.read(jnp.asarray(embed_all(judge, images), jnp.float32)) for images in (one, other)]
    return float(np.mean([int(said[0][name].argmax()) == int(said[1][name].argmax()) for name in said[0]]))


def psnr(one: Images, other: Images) -> float:
    """In dB, of pictures in [-1, 1]."""
    return float(-10 * np.log10(np.mean(np.square(one - other)) / 4))


def view_error(found: Float[np.ndarray, '1 25'], true: Float[np.ndarray, '1 25']) -> tuple[float, float]:
    """By how many degrees of yaw and of pitch two cameras look from different directions."""
    views = []
    for camera in (found, true):
        x, y, z = camera[0, [2, 6, 10]]  # where it looks: the third column of cam2world
        views.append(np.degrees((np.arctan2(x, -z), np.arcsin(np.clip(y, -1, 1)))))
    yaw, pitch = np.abs(views[0] - views[1])
    return float(yaw), float(pitch)


def measure(styles: Sequence[str], references: int, directory: Path) -> list[dict[str, Any]]:
    """The numbers of each reference of each style; the pictures go to the directory."""
    generator, judge = load_source('miniature'), load_judge()
    clips = tuple(clip_jax.load_clip(path) for path in encoder_directories(['miniature']))
    camera, side = generator.config.camera, generator.config.image_resolution
    known = generate(generator, poses(KNOWN, VALIDATION)).images
    embeddings = embed_source(clips, (jnp.asarray(known[start : start + BATCH]) for start in range(0, KNOWN, BATCH)))
    true_camera = orbit_cameras(jnp.array([YAW]), jnp.array([PITCH]), camera)
    mean_ws = jnp.broadcast_to(w_basis(generator, camera).mean, (1, generator.config.num_ws, generator.config.w_dim))
    mean = _drawn(draw_counterpart(generator, Counterpart(mean_ws, true_camera)))
    records, rows = [], []
    for style in styles:
        for head in (*HEADS[style], *VALIDATION_HEADS[style])[:references]:
            path = directory / f'{style}_{head}.png'
            with replacing(path) as unfinished:
                Image.fromarray(draw(style, head)).save(unfinished, format='PNG')
            reference = picture(path, side)
            photo = np.asarray(world.render(world.from_latent(latent(head)), true_camera, 'photo', side))
            started = time.perf_counter()
            counterpart = find_counterpart(
                generator, clips, [BLOCK] * len(clips), embeddings, jnp.asarray(reference), camera
            )
            seconds = time.perf_counter() - started
            found = _drawn(draw_counterpart(generator, counterpart))
            yaw, pitch = view_error(np.asarray(counterpart.camera), np.asarray(true_camera))
            records.append(
                {
                    'style': style,
                    'head': head,
                    'psnr_of_mean': psnr(mean, photo),
                    'psnr': psnr(found, photo),
                    'attributes_of_mean': alike(judge, mean, photo),
                    'attributes': alike(judge, found, photo),
                    'yaw_error': yaw,
                    'pitch_error': pitch,
                    'seconds': seconds,
                }
            )
            print(records[-1], flush=True)
            rows.append(np.concatenate([reference, photo[0], mean[0], found[0]], axis=1))
    pixels = np.clip(np.concatenate(rows) * 127.5 + 128, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(directory / 'counterparts.png')
    return records


def _drawn(images: Any) -> Images:
    return np.clip(np.asarray(images), -1, 1)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.counterparts', description=(__doc__ or '').split('\n')[0]
    )
    parser.add_argument('--output', type=Path, default=ROOT / 'docs' / 'counterparts.md', help='Markdown file')
    parser.add_argument('--workdir', type=Path, default=Path('runs/counterparts'), help='for pictures')
    parser.add_argument('--styles', nargs='+', choices=STYLES, default=STYLES)
    parser.add_argument('--references', type=int, default=5, help='heads for each style, of 5')
    options = parser.parse_args(arguments)
    if options.references < 1:
        parser.error(f'--references: expected at least 1, got {options.references}')
    options.workdir.mkdir(parents=True, exist_ok=True)
    records = measure(options.styles, options.references, options.workdir)
    text = (
        f"# The source's head in a reference\n\nWritten by `{command_line('benchmarks.counterparts', arguments)}` "
        f'({machine()}): {len(records)} references; medians (least to largest) of those of a style. What each number '
        f'is, `benchmarks/counterparts.py` says.\n\n{style_table(records, ROWS)}\n'
    )
    write_records(options.output, text, records)
    return 0


if __name__ == '__main__':
    restart_with_huge_pages()
    sys.exit(run_command(main, None))
