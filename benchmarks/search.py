"""The search behind the hyperparameters that `configs/` ship: on the miniature's validation heads and references.

    python -m benchmarks.search [--styles sketch ukiyoe cartoon] [--trials=4] [--output=docs]

For each style a local search: the first trial is the config that ships when the search begins, every further one
redraws a few settings of the best trial so far. A trial adapts to the validation references and counts their mean
Frechet distance to true renderings in the judge's embedding times their mean colour error (`benchmarks.miniature`,
whose heads and references are other ones): the judge sees lines and hardly minds tints, the eye minds both. Trials
whose samples are less diverse than LEAST_DIVERSITY of the truth are no candidates, nor are those that cost more than
LARGEST_COST: the quality record's 18 runs are to take minutes. Then PROPOSED, what the eye asks for, is tried. Trials
whose distance is NEAR the best one are measured on all validation references, and the best of those is the outcome.
Each style's trials are written to a file of its own, search_STYLE.md, and their numbers to a JSON beside it.
Everything follows from the seed; trials that are done are found in the working directory, with their settings, and not
done again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adaptation.commands import run_command
from benchmarks.miniature import ROOT, STYLES, Job, Setup, config_of, measure
from benchmarks.records import command_line, write_records
from eg3d_jax.files import read_json, write_json
from eg3d_jax.huge_pages import restart_with_huge_pages
from eg3d_jax.machine import machine
from miniature.references import VALIDATION_HEADS

LEAST_DIVERSITY = 0.65  # share of the truth's
LARGEST_COST = 180.0  # in steps of phase 1
NEAR = 0.15  # of the best distance: not told apart by one reference
REDRAWN = 2  # settings of the best trial that a new one changes
PHASES = ('phase1', 'phase2')

Settings = dict[str, Any]  # a name of SPACE -> its value

# What is searched: a name -> its values, each a choice of config fields. Adam does not mind the scale of the loss, so
# that the weight of DDR stays 1.
SPACE: dict[str, dict[str, dict[str, Any]]] = {
    'TDL': {
        str(w): {f'phases.{phase}.weights.dis': w for phase in PHASES}
        for w in (0.0, 0.12, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
    },
    'ISSM': {str(w): {f'phases.{phase}.weights.istr': w for phase in PHASES} for w in (0.12, 0.25, 0.5, 1.0, 2.0)},
    'FSSM': {str(w): {'phases.phase1.weights.fstr': w} for w in (0.25, 1.0, 4.0)},
    'fine detail': {str(w): {'phases.phase2.weights.fine': w} for w in (0.0, 3.0, 10.0, 30.0, 100.0)},
    'crispness': {str(w): {'phases.phase2.weights.crisp': w} for w in (0.0, 10.0, 30.0, 100.0)},
    'palette': {
        f'{first:g}, {second:g}': {'phases.phase1.weights.palette': first, 'phases.phase2.weights.palette': second}
        for first, second in ((0.0, 0.0), (30.0, 30.0), (150.0, 30.0), (150.0, 150.0), (150.0, 300.0))
    },
    'new edges': {str(w): {'phases.phase2.weights.edges': w} for w in (0.0, 15.0, 50.0, 150.0)},
    'pair': {str(w): {f'phases.{phase}.weights.pair': w for phase in PHASES} for w in (0.0, 1.0, 3.0, 6.0)},
    'strokes': {word: {'phases.phase2.strokes': word == 'yes'} for word in ('no', 'yes')},
    'whitening': {f'{strength:g}': {'direction_whitening': strength} for strength in (0.0, 1.0, 3.0, 10.0)},
    'block': {str(block): {'clip_layers': [block]} for block in (0, 1, 2)},
    'rate 1': {str(rate): {'phases.phase1.learning_rate': rate} for rate in (1.2e-3, 2.5e-3, 5e-3, 1e-2)},
    'rate 2': {str(rate): {'phases.phase2.learning_rate': rate} for rate in (1e-3, 2e-3, 4e-3, 8e-3)},
    'final rate': {str(share): {f'phases.{phase}.final_rate': share for phase in PHASES} for share in (0.02, 1.0)},
    'crop': {str(share): {'encoder_crop': share} for share in (0.0, 0.1, 0.2)},
    'steps 1': {str(steps): {'phases.phase1.steps': steps} for steps in (20, 40, 60, 100)},
    'steps 2': {
        f'{steps} x {updates}': {'phases.phase2.steps': steps, 'phases.phase2.updates': updates}
        for steps, updates in ((10, 4), (20, 4), (40, 4), (20, 8))
    },
}

# What the proposals change: written out, since the configs have had the best of them since.
SKETCH: Settings = {
    'TDL': '4.0',
    'palette': '150, 300',
    'pair': '0.0',
    'whitening': '0',
    'crispness': '0.0',
    'strokes': 'yes',
}
SKETCH_WITH_PAIR: Settings = SKETCH | {'pair': '3.0', 'whitening': '3'}
PRINT: Settings = {
    'TDL': '1.0',
    'ISSM': '0.25',
    'fine detail': '10.0',
    'crispness': '30.0',
    'new edges': '50.0',
    'pair': '3.0',
    'whitening': '3',
}
CARTOON: Settings = {'whitening': '3', 'pair': '0.0', 'fine detail': '3.0', 'crispness': '0.0'}

# Changes of the best trial: what hatching is worth; more or less of the reference, and of its own head; cleaner
# directions; crisper outlines; fewer rings and smudges; less of the palette.
PROPOSED: dict[str, tuple[Settings, ...]] = {
    'sketch': (
        SKETCH | {'strokes': 'no'},
        SKETCH | {'TDL': '2.0'},
        SKETCH | {'TDL': '8.0'},
        SKETCH | {'TDL': '16.0'},
        SKETCH | {'whitening': '3'},
        SKETCH | {'pair': '1.0'},
        SKETCH | {'crispness': '30.0'},
        SKETCH | {'pair': '1.0', 'palette': '30, 30'},
        SKETCH_WITH_PAIR | {'pair': '1.0'},
        SKETCH_WITH_PAIR | {'whitening': '0'},
        SKETCH_WITH_PAIR,
        SKETCH_WITH_PAIR | {'pair': '6.0', 'whitening': '0'},
        SKETCH_WITH_PAIR | {'pair': '6.0'},
        SKETCH_WITH_PAIR | {'FSSM': '0.25'},
        SKETCH_WITH_PAIR | {'palette': '150, 150'},
        SKETCH_WITH_PAIR | {'whitening': '10'},
        SKETCH_WITH_PAIR | {'TDL': '2.0'},
        SKETCH_WITH_PAIR | {'palette': '150, 30'},
        SKETCH_WITH_PAIR | {'palette': '150, 150', 'TDL': '2.0'},
        SKETCH_WITH_PAIR | {'palette': '150, 150', 'pair': '1.0'},
        SKETCH_WITH_PAIR | {'palette': '150, 150', 'fine detail': '100.0'},
    ),
    'ukiyoe': (
        PRINT | {'new edges': '0.0'},
        PRINT | {'new edges': '15.0'},
        PRINT | {'new edges': '150.0'},
        PRINT | {'crispness': '0.0'},
        PRINT | {'crispness': '100.0'},
        PRINT | {'fine detail': '30.0'},
        PRINT | {'pair': '0.0'},
        PRINT | {'pair': '1.0'},
        PRINT | {'pair': '6.0'},
        PRINT | {'TDL': '0.5'},
        PRINT | {'TDL': '2.0'},
        PRINT | {'ISSM': '0.12'},
        PRINT | {'ISSM': '0.5'},
        PRINT | {'whitening': '0'},
        PRINT | {'whitening': '10'},
    ),
    'cartoon': (
        CARTOON | {'crispness': '10.0'},
        CARTOON | {'crispness': '30.0'},
        CARTOON | {'pair': '1.0'},
        CARTOON | {'pair': '3.0'},
        CARTOON | {'fine detail': '10.0'},
        CARTOON | {'whitening': '0'},
        CARTOON | {'pair': '3.0', 'crispness': '30.0'},
    ),
}


def shipped(style: str) -> Settings:
    """The shipped config as a point of the space.

    Raises:
        ValueError: its value of some setting is not in the space.
    """
    config = config_of(Job(style, 0, 0), Setup(Path(), 0, True, ()), Path())
    point = {}
    for name, choices in SPACE.items():
        found = [key for key, fields in choices.items() if all(_field(config, f) == v for f, v in fields.items())]
        if not found:
            raise ValueError(f'configs/{style}.py: its {name!r} is none of {", ".join(choices)}')
        point[name] = found[0]
    return point


def _field(config: Mapping[str, Any], name: str) -> Any:
    value: Any = config
    for part in name.split('.'):
        value = value[part]
    return list(value) if isinstance(value, tuple) else value


def redraw(best: Settings, random: np.random.Generator, tried: Sequence[Settings]) -> Settings:
    """A point that differs from the best one in REDRAWN settings, and from all that were tried."""
    while True:
        point = dict(best)
        for name in random.choice(list(SPACE), REDRAWN, replace=False):
            point[str(name)] = str(random.choice([value for value in SPACE[str(name)] if value != best[str(name)]]))
        if point not in tried:
            return point


def changes(point: Settings) -> tuple[str, ...]:
    """The point as NAME=VALUE of config fields."""
    fields = {name: value for setting, key in point.items() for name, value in SPACE[setting][key].items()}
    return tuple(f'{name}={json.dumps(value)}' for name, value in fields.items())


def cost(point: Settings) -> float:
    """Of an adaptation, in steps of phase 1: a step of phase 2 renders whole images, for two, and updates G2."""
    steps, updates = map(int, point['steps 2'].split(' x '))
    return int(point['steps 1']) + steps * (2.0 + updates / 4.0)


def distance(trial: Mapping[str, Any]) -> float:
    """What is minimised: a percent less Frechet distance is worth a percent of colour error."""
    if trial['diversity'] < LEAST_DIVERSITY or cost(trial['settings']) > LARGEST_COST:
        return float('inf')
    return float(trial['frechet'] * trial['colour_error'])


def attempt(
    style: str, number: int, point: Settings, options: argparse.Namespace, references: int = 1
) -> dict[str, Any]:
    """One trial: means over so many validation references."""
    setup = Setup(options.workdir, options.samples, True, changes(point), f'{style}_{number:02d}')
    records = [measure(Job(style, head, 0), setup) for head in VALIDATION_HEADS[style][:references]]
    means = {
        name: float(np.mean([record[name] for record in records]))
        for name in ('colour_error', 'diversity', 'attributes', 'depth_change', 'seconds')
    }
    distances = {
        name: float(np.mean([record['frechet'][name] for record in records]))
        for name in ('source', 'colour_transfer', 'adapted')
    }
    return {
        'style': style,
        'trial': number,
        'settings': point,
        'references': references,
        'frechet': distances['adapted'],
        'frechet_of_source': distances['source'],
        'frechet_of_colour_transfer': distances['colour_transfer'],
        **means,
    }


def search(options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """All trials of each style, the styles in turns."""
    trials: dict[str, list[dict[str, Any]]] = {style: [] for style in options.styles}
    random = {style: np.random.default_rng([options.seed, STYLES.index(style)]) for style in options.styles}
    for number in range(options.trials):
        for style, done in trials.items():
            tried = [trial['settings'] for trial in done]
            point = redraw(min(done, key=distance)['settings'], random[style], tried) if done else shipped(style)
            done.append(attempt(style, number, _kept(options.workdir, style, number, point), options))
            print(line(done[-1]), flush=True)
    for style, done in trials.items():
        best = min(done, key=distance)['settings']
        for change in PROPOSED.get(style, ()):
            number = len(done)
            done.append(attempt(style, number, _kept(options.workdir, style, number, best | change), options))
            print(line(done[-1]), flush=True)
        trials[style] = decide(done, options)
    return trials


def decide(trials: Sequence[dict[str, Any]], options: argparse.Namespace) -> list[dict[str, Any]]:
    """A style's trials, those that one reference does not tell apart measured on all of them."""
    best = min(map(distance, trials))
    near = [trial for trial in trials if distance(trial) <= (1 + NEAR) * best]
    if len(near) == 1:
        return list(trials)
    references = len(VALIDATION_HEADS[near[0]['style']])
    return [
        attempt(trial['style'], trial['trial'], trial['settings'], options, references) if trial in near else trial
        for trial in trials
    ]


