"""The comparison of measured quality with recipes."""

import json
from pathlib import Path

import pytest

from miniature import verify, weights_directory
from miniature.verify import Figure


@pytest.mark.parametrize(
    ('name', 'recorded', 'measured', 'agrees'),
    [
        ('face_psnr', 24.0, 24.04, True),
        ('face_psnr', 24.0, 23.9, False),
        ('foreground_depth_error', 0.02, 0.0204, True),
        ('foreground_depth_error', 0.02, 0.021, False),
        ('classes.hair_colour', 0.85, 0.845, True),
        ('classes.hair_colour', 0.85, 0.83, False),
        ('heads', 512, 511, False),
        ('style', float('nan'), 0.9, False),
    ],
)
def test_figures_agree_but_for_rounding(name, recorded, measured, agrees):
    assert Figure(name, recorded, measured).agrees is agrees


def test_missing_figures_are_noticed(tmp_path: Path):
    (tmp_path / 'recipe.json').write_text(json.dumps({'quality': {'style': 0.9, 'classes': {'skin': 0.5}}}))
    figures = {figure.name: figure for figure in verify.verify(tmp_path, {'style': 0.9, 'heads': 3})}
    assert figures.keys() == {'style', 'classes.skin', 'heads'}
    assert [name for name, figure in figures.items() if figure.agrees] == ['style']


def test_the_command_compares_with_the_shipped_recipe(monkeypatch, capsys):
    quality = json.loads((weights_directory('judge') / 'recipe.json').read_text())['quality']
    monkeypatch.setitem(verify.MEASURES, 'judge', lambda directory, workdir: quality)
    assert verify.main(['--network=judge']) == 0
    monkeypatch.setitem(verify.MEASURES, 'judge', lambda directory, workdir: {**quality, 'style_accuracy': 0.5})
    assert verify.main(['--network=judge']) == 1
    assert 'style_accuracy' in next(line for line in capsys.readouterr().out.splitlines() if 'DIFFERS' in line)
