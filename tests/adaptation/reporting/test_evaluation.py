"""Evaluations are read whole, or refused by the field that is wrong."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from adaptation.errors import AdaptationError, ConfigError
from adaptation.reporting.evaluation import read_evaluation

VALUES: dict[str, Any] = {
    'format': 1,
    'samples': 100,
    'seed': 0,
    'machine': 'one core',
    'seconds': 1,
    'command': 'python -m adaptation.evaluate',
    'metrics': [
        {
            'name': 'kid',
            'title': 'KID',
            'value': 0.5,
            'interval': [0.25, 1],
            'better': None,
            'samples': 10,
            'about': 'One sentence.',
        }
    ],
    'more': 'is left alone',
}


def written(directory: Path, values: Any) -> Path:
    (directory / 'evaluation.json').write_text(json.dumps(values))
    return directory


def test_what_is_written_is_read(tmp_path: Path):
    evaluation = read_evaluation(written(tmp_path, VALUES))
    (metric,) = evaluation.metrics
    assert (evaluation.samples, evaluation.seconds, evaluation.machine) == (100, 1, 'one core')
    assert (metric.name, metric.value, metric.interval, metric.better, metric.samples) == (
        'kid',
        0.5,
        (0.25, 1),
        None,
        10,
    )


def test_no_evaluation(tmp_path: Path):
    with pytest.raises(
        ConfigError, match=r'there is no .*evaluation\.json: make it with python -m adaptation\.evaluate'
    ):
        read_evaluation(tmp_path)


@pytest.mark.parametrize(
    ('change', 'problem'),
    [
        ({'format': 2}, 'is of format 2, and this report reads format 1'),
        ({'seed': -1}, 'seed: expected a whole number, got -1'),
        ({'machine': None}, 'machine: expected a text, got None'),
        ({'metrics': {}}, 'metrics: expected a list'),
        ({'metrics': [3]}, r'metrics\[0\] is no group of fields'),
        ({'metrics': [{}]}, r'metrics\[0\]\.interval is missing'),
        ({'value': float('nan')}, r'metrics\[0\]\.value: expected a number, got nan'),
        ({'value': True}, r'metrics\[0\]\.value: expected a number, got True'),
        ({'interval': [1]}, r'metrics\[0\]\.interval: expected two numbers or null'),
        ({'better': 'bigger'}, r'metrics\[0\]\.better: expected "lower", "higher" or null'),
    ],
)
def test_what_is_damaged_is_named(change: dict[str, Any], problem: str, tmp_path: Path):
    values = copy.deepcopy(VALUES)
    for name, value in change.items():
        (values['metrics'][0] if name in values['metrics'][0] else values)[name] = value
    with pytest.raises(
        AdaptationError, match=rf'evaluation\.json .*{problem}.*: measure again with python -m'
    ) as raised:
        read_evaluation(written(tmp_path, values))
    assert raised.value.exit_code == 1
    assert '\n' not in str(raised.value)


@pytest.mark.parametrize('content', [b'{"format": 1', b'\xff\xfe', b'[]', b''])
def test_what_is_no_group_of_fields(content: bytes, tmp_path: Path):
    (tmp_path / 'evaluation.json').write_bytes(content)
    with pytest.raises(AdaptationError, match=r'evaluation\.json is damaged'):
        read_evaluation(tmp_path)
