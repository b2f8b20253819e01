"""Numbers and words on the page."""

import dataclasses
from pathlib import Path

import pytest

from adaptation.config import AdaptationConfig
from adaptation.reporting.page import config_fields, duration, notice, number
from adaptation.reporting.records import Record, read_record


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        (132.4567, '132.5'),
        (59.59, '59.59'),
        (-0.000123456, '\N{MINUS SIGN}0.0001235'),
        (0.0, '0'),
        (12497500.0, '12,497,500'),
        (1e-7, '1e\N{MINUS SIGN}07'),
    ],
)
def test_numbers(value: float, text: str):
    assert number(value) == text


@pytest.mark.parametrize(
    ('seconds', 'text'), [(0.251, '0.25 s'), (9.0, '9 s'), (81.5, '82 s'), (600.0, '10 min'), (36000.0, '10.0 h')]
)
def test_durations(seconds: float, text: str):
    assert duration(seconds) == text


def test_what_differs_from_the_defaults_is_marked():
    fields = {
        name: (text, changed) for name, text, changed in config_fields(AdaptationConfig(seed=3, clip_layers=(1, 2)))
    }
    assert fields['seed'] == ('3', True)
    assert fields['clip_layers'] == ('1, 2', True)
    assert fields['phases.phase1.learning_rate'] == ('0.005', False)
    assert fields['camera.radius'] == ('none', False)


class TestNotice:
    @pytest.fixture
    def record(self, run_directory: Path) -> Record:
        return read_record(run_directory)

    def test_a_finished_run_needs_none(self, record: Record):
        assert notice(record) == ''

    def test_a_stopped_run(self, record: Record):
        stopped = dataclasses.replace(record, adapted=3, lines=record.lines[:4])
        assert notice(stopped) == (
            'This run is not finished: the adapted heads are those after step 3 of 5; the losses go up to step 4.'
        )

    def test_a_run_that_has_just_begun(self, record: Record):
        assert notice(dataclasses.replace(record, adapted=None, lines=())) == (
            'This run is not finished: there is no adapter yet, so no adapted heads are shown; no losses are logged.'
        )
