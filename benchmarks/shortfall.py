"""Where the distance to the truth lies: what is left of it when one aspect of the adapted heads is made true.

    python -m benchmarks.shortfall [--workdir=runs/miniature] [--output=docs/shortfall.md] [--validation]

The world can draw the heads that were adapted in the style, seen by the same cameras. Here each adapted picture takes
one aspect from its true drawing (the background, the colours, the fine detail, ...) and the judge measures it again:
the aspect whose truth takes most of the distance away is the one that adaptation falls short in. Asked are the quality
record's runs (`benchmarks.miniature`: found in --workdir, or else done there). Writes a table and a JSON of all runs
beside it.

N samples, R resolution.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from adaptation import load_adapted
from adaptation.commands import run_command
from adaptation.fine_detail import LUMA
from benchmarks.ground_truth import VALIDATION, GroundTruth, generate
from benchmarks.miniature import ROOT, SAMPLES, Job, Setup, adapted_heads, add_run_flags, chosen_runs, tested
from benchmarks.miniature import measure as measure_run
from benchmarks.records import Row, command_line, style_table, write_records
from benchmarks.target_domain import Images, frechet
from eg3d_jax.huge_pages import restart_with_huge_pages
from eg3d_jax.machine import machine
from miniature.judge import embed_all

FINE = 2.0  # standard deviation in pixels of the blur that parts fine from coarse
MARGIN = 3  # pixels around a head that count as the head: its outline
SHARPENING = 0.7  # standard deviation in pixels of the blur whose difference is added once more
ASPECTS = {  # -> the table's words
    'none': 'as adapted',
    'background': 'true background',
    'head': 'true head',
    'colour': 'true colours',
    'lightness': 'true light and dark',
    'coarse': 'true coarse forms',
    'fine': 'true fine detail',
    'sharpened': 'sharpened, nothing true',
    'all': 'true drawings',
}


def with_true(adapted: Images, truth: Images, head: Bool[np.ndarray, 'N R R']) -> dict[str, Images]:
    """The adapted pictures with each of the `ASPECTS` taken from the true drawings, in [-1, 1]."""
    inside = head[..., None]
    lighter = _lightness(truth) - _lightness(adapted)
    coarse, true_coarse = _blurred(adapted, FINE), _blurred(truth, FINE)
    made = {
        'none': adapted,
        'background': np.where(inside, adapted, truth),
        'head': np.where(inside, truth, adapted),
        'colour': truth - lighter,
        'lightness': adapted + lighter,
        'coarse': adapted - coarse + true_coarse,
        'fine': coarse + truth - true_coarse,
        'sharpened': adapted + _lightness(adapted - _blurred(adapted, SHARPENING)),
        'all': truth,
    }
    return {name: np.clip(images, -1, 1).astype(np.float32) for name, images in made.items()}


def _lightness(images: Images) -> Float[np.ndarray, 'N R R 1']:
    return np.asarray(images @ np.array(LUMA, np.float32))[..., None]


def _blurred(images: Images, deviation: float) -> Images:
    return np.asarray(ndimage.gaussian_filter(images, (0, deviation, deviation, 0)), np.float32)


def heads_of(truth: GroundTruth) -> Bool[np.ndarray, 'N R R']:
    """Where a head is, its outline included."""
    seen = np.isfinite(truth.depth)
    larger = truth.images.shape[1] // seen.shape[1]
    seen = seen.repeat(larger, axis=1).repeat(larger, axis=2)
    return np.stack([ndimage.binary_dilation(one, iterations=MARGIN) for one in seen])


def measure(job: Job, setup: Setup) -> dict[str, Any]:
    """The judge's distance to the true domain of a run's heads, with each aspect made true."""
    measure_run(job, setup)  # adapts, unless that is done
    seed = VALIDATION * setup.validation
    test = tested(job.style, setup.samples, seed, setup.workdir)
    adapted = load_adapted(test.source, setup.directory(job))
    made = generate(adapted, test.truth.poses, adapted_heads(adapted, setup.samples, seed)).images
    changed = with_true(np.clip(made, -1, 1), test.truth.images, heads_of(test.truth))
    distances = {name: frechet(embed_all(test.judge, images), test.truth.domain) for name, images in changed.items()}
    return {**job._asdict(), 'frechet': distances}


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a row for each aspect, a column for each style; see `style_table`."""

    def row(aspect: str) -> Row:
        return Row(ASPECTS[aspect], '.1f', lambda record: float(record['frechet'][aspect]))

    return style_table(records, map(row, ASPECTS))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.shortfall', description=(__doc__ or '').split('\n')[0])
    parser.add_argument('--output', type=Path, default=ROOT / 'docs' / 'shortfall.md', help='Markdown file')
    parser.add_argument('--samples', type=int, default=SAMPLES, help="the quality record's, a multiple of 64")
    add_run_flags(parser)
    options = parser.parse_args(arguments)
    if options.samples % 64 or options.samples < 64:
        parser.error(f'--samples: expected a multiple of 64, got {options.samples}')
    every, setup = chosen_runs(options, options.samples)
    records = [measure(job, setup) for job in every]
    text = (
        f'# Where the distance to the truth lies\n\nWritten by `{command_line("benchmarks.shortfall", arguments)}` '
        f"({machine()}): {options.samples} heads, {len(records)} adaptations. The judge's Fréchet distance to the true "
        f'domain, medians (least to largest) over the runs of a style, when adapted heads take one aspect from true '
        f'drawings of the same heads; what the aspects are, `benchmarks/shortfall.py` says.\n\n{table(records)}\n'
    )
    write_records(options.output, text, records)
    return 0


if __name__ == '__main__':
    restart_with_huge_pages()
    sys.exit(run_command(main, None))
