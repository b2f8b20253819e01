"""How near the domain direction is to where true drawings go, for strengths of whitening.

    python -m benchmarks.directions [--output=docs/directions.md] [--samples=128] [--known=64]

The world can draw the generator's heads in any style, so that it is known which way a style moves their embeddings: the
mean of E(true drawing) - E(source image), moves and mean at length 1. The domain direction is a guess at it from one
reference, in which that reference's own hair, clothes and wall have a part; with `direction_whitening`
(`adaptation.guidance.whitened`) they have less. Measured is the cosine between the two, for each of the miniature's
encoders and all references of its three styles, those of the quality record and those that settings are chosen on.
Writes a table and a JSON of all numbers beside it.

N samples, R resolution, D channels of an embedding.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

import clip_jax
from adaptation.adapter import load_source
from adaptation.commands import run_command
from adaptation.guidance import encode_images, make_guides
from adaptation.inputs import encoder_directories
from benchmarks.ground_truth import VALIDATION, batches, generate, poses
from benchmarks.miniature import ROOT, STYLES
from benchmarks.records import command_line, spread, write_records
from benchmarks.target_domain import BATCH, Images
from eg3d_jax.huge_pages import restart_with_huge_pages
from eg3d_jax.machine import machine
from miniature import world
from miniature.references import HEADS, VALIDATION_HEADS, draw

STRENGTHS = (0.0, 1.0, 3.0, 10.0, 30.0)
SAMPLES = 128  # heads whose moves are averaged
KNOWN = 64  # source images, other ones, that the domain direction is made of


def moves(clip: clip_jax.Clip, source: Images, drawn: Images) -> Float[np.ndarray, 'D']:
    """Where a style moves the embeddings of heads on average, at length 1; images are [N, R, R, 3] in [-1, 1]."""
    encode = jax.jit(partial(encode_images, tokens_after=(), embed=True))

    def embed(images: Images) -> Float[np.ndarray, 'N D']:
        parts = [encode(clip, jnp.asarray(images[start : start + BATCH])) for start in _starts(images)]
        return np.concatenate([part.embedding for part in parts])

    each = embed(drawn) - embed(source)
    return _unit(_unit(each).mean(axis=0))


def _starts(images: Images) -> range:
    return range(0, len(images), BATCH)


def _unit(vectors: Float[np.ndarray, '*B D']) -> Float[np.ndarray, '*B D']:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


class Pictures(NamedTuple):
    """Of a style, each [N, R, R, 3] in [-1, 1]: source images, true drawings of the same heads, and of others."""

    source: Images
    drawn: Images
    known: Images


def pictures(style: str, samples: int, known: int) -> Pictures:
    """Of the reported heads; the known source images are of those that settings are chosen on."""
    source, chosen = load_source('miniature'), poses(samples, 0)
    images = generate(source, chosen).images
    drawn = [world.render(world.from_latent(part.z), part.camera, style, images.shape[1]) for part in batches(chosen)]
    return Pictures(images, np.concatenate(drawn), generate(source, poses(known, VALIDATION)).images)


def measure(style: str, samples: int, known: int) -> list[dict[str, Any]]:
    """For each reference of a style, encoder and strength, the cosine of the direction and the mean move."""
    seen = pictures(style, samples, known)
    directories = encoder_directories(['miniature'])
    clips = [clip_jax.load_clip(directory) for directory in directories]
    true = [moves(clip, seen.source, seen.drawn) for clip in clips]
    records = []
    for head in (*HEADS[style], *VALIDATION_HEADS[style]):
        reference = jnp.asarray(draw(style, head), jnp.float32) / 127.5 - 1
        for strength in STRENGTHS:
            source_images = (jnp.asarray(seen.known[start : start + BATCH]) for start in _starts(seen.known))
            guides = make_guides(clips, [1] * len(clips), reference, source_images, whitening=strength)
            for directory, guide, move in zip(directories, guides, true, strict=True):
                cosine = float(_unit(np.asarray(guide.domain_direction)) @ move)
                tried = {'style': style, 'head': head, 'encoder': directory.name, 'whitening': strength}
                records.append({**tried, 'cosine': cosine})
    return records


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a row for each encoder and strength, a column for each style; median, least and largest reference."""
    styles = list(dict.fromkeys(record['style'] for record in records))
    lines = ['| Encoder | Whitening | ' + ' | '.join(styles) + ' |', '| --- | --- |' + ' --- |' * len(styles)]
    for encoder, strength in dict.fromkeys((record['encoder'], record['whitening']) for record in records):
        cells = [
            spread(
                [
                    record['cosine']
                    for record in records
                    if (record['style'], record['encoder'], record['whitening']) == (style, encoder, strength)
                ],
                '.2f',
            )
            for style in styles
        ]
        lines.append(f'| {encoder} | {strength:g} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.directions', description=(__doc__ or '').split('\n')[0])
    parser.add_argument('--output', type=Path, default=ROOT / 'docs' / 'directions.md', help='Markdown file')
    parser.add_argument('--samples', type=int, default=SAMPLES, help=f'a multiple of {BATCH}')
    parser.add_argument('--known', type=int, default=KNOWN, help='source images that a direction is made of, likewise')
    options = parser.parse_args(arguments)
    for name in ('samples', 'known'):
        count = getattr(options, name)
        if count % BATCH or count < BATCH:
            parser.error(f'--{name}: expected a multiple of {BATCH}, got {count}')
    records = [record for style in STYLES for record in measure(style, options.samples, options.known)]
    text = (
        f'# Where the domain direction leads\n\nWritten by `{command_line("benchmarks.directions", arguments)}` '
        f'({machine()}): the cosine of the domain direction of one reference, from the mean of {options.known} source '
        f'images, with the mean move of the embeddings of {options.samples} other heads to their true drawings; '
        f'median (least to largest) over all references of each style. A whitening of 0 is the paper.\n\n'
        f'{table(records)}\n'
    )
    write_records(options.output, text, records)
    return 0


if __name__ == '__main__':
    restart_with_huge_pages()
    sys.exit(run_command(main, None))
