"""The README's pictures: what is refused before anything is loaded, what the files hold, and what is too large."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import showcase
from eg3d_jax.interrupts import StopRequest


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Two generators, whose films show a colour that says which seed the column began with."""

    def frames(generator: int, seeds: tuple[int, ...], *, frames: int, **_: object):
        return iter([np.full((16, 16, 3), 100 * generator + 10 * seeds[0], np.uint8)] * frames)

    monkeypatch.setattr(showcase, 'film_frames', frames)
    return [SimpleNamespace(generator=number, camera=None) for number in (1, 2)]


def test_the_film_has_a_row_for_each_generator_and_a_column_for_each_seed(drawn: list[Any], tmp_path: Path):
    with StopRequest() as stop:
        showcase.write_showcase_film(drawn, (3, 5), tmp_path / 'film.webp', 2, stop)
    with Image.open(tmp_path / 'film.webp') as film:
        assert film.size == (2 * showcase.TILE, 2 * showcase.TILE)
        centres = np.asarray(film.convert('RGB'))[64::128, 64::128, 0].astype(int)
    np.testing.assert_allclose(centres, [[130, 150], [230, 250]], atol=4)  # WebP is lossy
    assert [path.name for path in tmp_path.iterdir()] == ['film.webp']


def test_a_film_too_large_for_a_page_is_not_left(drawn: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(showcase, 'MOST_FILM_BYTES', 100)
    with StopRequest() as stop, pytest.raises(showcase.TooLarge, match=r'film\.gif would have .*fewer --frames'):
        showcase.write_showcase_film(drawn, (3, 5), tmp_path / 'film.gif', 2, stop)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('flags', 'says'),
    [
        (['--seeds=5-2'], '--seeds: the range 5-2 ends before it begins'),
        (['--frames=1'], '--frames: a film has at least 2, got 1'),
        (['--workdir=nowhere'], '--workdir: there is no directory nowhere'),
        (['--format=mp4'], '--format'),
    ],
)
def test_refused_flags(flags: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert showcase.main([f'--workdir={tmp_path}', f'--output={tmp_path / "out"}', *flags]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count('\n') == 1
    assert not (tmp_path / 'out').exists()
