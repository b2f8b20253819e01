import time
from pathlib import Path

import pytest

from adaptation.adapter import WEIGHTS_FILE
from adaptation.config import AdaptationConfig
from adaptation.errors import ConfigError
from adaptation.main import load_experiment
from benchmarks import timed_run as module
from benchmarks.miniature import ROOT
from benchmarks.timed_run import timed_run


class Runs:
    """Stands in for `adaptation.train.run`, which takes minutes."""

    def __init__(self) -> None:
        self.seeds: list[int] = []  # of the runs that began
        self.looked_at: list[int] = []  # of those that were found done
        self.break_off = False

    def __call__(self, config: AdaptationConfig, directory: Path, *, quiet: bool) -> None:
        assert quiet
        if (directory / WEIGHTS_FILE).exists():
            self.looked_at.append(config.seed)
            if config.seed != self.seeds[-1]:
                raise ConfigError(['config.seed: another one when the run began'])
            return
        self.seeds.append(config.seed)
        assert not directory.exists(), 'a run begins in a directory that is not there'
        directory.mkdir()
        (directory / 'checkpoints').mkdir()
        if self.break_off:
            raise KeyboardInterrupt
        time.sleep(0.05)
        (directory / WEIGHTS_FILE).touch()


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    stand_in = Runs()
    monkeypatch.setattr(module, 'run', stand_in)
    return stand_in


def test_a_run_that_is_done_is_not_done_again_and_its_seconds_stay(tmp_path: Path, runs: Runs):
    config = load_experiment(ROOT / 'configs' / 'sketch.py')
    config.seed = 7
    seconds = timed_run(config.to_dict(), tmp_path / 'run')
    assert 0.05 <= seconds < 60
    assert timed_run(config.to_dict(), tmp_path / 'run') == seconds
    assert (runs.seeds, runs.looked_at) == ([7], [7])


def test_a_run_of_another_config_is_refused_and_left_alone(tmp_path: Path, runs: Runs):
    config = load_experiment(ROOT / 'configs' / 'sketch.py')
    seconds = timed_run(config.to_dict(), tmp_path / 'run')
    other = load_experiment(ROOT / 'configs' / 'sketch.py')
    other.seed = 8
    with pytest.raises(ConfigError, match=r'config\.seed: another one'):
        timed_run(other.to_dict(), tmp_path / 'run')
    assert timed_run(config.to_dict(), tmp_path / 'run') == seconds
    assert len(runs.seeds) == 1


def test_a_run_that_was_broken_off_begins_anew(tmp_path: Path, runs: Runs):
    config = load_experiment(ROOT / 'configs' / 'sketch.py').to_dict()
    runs.break_off = True
    with pytest.raises(KeyboardInterrupt):
        timed_run(config, tmp_path / 'run')
    runs.break_off = False
    assert timed_run(config, tmp_path / 'run') >= 0.05
    assert len(runs.seeds) == 2
