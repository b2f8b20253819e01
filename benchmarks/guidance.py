"""Whether guidance knows the style when it sees it: the losses of adapted heads beside those of true drawings.

    python -m benchmarks.guidance [--workdir=runs/miniature] [--output=docs/guidance.md] [--samples=64] [--validation]

The world can draw the heads that were adapted in the reference's own style, and the encoders can be asked about those
drawings as well. Where they say the same of both and the judge does not (`benchmarks.miniature`), adapted heads lack
what the encoders do not see, and training longer will hardly bring it. Where true drawings have the smaller losses,
training falls short. Asked are the encoders of the quality record's runs (found in --workdir, or else done there), each
by itself, about whole pictures of the same heads, where training may show it crops. Direction and distribution pull
(the smaller, the more of the style), structure holds on to the source. Writes a table and a JSON of all runs beside it.

N samples, R resolution.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from adaptation import load_adapted, losses
from adaptation.commands import run_command
from adaptation.config import read_config
from adaptation.guidance import Guide, make_guides
from adaptation.inputs import encoder_directories, load_inputs
from benchmarks.ground_truth import VALIDATION, Poses, generate
from benchmarks.miniature import (
    ROOT,
    SAMPLES,
    Job,
    Setup,
    adapted_heads,
    add_run_flags,
    chosen_runs,
    measure,
    tested,
)
from benchmarks.records import command_line, spread, write_records
from benchmarks.target_domain import BATCH, Images
from eg3d_jax.huge_pages import restart_with_huge_pages
from eg3d_jax.machine import machine

ASKED = 64  # heads
LOSSES = {'direction': 'DDR', 'distribution': 'TDL', 'structure': 'ISSM'}  # -> the paper's name


def said_of(guide: Guide, images: Images, source: Images) -> dict[str, float]:
    """The losses, before their weights, that an encoder gives to images of the source's heads; both [N, R, R, 3]."""
    parts = [
        _said_of(guide, jnp.asarray(images[start : start + BATCH]), jnp.asarray(source[start : start + BATCH]))
        for start in range(0, len(images), BATCH)
    ]
    return {name: float(np.mean([part[name] for part in parts])) for name in LOSSES}


@jax.jit
def _said_of(
    guide: Guide, images: Float[Array, 'N R R 3'], source: Float[Array, 'N R R 3']
) -> dict[str, Float[Array, '']]:
    found, origin = (guide.encode(batch, tokens=True, embed=True) for batch in (images, source))
    assert found.embedding is not None
    assert origin.embedding is not None
    assert guide.reference_tokens is not None
    return {
        'direction': losses.direction_loss(found.embedding, origin.embedding, guide.domain_direction),
        'distribution': losses.distribution_loss(found.tokens[0], guide.reference_tokens),
        'structure': losses.image_structure_loss(found.tokens[0], origin.tokens[0]),
    }


def ask(job: Job, setup: Setup, samples: int) -> dict[str, Any]:
    """What the run's encoders say of true drawings and of its adapted heads, and the run's distance to the truth."""
    record = measure(job, setup)  # adapts, unless that is done
    directory = setup.directory(job)
    config = read_config(json.loads((directory / 'config.json').read_text()))
    inputs = load_inputs(config)
    seed = VALIDATION * setup.validation
    test = tested(job.style, setup.samples, seed, setup.workdir)
    adapted = load_adapted(test.source, directory)
    seen = Poses(*(array[:samples] for array in test.truth.poses))
    made = generate(adapted, seen, adapted_heads(adapted, setup.samples, seed)[: samples // BATCH]).images
    source, drawn = test.before.images[:samples], test.truth.images[:samples]
    batches = (jnp.asarray(source[start : start + BATCH]) for start in range(0, samples, BATCH))
    guides = make_guides(
        inputs.encoders,
        inputs.layers,
        jnp.asarray(inputs.reference),
        batches,
        whitening=config.direction_whitening,
    )
    names = [path.name for path in encoder_directories(config.clip_directories)]
    return {
        **job._asdict(),
        'frechet': record['frechet']['adapted'],
        'said': {
            name: {'truth': said_of(guide, drawn, source), 'adapted': said_of(guide, made, source)}
            for name, guide in zip(names, guides, strict=True)
        },
    }


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a row for each loss of each encoder, two columns for each style; medians, least and largest."""
    styles = list(dict.fromkeys(record['style'] for record in records))
    heads = [f'{style}, {whose}' for style in styles for whose in ('true', 'adapted')]
    lines = ['| | ' + ' | '.join(heads) + ' |', '| --- |' + ' --- |' * len(heads)]
    for name in records[0]['said']:
        for loss, term in LOSSES.items():
            cells = []
            for style in styles:
                for whose in ('truth', 'adapted'):
                    values = [record['said'][name][whose][loss] for record in records if record['style'] == style]
                    cells.append(spread(values, '.2f'))
            lines.append(f'| {term}, {name} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.guidance', description=(__doc__ or '').split('\n')[0])
    parser.add_argument('--output', type=Path, default=ROOT / 'docs' / 'guidance.md', help='Markdown file')
    parser.add_argument('--samples', type=int, default=ASKED, help='heads asked about, a multiple of 16')
    parser.add_argument('--measured', type=int, default=SAMPLES, help="the quality record's samples, a multiple of 64")
    add_run_flags(parser)
    options = parser.parse_args(arguments)
    if options.samples % BATCH or not 0 < options.samples <= options.measured:
        parser.error(f'--samples: expected a multiple of {BATCH} up to {options.measured}, got {options.samples}')
    every, setup = chosen_runs(options, options.measured)
    records = [ask(job, setup, options.samples) for job in every]
    text = (
        f'# What guides, asked about the truth\n\nWritten by `{command_line("benchmarks.guidance", arguments)}` '
        f'({machine()}): {options.samples} heads, {len(records)} adaptations. Medians (least to largest) over the '
        f'runs of a style of the losses before their weights, of true drawings and of adapted heads; what they tell, '
        f'`benchmarks/guidance.py` says.\n\n{table(records)}\n'
    )
    write_records(options.output, text, records)
    return 0


if __name__ == '__main__':
    restart_with_huge_pages()
    sys.exit(run_command(main, None))
