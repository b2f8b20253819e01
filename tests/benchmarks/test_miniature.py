"""The quality record's jobs, distances and table."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from adaptation.config import read_config
from benchmarks import miniature
from benchmarks.miniature import Job, Setup, accuracy, colour_error, config_of, flat, jobs, table, view_distance
from miniature.judge import Judge, JudgeConfig
from miniature.references import HEADS, VALIDATION_HEADS


def test_jobs_are_every_style_reference_and_seed():
    every = jobs(('sketch', 'cartoon'), references=3, seeds=2, validation=False)
    assert len(every) == len(set(every)) == 12
    assert [job.style for job in every] == ['sketch'] * 6 + ['cartoon'] * 6
    assert {job.head for job in every if job.style == 'cartoon'} == set(HEADS['cartoon'])


@pytest.mark.parametrize('style', sorted(HEADS))
def test_settings_are_chosen_on_other_references_than_are_reported(style: str):
    assert not set(HEADS[style]) & set(VALIDATION_HEADS[style])
    assert len(set(HEADS[style])) == 3


def test_the_configs_are_the_shipped_ones_with_the_changes():
    job, reference = Job('sketch', 2, 1), Path('some.png')
    plain = read_config(config_of(job, Setup(Path(), 64, False, ()), reference))
    assert plain.reference.image == 'some.png'
    assert plain.seed == 1
    changes = ('phases.phase1.steps=7', 'phases.phase2.weights.dis=0.25')
    changed = read_config(config_of(job, Setup(Path(), 64, False, changes), reference))
    assert changed.phases['phase1'].steps == 7
    assert changed.phases['phase2'].weights.dis == 0.25
    assert changed.phases['phase2'].steps == plain.phases['phase2'].steps


def test_view_distance_is_the_move_between_views_as_a_share_of_the_spread():
    rng = np.random.default_rng(0)
    left = rng.standard_normal((40, 6))
    assert view_distance(left, left) == 0
    step = np.array([0.6, 0.8, 0, 0, 0, 0])
    assert view_distance(10 * left, 10 * left + step) == pytest.approx(view_distance(left, left + step) / 10)


def test_accuracy_counts_right_readings_and_leaves_colours_out():
    config = JudgeConfig(
        resolution=16, factors=(4,), channels=(8,), blocks=(0,), classes=(('glasses', 3), ('hair_colour', 4))
    )
    judge = Judge(config, rngs=nnx.Rngs(0))
    embedded = np.random.default_rng(1).standard_normal((12, config.embedding))
    read = {name: np.asarray(value).argmax(-1) for name, value in judge.read(jax.numpy.asarray(embedded)).items()}
    classes = {'glasses': read['glasses'].copy(), 'hair_colour': (read['hair_colour'] + 1) % 4}
    assert accuracy(judge, embedded, classes) == 1.0
    classes['glasses'][:3] = (classes['glasses'][:3] + 1) % 3
    assert accuracy(judge, embedded, classes) == pytest.approx(9 / 12)


def record(style: str, adapted: float) -> dict[str, Any]:
    names = ('fall', 'diversity', 'psnr', 'ssim', 'perceptual', 'colour_error')
    names += ('attributes', 'attributes_of_truth', 'depth_error', 'depth_change', 'views', 'views_of_truth', 'seconds')
    distances = dict.fromkeys(('source', 'colour_transfer', 'pasted_reference', 'floor'), 50.0)
    return {'style': style, 'seed': 0, 'frechet': {**distances, 'adapted': adapted}, **dict.fromkeys(names, 0.25)}


def test_the_table_has_the_median_and_the_range_of_each_style():
    records = [*(record('sketch', distance) for distance in (40.0, 20.0, 10.0)), record('cartoon', 7.0)]
    assert flat(records[0])['frechet.adapted'] == 40.0
    lines = table(records).splitlines()
    assert lines[0] == '| | sketch | cartoon |'
    assert '| Fréchet distance: Adapted | 20.0 (10.0 to 40.0) | 7.0 (7.0 to 7.0) |' in lines
    assert '| Fall | 25% (25% to 25%) | 25% (25% to 25%) |' in lines


def test_the_colour_error_minds_colour_and_not_lightness():
    grey = np.zeros((1, 8, 8, 3), np.float32)
    assert colour_error(grey, grey + 0.5) == pytest.approx(0.0, abs=1e-2)  # both are grey, to CIELAB's own rounding
    red = grey.copy()
    red[..., 0] = 0.8
    assert colour_error(grey, red) > 20.0


def test_a_record_is_read_again_unless_it_is_of_another_number_of_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Anew(Exception):
        """The run is measured."""

    def anew(*_: Any) -> None:
        raise Anew

    monkeypatch.setattr(miniature, 'adapt', lambda *_: (tmp_path / 'reference.png', tmp_path, 1.0))
    monkeypatch.setattr(miniature, 'tested', anew)
    found = {'style': 'sketch', 'samples': 64}
    (tmp_path / miniature.RECORD_FILE).write_text(json.dumps(found))
    assert miniature.measure(Job('sketch', 0, 0), Setup(tmp_path, 64, False, ())) == found
    with pytest.raises(Anew):
        miniature.measure(Job('sketch', 0, 0), Setup(tmp_path, 128, False, ()))
