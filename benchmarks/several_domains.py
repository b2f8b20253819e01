"""One training run over several references against a run for each: how true, how diverse, how large, how long.

    python -m benchmarks.several_domains [--workdir=runs/several_domains] [--separate=runs/miniature]
        [--output=docs/several_domains.md] [--samples=512] [--validation]

The joint run is configs/three_styles.py, on the first reference of each style of the quality record
(`benchmarks.miniature`, which has the metrics' definitions); each separate run is that record's first of its style,
found in --separate or else done there. Both are measured on the same heads. --validation takes the heads and references
that settings are chosen on. Writes the table and a JSON of all numbers beside it. Runs that are done are found again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adaptation import load_adapted
from adaptation.adapter import WEIGHTS_FILE
from adaptation.commands import run_command
from adaptation.main import load_experiment
from benchmarks.ground_truth import VALIDATION, generate
from benchmarks.miniature import (
    ROOT,
    SAMPLES,
    STYLES,
    Job,
    Setup,
    adapt,
    compare,
    flat,
    jobs,
    picture,
    save_grid,
    tested,
)
from benchmarks.records import command_line, write_records
from benchmarks.timed_run import timed_run
from eg3d_jax.machine import machine

NUMBERS = {  # the number's name -> its heading and format
    'frechet.source': ('Fréchet distance: source', '.1f'),
    'frechet.adapted': ('Fréchet distance: adapted', '.1f'),
    'fall': ('Fall', '.0%'),
    'diversity': ('Diversity', '.2f'),
    'attributes': ('Attributes kept', '.0%'),
    'perceptual': ('Perceptual', '.2f'),
    'depth_change': ('Depth change', '.1%'),
}


def adapt_jointly(every: Sequence[Job], references: Mapping[str, Path], directory: Path) -> float:
    """The joint run, unless it is done; the seconds it took."""
    config = load_experiment(ROOT / 'configs' / 'three_styles.py')
    for job in every:
        config.references[job.style].image = str(references[job.style])
    config.seed = every[0].seed
    config.sample_heads = 1
    config.intervals.samples = config.intervals.checkpoint = 10**6
    return timed_run(config.to_dict(), directory)


def measure(job: Job, setup: Setup, reference: Path, adapter: Path, domain: str | None) -> dict[str, Any]:
    """The numbers of one style's samples, and a picture of them beside the joint run's directory."""
    test = tested(job.style, setup.samples, VALIDATION * setup.validation, setup.workdir)
    after = generate(load_adapted(test.source, adapter, domain), test.truth.poses)
    which = 'separate' if domain is None else 'joint'
    save_grid(setup.workdir / f'{job.style}_{which}.png', test.before.images, after.images, test.truth.images)
    return {'style': job.style, **compare(test, after, picture(reference, test.judge.config.resolution))}


def table(result: Mapping[str, Any]) -> str:
    """Markdown: a row for each number, two columns for each style."""
    heads = [f'{style}, {which}' for style in result['joint']['styles'] for which in ('separate', 'joint')]
    lines = ['| | ' + ' | '.join(heads) + ' |', '| --- |' + ' --- |' * len(heads)]
    for name, (heading, form) in NUMBERS.items():
        cells = [
            f'{flat(result[which]["styles"][style])[name]:{form}}'
            for style in result['joint']['styles']
            for which in ('separate', 'joint')
        ]
        lines.append(f'| {heading} | ' + ' | '.join(cells) + ' |')
    size, seconds = (
        [f'{which} {result[which][name]:,.0f}' for which in ('separate', 'joint')] for name in ('bytes', 'seconds')
    )
    return '\n'.join([*lines, '', f'Bytes of all adapters: {", ".join(size)}. Seconds: {", ".join(seconds)}.'])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.several_domains', description=(__doc__ or '').split('\n')[0]
    )
    parser.add_argument('--workdir', type=Path, default=Path('runs/several_domains'))
    parser.add_argument('--separate', type=Path, default=Path('runs/miniature'), help="the quality record's directory")
    parser.add_argument('--output', type=Path, default=ROOT / 'docs' / 'several_domains.md', help='Markdown file')
    parser.add_argument('--samples', type=int, default=SAMPLES, help='a multiple of 64')
    parser.add_argument('--validation', action='store_true', help='other heads and references than the reported ones')
    options = parser.parse_args(arguments)
    options.workdir.mkdir(parents=True, exist_ok=True)
    every = jobs(STYLES, 1, 1, options.validation)
    alone = Setup(options.separate, options.samples, options.validation, ())
    together = Setup(options.workdir, options.samples, options.validation, ())
    done = {job.style: adapt(job, alone) for job in every}
    joint = options.workdir / 'joint'
    together_seconds = adapt_jointly(every, {style: reference for style, (reference, _, _) in done.items()}, joint)
    result = {
        'machine': machine(),
        'samples': options.samples,
        'validation': options.validation,
        'separate': {
            'seconds': sum(seconds for _, _, seconds in done.values()),
            'bytes': sum((directory / WEIGHTS_FILE).stat().st_size for _, directory, _ in done.values()),
            'styles': {
                job.style: measure(job, together, done[job.style][0], done[job.style][1], None) for job in every
            },
        },
        'joint': {
            'seconds': together_seconds,
            'bytes': (joint / WEIGHTS_FILE).stat().st_size,
            'styles': {job.style: measure(job, together, done[job.style][0], joint, job.style) for job in every},
        },
    }
    text = table(result)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    command = command_line('benchmarks.several_domains', arguments)
    text = f'# One run over several references\n\nWritten by `{command}` ({machine()}).\n\n{text}\n'
    write_records(options.output, text, result)
    return 0


if __name__ == '__main__':
    sys.exit(run_command(main, None))
