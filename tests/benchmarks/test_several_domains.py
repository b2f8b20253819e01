"""The table of one run over several references against a run for each, and the joint run's config."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from adaptation.config import AdaptationConfig, read_config
from adaptation.main import load_experiment
from benchmarks import several_domains
from benchmarks.miniature import ROOT, Job


def numbers(adapted: float) -> dict[str, Any]:
    return {
        'frechet': {'source': 60.0, 'adapted': adapted},
        'fall': 0.25,
        'diversity': 0.7,
        'attributes': 0.5,
        'perceptual': 1.0,
        'depth_change': 0.01,
    }


def test_the_table_has_both_columns_of_each_style() -> None:
    result = {
        'separate': {
            'seconds': 500.0,
            'bytes': 2_000_000,
            'styles': {'sketch': numbers(44.0), 'cartoon': numbers(30.0)},
        },
        'joint': {'seconds': 700.0, 'bytes': 900_000, 'styles': {'sketch': numbers(46.0), 'cartoon': numbers(31.5)}},
    }
    lines = several_domains.table(result).splitlines()
    assert lines[0] == '| | sketch, separate | sketch, joint | cartoon, separate | cartoon, joint |'
    assert '| Fréchet distance: adapted | 44.0 | 46.0 | 30.0 | 31.5 |' in lines
    assert lines[-1] == 'Bytes of all adapters: separate 2,000,000, joint 900,000. Seconds: separate 500, joint 700.'


def test_the_joint_run_takes_the_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[AdaptationConfig] = []

    def timed_run(config: Mapping[str, Any], directory: Path) -> float:
        asked.append(read_config(config))
        return 12.0

    monkeypatch.setattr(several_domains, 'timed_run', timed_run)
    styles = ('sketch', 'ukiyoe', 'cartoon')
    references = {style: tmp_path / f'{style}.png' for style in styles}
    every = [Job(style, 1, 7) for style in styles]
    assert several_domains.adapt_jointly(every, references, tmp_path / 'joint') == 12.0
    (config,) = asked
    assert config.seed == 7
    assert {name: config.references[name].image for name in styles} == {
        style: str(path) for style, path in references.items()
    }
    alone = load_experiment(ROOT / 'configs' / 'sketch.py')
    factors = config.references['sketch'].factors  # times 1, which all share
    assert factors.dis == alone.phases.phase1.weights.dis
    assert factors.fine == alone.phases.phase2.weights.fine
    for name, phase in config.phases.items():
        assert phase.weights.palette == alone.phases[name].weights.palette
        assert phase.weights.pair * factors.pair == alone.phases[name].weights.pair
    every_factor = [config.references[style].factors for style in styles]
    assert [factors.palette for factors in every_factor] == [1.0, 0.0, 0.0]
    assert [factors.edges for factors in every_factor] == [0.0, 1.0, 0.0]
