"""What is read from a run's directory, whole, unfinished or damaged."""

import json
import shutil
from pathlib import Path

import pytest

from adaptation.errors import AdaptationError, ConfigError
from adaptation.reporting.records import read_record


@pytest.fixture
def run(run_directory: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(run_directory, tmp_path / 'run')


def test_a_finished_run(run: Path):
    record = read_record(run)
    assert record.finished
    assert (record.steps, record.adapted) == (5, 5)
    assert [(line.step, line.phase[:6]) for line in record.lines] == [
        *((step, 'phase1') for step in (1, 2, 3)),
        *((step, 'phase2') for step in (4, 5)),
    ]
    assert record.lines[1].values['loss'] == 1.5
    assert record.step_seconds == 0.75, 'the median of 0.5, 0.75 and 1.25; compiled steps do not count'
    assert record.adapter_bytes == (run / 'adapter.safetensors').stat().st_size


def test_an_unfinished_run(run: Path):
    info = json.loads((run / 'adapter.json').read_text())
    (run / 'adapter.json').write_text(json.dumps({**info, 'steps': 3}))
    assert not read_record(run).finished
    assert read_record(run).adapted == 3


def test_a_run_that_has_just_begun(run: Path):
    for name in ('adapter.safetensors', 'adapter.json', 'metrics.jsonl'):
        (run / name).unlink()
    record = read_record(run)
    assert (record.adapted, record.lines, record.step_seconds, record.adapter_bytes) == (None, (), None, 0)


def test_the_last_line_of_a_killed_run_may_be_cut_short(run: Path):
    whole = read_record(run).lines
    with (run / 'metrics.jsonl').open('a') as file:
        file.write('{"step": 6, "pha')
    assert read_record(run).lines == whole


@pytest.mark.parametrize(
    'line',
    ['{"step": 1, "pha', '[1]', '{"step": 1, "phase": "a", "loss": NaN}', '{"step": 1, "phase": "a", "loss": "x"}'],
)
def test_other_lines_may_not(line: str, run: Path):
    metrics = run / 'metrics.jsonl'
    metrics.write_text(f'{line}\n{metrics.read_text()}')
    with pytest.raises(AdaptationError, match=r'metrics\.jsonl is damaged: line 1 is no logged step'):
        read_record(run)


def test_steps_in_disorder(run: Path):
    metrics = run / 'metrics.jsonl'
    metrics.write_text(metrics.read_text() * 2)
    with pytest.raises(AdaptationError, match='line 6 is no logged step that follows the one before'):
        read_record(run)


@pytest.mark.parametrize('name', ['metrics.jsonl', 'config.json', 'inputs.json', 'adapter.json'])
def test_a_file_that_is_no_text(name: str, run: Path):
    (run / name).write_bytes(b'\xff\xfe\x00')
    with pytest.raises(AdaptationError, match=rf'{name} is damaged') as raised:
        read_record(run)
    assert '\n' not in str(raised.value)


def test_a_config_with_fields_of_another_version(run: Path):
    values = json.loads((run / 'config.json').read_text())
    (run / 'config.json').write_text(json.dumps({**values, 'colour': 1, 'seed': 'x'}))
    with pytest.raises(AdaptationError, match=r'config\.json is damaged: config\.colour: .*; config\.seed: '):
        read_record(run)


def test_an_adapter_without_its_description(run: Path):
    (run / 'adapter.json').unlink()
    with pytest.raises(AdaptationError, match=r'adapter\.json is missing or damaged'):
        read_record(run)


def test_what_is_no_run(tmp_path: Path):
    with pytest.raises(ConfigError, match=r'--workdir: there is no directory .*nowhere'):
        read_record(tmp_path / 'nowhere')
    with pytest.raises(ConfigError, match=r'holds no config\.json, so it is no run'):
        read_record(tmp_path)
