"""What the training commands share: the weights that they can begin with, and whose their working directory is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from miniature import clip_training, generator_sharpening, generator_training, judge_training, weights_directory
from miniature.training import RECIPE, claim, trained_weights, write_recipe


@pytest.mark.parametrize(
    ('main', 'more'),
    [
        (clip_training.main, ['--encoder=patch8']),
        (generator_training.main, []),
        (generator_sharpening.main, []),
    ],
    ids=['clip', 'generator', 'sharpening'],
)
def test_initial_weights_that_are_not_there_are_refused_in_one_sentence(
    main: Callable[[list[str]], int], more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    missing = tmp_path / 'missing'
    with pytest.raises(SystemExit) as stop:
        main([*more, f'--initial={missing}', f'--output={tmp_path / "out"}', f'--workdir={tmp_path / "work"}'])
    assert stop.value.code == 2
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert f'{missing} has no {RECIPE}; give a directory that a training command wrote' in sentence
    assert not list(tmp_path.iterdir())


def test_initial_weights_are_a_directory_with_a_recipe(tmp_path: Path):
    write_recipe(tmp_path, command='python -m x', seconds=60.0, settings={}, quality={})
    assert trained_weights(str(tmp_path)) == tmp_path


@pytest.fixture
def initial(tmp_path: Path) -> Path:
    directory = tmp_path / 'initial'
    directory.mkdir()
    (directory / 'weights.safetensors').write_bytes(b'weights')
    return directory


def test_a_training_is_gone_on_with_by_the_same_settings_and_weights(tmp_path: Path, initial: Path):
    for _ in range(2):
        claim(tmp_path / 'work', 'generator', {'steps': 3, 'weights': {'image': 1.0}}, initial, ['picture'])
        (tmp_path / 'work' / 'picture').mkdir(exist_ok=True)
    claim(tmp_path / 'work', 'other', {'steps': 4}, None, ['other'])  # its stages have names of their own


@pytest.mark.parametrize(
    ('steps', 'weights', 'said'),
    [
        (4, b'weights', 'steps was 3 and is 4'),
        (3, b'others', 'the weights of --initial have changed since'),
    ],
)
def test_the_steps_of_another_training_are_refused(
    steps: int, weights: bytes, said: str, tmp_path: Path, initial: Path
):
    claim(tmp_path / 'work', 'generator', {'steps': 3}, initial, ['picture'])
    before = (tmp_path / 'work' / 'generator.json').read_bytes()
    (initial / 'weights.safetensors').write_bytes(weights)
    with pytest.raises(ValueError, match=rf'holds the steps of another training \({said}\); give another --workdir'):
        claim(tmp_path / 'work', 'generator', {'steps': steps}, initial, ['picture'])
    assert (tmp_path / 'work' / 'generator.json').read_bytes() == before


def test_steps_that_nothing_tells_of_are_refused(tmp_path: Path):
    (tmp_path / 'picture').mkdir()
    with pytest.raises(ValueError, match=r"'picture' of a training that no generator\.json tells of"):
        claim(tmp_path, 'generator', {}, None, ['field', 'picture'])
    assert not (tmp_path / 'generator.json').exists()


@pytest.mark.parametrize(
    ('main', 'more', 'stage'),
    [
        (clip_training.main, ['--encoder=patch8'], 'patch8_text'),
        (generator_training.main, [], 'picture'),
        (generator_sharpening.main, [f'--initial={weights_directory("generator")}'], 'sharpening'),
        (judge_training.main, [], 'steps'),
    ],
    ids=['clip', 'generator', 'sharpening', 'judge'],
)
def test_every_training_refuses_what_is_not_its_own(
    main: Callable[[list[str]], int], more: list[str], stage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / stage).mkdir()
    with pytest.raises(SystemExit) as stop:
        main([*more, f'--output={tmp_path / "out"}', f'--workdir={tmp_path}'])
    assert stop.value.code == 2
    assert f'{stage!r} of a training' in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == [stage]


@pytest.mark.parametrize(
    ('main', 'flags', 'said'),
    [
        (
            generator_training.main,
            ['--stage=picture:5:1e-3', '--stage=picture:5:1e-4'],
            '--stage: picture is given twice',
        ),
        (generator_sharpening.main, ['--pool=8'], '--pool: expected a multiple of 16, got 8'),
        (generator_sharpening.main, ['--pool=20'], '--pool: expected a multiple of 16, got 20'),
        (generator_sharpening.main, ['--steps=0'], '--steps: expected at least 1, got 0'),
    ],
)
def test_flags_that_cannot_be_met_are_refused(
    main: Callable[[list[str]], int], flags: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    initial = f'--initial={weights_directory("generator")}'
    with pytest.raises(SystemExit) as stop:
        main([*flags, initial, f'--output={tmp_path / "out"}', f'--workdir={tmp_path / "work"}'])
    assert stop.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())
