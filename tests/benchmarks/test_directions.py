"""Where the domain direction leads, beside where true drawings go."""

import json
from pathlib import Path

import numpy as np
import pytest

import clip_jax
from adaptation.inputs import encoder_directories
from benchmarks import directions


def test_moves_are_averaged_at_length_one():
    clip = clip_jax.load_clip(encoder_directories(['miniature'])[0])
    rng = np.random.default_rng(3)
    source, drawn = rng.uniform(-1, 1, (2, 4, 64, 64, 3)).astype(np.float32)
    found = directions.moves(clip, source, drawn)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(directions.moves(clip, drawn, source), -found, atol=1e-5)


def test_whitening_leads_nearer_to_the_true_cartoons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(directions, 'STYLES', ('cartoon',))
    monkeypatch.setattr(directions, 'STRENGTHS', (0.0, 3.0))
    assert directions.main([f'--output={tmp_path / "out.md"}', '--samples=16', '--known=32']) == 0
    records = json.loads((tmp_path / 'out.json').read_text())
    means = {
        (encoder, strength): np.mean(
            [record['cosine'] for record in records if (record['encoder'], record['whitening']) == (encoder, strength)]
        )
        for encoder in ('clip_patch8', 'clip_patch16')
        for strength in (0.0, 3.0)
    }
    for encoder in ('clip_patch8', 'clip_patch16'):
        assert means[encoder, 3.0] > means[encoder, 0.0] + 0.05
    rows = (tmp_path / 'out.md').read_text().splitlines()[4:]
    assert rows[0] == '| Encoder | Whitening | cartoon |'
    assert len(rows) == 2 + 4


@pytest.mark.parametrize('flag', ['--samples=24', '--known=0'])
def test_a_number_of_images_that_cannot_be_is_refused(flag: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        directions.main([flag])
    assert stopped.value.code == 2
    assert 'expected a multiple of 16' in capsys.readouterr().err
