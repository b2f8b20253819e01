"""Measure the shipped networks again and compare with what their recipes say.

    python -m miniature.verify [--network=generator] [--workdir=runs/miniature_verify]

Renders held-out heads (kept in the working directory), so it takes minutes. Exit code 1 if a figure is not what the
recipe beside the weights claims.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from miniature import clip_training_quality, generator_quality, judge_training, weights_directory
from miniature.judge import load_judge
from miniature.judge_data import make_pool
from miniature.training import read_recipe

# How far a figure may be from the recorded one: rounding differs between machines, and with it a picture or two.
TOLERANCES = {'psnr': 0.05, 'depth_error': 5e-4, 'heads': 0.0}  # by the end of the figure's name
SHARE_TOLERANCE = 0.01  # of all others, which are shares and correlations


class Figure(NamedTuple):
    """One number of a recipe, and what was measured now."""

    name: str
    recorded: float
    measured: float

    @property
    def agrees(self) -> bool:
        """Whether the two are the same but for rounding; a missing figure (not a number) never is."""
        tolerance = next((t for end, t in TOLERANCES.items() if self.name.endswith(end)), SHARE_TOLERANCE)
        return abs(self.recorded - self.measured) <= tolerance


def _judge_quality(directory: Path, workdir: Path) -> dict[str, Any]:
    heads = judge_training.HELD_OUT_HEADS
    return judge_training.measure(load_judge(directory), make_pool(workdir, heads, heads, judge_training.HELD_OUT_SEED))


def _generator_quality(directory: Path, workdir: Path) -> dict[str, float]:
    return generator_quality.measure(directory)


MEASURES: dict[str, Callable[[Path, Path], Mapping[str, Any]]] = {
    'generator': _generator_quality,
    'clip_patch8': clip_training_quality.measure,
    'clip_patch16': clip_training_quality.measure,
    'judge': _judge_quality,
}


def verify(directory: Path, measured: Mapping[str, Any]) -> list[Figure]:
    """Compares what was measured with the recipe in a directory, figure by figure."""
    recorded, now = (dict(_flat(values)) for values in (read_recipe(directory)['quality'], measured))
    missing = float('nan')
    return [Figure(name, recorded.get(name, missing), now.get(name, missing)) for name in {**recorded, **now}]


def _flat(values: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f'{prefix}{name}.')
        else:
            yield prefix + name, float(value)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog='python -m miniature.verify', description=(__doc__ or '').split('\n')[0])
    parser.add_argument('--network', choices=MEASURES, action='append', help='by default all of them; may be repeated')
    parser.add_argument('--workdir', type=Path, default=Path('runs/miniature_verify'), help='for the pictures')
    options = parser.parse_args(arguments)
    wrong = 0
    for network in options.network or MEASURES:
        directory = weights_directory(network)
        figures = verify(directory, MEASURES[network](directory, options.workdir))
        print(network)
        for figure in figures:
            mark = '' if figure.agrees else '  DIFFERS'
            print(f'  {figure.name:40} recorded {figure.recorded:9.4f}  measured {figure.measured:9.4f}{mark}')
        wrong += sum(not figure.agrees for figure in figures)
    print(f'{wrong} figures differ from the recipes.' if wrong else 'All figures are what the recipes say.')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
