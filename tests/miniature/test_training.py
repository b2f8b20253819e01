"""What the training commands share: the weights that they can begin with."""

from collections.abc import Callable
from pathlib import Path

import pytest

from miniature import clip_training, generator_sharpening, generator_training
from miniature.training import RECIPE, trained_weights, write_recipe


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
