"""The search redraws what it says, and its space holds the shipped configs."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptation.config import read_config
from benchmarks import search
from benchmarks.miniature import STYLES, Job, Setup, config_of
from benchmarks.search import (
    LARGEST_COST,
    REDRAWN,
    SPACE,
    _kept,
    changes,
    cost,
    distance,
    outcome,
    redraw,
    shipped,
    table,
)
from eg3d_jax.files import read_json


@pytest.mark.parametrize('style', STYLES)
def test_the_shipped_configs_are_points_of_the_space(style: str, tmp_path):
    point = shipped(style)
    assert list(point) == list(SPACE)
    job = Job(style, 0, 0)
    plain = read_config(config_of(job, Setup(tmp_path, 64, True, ()), tmp_path))
    assert read_config(config_of(job, Setup(tmp_path, 64, True, changes(point)), tmp_path)) == plain


def test_a_new_trial_differs_from_the_best_in_a_few_settings_and_from_all_others():
    best = shipped('sketch')
    random, tried = np.random.default_rng(0), [best]
    for _ in range(30):
        point = redraw(best, random, tried)
        assert sum(point[name] != best[name] for name in SPACE) == REDRAWN
        assert point not in tried
        assert all(value in SPACE[name] for name, value in point.items())
        tried.append(point)


def trial(number: int, frechet: float, diversity: float, colour_error: float = 2.0) -> dict[str, Any]:
    numbers = {
        'references': 1,
        'frechet': frechet,
        'colour_error': colour_error,
        'diversity': diversity,
        'attributes': 0.5,
        'seconds': 60.0,
    }
    return {'style': 'sketch', 'trial': number, 'settings': shipped('sketch'), **numbers}


def test_the_best_trial_is_the_nearest_of_those_that_are_diverse_and_truly_coloured():
    trials = [trial(0, 40.0, 0.7), trial(1, 20.0, 0.3), trial(2, 30.0, 0.8), trial(3, 25.0, 0.8, colour_error=3.0)]
    assert min(trials, key=distance)['trial'] == 2
    bold = [row for row in table(trials).splitlines() if '**' in row]
    assert len(bold) == 1
    assert '**30.0**' in bold[0]


def test_a_trial_keeps_the_settings_that_it_was_made_with(tmp_path: Path):
    made, later = shipped('sketch'), shipped('cartoon')
    assert made != later
    assert _kept(tmp_path, 'sketch', 3, made) == made
    record = tmp_path / 'sketch_03' / 'sketch_30_0' / 'record.json'
    record.parent.mkdir()
    record.write_text('{}')
    assert _kept(tmp_path, 'sketch', 3, later) == made
    assert _kept(tmp_path, 'sketch', 4, later) == later


def test_a_trial_that_was_broken_off_lends_its_settings_to_none(tmp_path: Path):
    assert _kept(tmp_path, 'sketch', 3, shipped('sketch')) == shipped('sketch')
    (tmp_path / 'sketch_03' / 'sketch_30_0').mkdir()
    assert _kept(tmp_path, 'sketch', 3, shipped('cartoon')) == shipped('cartoon')
    assert _kept(tmp_path, 'sketch', 3, shipped('cartoon')) == shipped('cartoon')


def test_a_costly_trial_is_no_candidate():
    dear = trial(1, 10.0, 0.8)
    dear['settings'] = {**dear['settings'], 'steps 1': '100', 'steps 2': '40 x 4'}
    assert cost(dear['settings']) == 220.0 > LARGEST_COST
    assert min([trial(0, 40.0, 0.7), dear], key=distance)['trial'] == 0


def test_the_outcome_is_of_the_trials_that_most_references_tell_of():
    trials = [trial(0, 10.0, 0.8), trial(1, 30.0, 0.8), trial(2, 20.0, 0.8)]
    for near in trials[1:]:
        near['references'] = 2
    assert outcome(trials)['trial'] == 2


def test_what_one_reference_does_not_tell_apart_is_measured_on_all(monkeypatch: pytest.MonkeyPatch):
    measured = {0: 30.0, 1: 25.0}

    def again(style: str, number: int, point: Any, options: Any, references: int) -> dict[str, Any]:
        return {**trial(number, measured[number], 0.8), 'style': style, 'settings': point, 'references': references}

    monkeypatch.setattr(search, 'attempt', again)
    trials = [trial(0, 20.0, 0.8), trial(1, 22.5, 0.8), trial(2, 23.5, 0.8)]
    decided = search.decide(trials, argparse.Namespace())
    assert [one['references'] for one in decided] == [2, 2, 1]
    assert outcome(decided)['trial'] == 1


def test_each_style_gets_a_file_of_its_own_that_says_which_trial_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def attempt(style: str, number: int, point: Any, options: Any, references: int = 1) -> dict[str, Any]:
        return {**trial(number, 50.0 - number, 0.8), 'style': style, 'settings': point, 'references': references}

    monkeypatch.setattr(search, 'attempt', attempt)
    monkeypatch.setattr(search, 'PROPOSED', {'sketch': ({'TDL': '0.0'}, {'TDL': '0.12'})})
    output = tmp_path / 'docs'
    assert (
        search.main([f'--workdir={tmp_path}', f'--output={output}', '--styles', 'sketch', 'cartoon', '--trials=1']) == 0
    )
    assert sorted(path.name for path in output.iterdir()) == [
        'search_cartoon.json',
        'search_cartoon.md',
        'search_sketch.json',
        'search_sketch.md',
    ]
    text = (output / 'search_sketch.md').read_text()
    assert 'The config ships trial 0.' in text
    rows = text.splitlines()[-3:]
    assert [row.split('|')[2].strip(' *') for row in rows] == ['0', '1', '2']
    assert ['**' in row for row in rows] == [False, False, True]
    assert 'cartoon' not in text.replace('--styles sketch cartoon', '')
    assert len(read_json(output / 'search_sketch.json')) == 3
    assert len(read_json(output / 'search_cartoon.json')) == 1
