"""The command in a report gives the run's very settings."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from adaptation.config import AdaptationConfig, LossWeights, read_config
from adaptation.inputs import PROJECT
from adaptation.main import parse
from adaptation.reporting.command import reproduce


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)


def shipped(name: str) -> AdaptationConfig:
    return parse([f'--config={PROJECT}/configs/{name}.py'])[0]


def arguments(command: str) -> list[str]:
    first, *others = command.split(' \\\n')
    assert first == 'python -m adaptation.main'
    return [argument for line in others for argument in shlex.split(line)]


def test_a_shipped_experiment():
    for name in ('sketch', 'cartoon', 'three_styles'):
        assert reproduce(shipped(name), Path('runs/mine')).command == (
            f'python -m adaptation.main \\\n    --config=configs/{name}.py \\\n    --workdir=runs/mine_again'
        )


def test_changes_of_one_domain():
    config = shipped('three_styles')
    cartoon = replace(config.references['cartoon'], rate=0.5, strokes=True, crop=(0, 0, 64, 64))
    changed = replace(config, references={**config.references, 'cartoon': cartoon})
    found = reproduce(changed, Path('runs/mine'))
    assert not found.file
    assert parse(arguments(found.command))[0] == changed


@pytest.mark.parametrize('workdir', ['.', '..'])
def test_a_workdir_without_a_name(workdir: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / 'mine' / 'below').mkdir(parents=True)
    monkeypatch.chdir(tmp_path / 'mine' if workdir == '.' else tmp_path / 'mine' / 'below')
    *_, again = arguments(reproduce(shipped('sketch'), Path(workdir)).command)
    assert again == f'--workdir={tmp_path / "mine_again"}'


def test_an_experiment_that_is_no_config_without_more():
    added = ['--config.generator=a.pkl', '--config.clip=b', '--config.reference.image=c.png']
    config = parse(['--config=configs/ffhq512_sketch.py', *added])[0]
    again = reproduce(config, Path('runs/mine')).command
    assert arguments(again)[0] == '--config=configs/ffhq512_sketch.py'
    assert parse(arguments(again))[0] == config


def test_a_shipped_experiment_with_changes():
    config = shipped('ukiyoe')
    second = replace(config.phases['phase2'], trained=('superresolution', 'decoder'), weights=LossWeights(dir=0.25))
    changed = replace(
        config,
        reference=replace(config.reference, image="it's; here/a b.png", crop=(0, 1, 30, 31)),
        clip_layers=(1, 2),
        seed=7,
        camera=replace(config.camera, pivot=(0.0, 0.1, 0.0), yaw_std=0.4, distribution='uniform'),
        phases={**config.phases, 'phase2': second},
    )
    found = reproduce(changed, Path('runs/a b'))
    assert not found.file
    again, workdir = parse(arguments(found.command))
    assert (again, workdir) == (changed, Path('runs/a b_again'))
    assert '--config.batch_size' not in found.command, 'only what differs'


def test_texts_that_a_shell_or_a_page_would_take_for_its_own():
    config = replace(shipped('sketch'), generator='</pre>\'"\n$(x)')
    assert parse(arguments(reproduce(config, Path('runs/mine')).command))[0] == config


@pytest.mark.parametrize('installed', [False, True])
def test_a_config_file_where_no_flags_can(installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Phases of other names, or no shipped experiments."""
    config = shipped('sketch')
    if installed:
        monkeypatch.setattr('adaptation.reporting.command.CONFIGS', tmp_path / 'none')
    else:
        config = read_config({**config.to_dict(), 'phases': {'only one': config.to_dict()['phases']['phase1']}})
    found = reproduce(config, Path('runs/mine'))
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine_config.py').write_text(found.text)
    assert found.file == 'mine_config.py'
    assert parse(arguments(found.command)) == (config, Path('runs/mine_again'))
