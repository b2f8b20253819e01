"""Where the domain direction leads, beside where true drawings go."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import clip_jax
from adaptation.guidance import make_guides
from adaptation.inputs import encoder_directories
from benchmarks import directions
from benchmarks.target_domain import Images


def test_moves_are_averaged_at_length_one():
    clip = clip_jax.load_clip(encoder_directories(['miniature'])[0])
    rng = np.random.default_rng(3)
    source, drawn = rng.uniform(-1, 1, (2, 4, 64, 64, 3)).astype(np.float32)
    found = directions.moves(clip, source, drawn)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(directions.moves(clip, drawn, source), -found, atol=1e-5)


def walls(seed: int, count: int, striped: bool = False) -> Images:
    """Pictures of one colour each, of the seed, which a style may cover with black stripes."""
    colours = np.random.default_rng(seed).uniform(-1, 1, (count, 1, 1, 3)).astype(np.float32)
    stripes = (np.arange(64) // 4 % 2 == 0)[None, :, None, None] & striped
    return np.where(stripes, np.float32(-1), np.broadcast_to(colours, (count, 64, 64, 3)))


def test_each_direction_is_compared_with_where_drawings_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source, drawn, known = walls(3, 16), walls(3, 16, striped=True), walls(4, 32)
    reference = walls(7, 1, striped=True)[0]
    monkeypatch.setattr(directions, 'STYLES', ('cartoon',))
    monkeypatch.setattr(directions, 'STRENGTHS', (0.0, 3.0))
    monkeypatch.setattr(directions, 'HEADS', {'cartoon': (7,)})
    monkeypatch.setattr(directions, 'VALIDATION_HEADS', {'cartoon': ()})
    monkeypatch.setattr(directions, 'pictures', lambda *asked: directions.Pictures(source, drawn, known))
    monkeypatch.setattr(directions, 'draw', lambda style, head: (reference + 1) * 127.5)
    assert directions.main([f'--output={tmp_path / "out.md"}', '--samples=16', '--known=32']) == 0
    clips = [clip_jax.load_clip(directory) for directory in encoder_directories(['miniature'])]
    found = {
        (record['encoder'], record['whitening']): record['cosine']
        for record in json.loads((tmp_path / 'out.json').read_text())
    }
    for strength in (0.0, 3.0):
        guides = make_guides(clips, (1, 1), jnp.asarray(reference), [jnp.asarray(known)], whitening=strength)
        for guide, encoder in zip(guides, ('clip_patch8', 'clip_patch16'), strict=True):
            direction = guide.domain_direction / np.linalg.norm(guide.domain_direction)
            expected = float(direction @ directions.moves(guide.encoder, source, drawn))
            assert found.pop((encoder, strength)) == pytest.approx(expected, abs=1e-4)
    assert not found
    rows = (tmp_path / 'out.md').read_text().splitlines()[4:]
    assert rows[0] == '| Encoder | Whitening | cartoon |'
    assert len(rows) == 2 + 4


@pytest.mark.parametrize('flag', ['--samples=24', '--known=0'])
def test_a_number_of_images_that_cannot_be_is_refused(flag: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        directions.main([flag])
    assert stopped.value.code == 2
    assert 'expected a multiple of 16' in capsys.readouterr().err