def outcome(trials: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The best of a style's trials, of those that most references tell of."""
    most = max(trial['references'] for trial in trials)
    return min((trial for trial in trials if trial['references'] == most), key=distance)


def ships(trials: Sequence[Mapping[str, Any]]) -> str:
    """Which of a style's trials its config is, in words."""
    alike = [trial for trial in trials if trial['settings'] == shipped(trial['style'])]
    return f'trial {alike[-1]["trial"]}' if alike else 'none of these'


def _kept(workdir: Path, style: str, number: int, point: Settings) -> Settings:
    """The settings that this trial was made with, if it was: configs and SPACE may have changed since."""
    directory = workdir / f'{style}_{number:02d}'
    path = directory / 'settings.json'
    if not any(directory.glob('*/record.json')):  # none, or broken off
        write_json(path, point)
    kept: Settings = read_json(path)
    return kept


def line(trial: Mapping[str, Any]) -> str:
    """A row of the table."""
    numbers = f'{trial["references"]} | {trial["frechet"]:.1f} | {trial["colour_error"]:.1f} | {trial["diversity"]:.2f}'
    numbers += f' | {trial["attributes"]:.0%} | {trial["seconds"]:.0f}'
    return f'| {trial["style"]} | {trial["trial"]} | {" | ".join(trial["settings"].values())} | {numbers} |'


def table(trials: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a row for each trial of a style, the best one in bold."""
    heading = ['Style', 'Trial', *SPACE, 'References', 'Fréchet', 'Colour error', 'Diversity', 'Attributes', 'Seconds']
    lines = ['| ' + ' | '.join(heading) + ' |', '|' + ' --- |' * len(heading)]
    best = outcome(trials)
    for trial in trials:
        row = line(trial)
        cells = [f' **{cell.strip()}** ' for cell in row.strip('|').split('|')]
        lines.append('|' + '|'.join(cells) + '|' if trial is best else row)
    return '\n'.join(lines)


def write(style: str, trials: Sequence[Mapping[str, Any]], directory: Path, command: str, samples: int) -> None:
    """Writes what a style's search found: a table, and a JSON of all numbers."""
    minutes = sum(trial['seconds'] * trial['references'] for trial in trials) / 60
    text = (
        f'# The search for the shipped settings: {style}\n\nWritten by `{command}` ({machine()}; {minutes:.0f} minutes '
        f'of adapting in all): each trial adapts to one validation reference, or to both, and draws {samples} samples '
        f'of validation heads; what is searched and what is minimised, `benchmarks/search.py` says. The outcome is in '
        f'bold. One seed: differences of a few percent are noise. The config ships {ships(trials)}.\n\n'
        f'{table(trials)}\n'
    )
    write_records(directory / f'search_{style}.md', text, trials)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.search', description=(__doc__ or '').split('\n')[0])
    parser.add_argument('--output', type=Path, default=ROOT / 'docs', help='folder')
    parser.add_argument('--workdir', type=Path, default=Path('runs/search'))
    parser.add_argument('--styles', nargs='+', choices=STYLES, default=STYLES)
    parser.add_argument('--trials', type=int, default=4, help='for each style')
    parser.add_argument('--samples', type=int, default=128, help='a multiple of 64')
    parser.add_argument('--seed', type=int, default=0)
    options = parser.parse_args(arguments)
    for style, trials in search(options).items():
        write(style, trials, options.output, command_line('benchmarks.search', arguments), options.samples)
    return 0


if __name__ == '__main__':
    restart_with_huge_pages()
    sys.exit(run_command(main, None))
