"""Films: what is in the files, that they close, and that a film that fails leaves nothing."""

import errno
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

import adaptation
import eg3d_jax
from adaptation.generation import film_files
from adaptation.generation.film_files import check_encoder, write_film
from adaptation.generation.films import closed_interpolation, film_frames

Generator = eg3d_jax.TriPlaneGenerator


def moving(count: int, height: int = 32, width: int = 48) -> list[np.ndarray]:
    """Frames in which a bright bar wanders to the right."""
    frames = np.full((count, height, width, 3), 40, np.uint8)
    for index, frame in enumerate(frames):
        frame[:, 4 * index : 4 * index + 8] = (220, 180, 90)
    return list(frames)


def decode(path: Path) -> tuple[dict[str, str], np.ndarray]:
    """What ffmpeg says of a film, and its frames."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), '-i', path, '-f', 'rawvideo', '-pix_fmt', 'rgb24', '-']
    with film_files.quiet_fork():
        done = subprocess.run(command, capture_output=True, check=True)
    pattern = r'Video: (?P<codec>\w+).*?, (?P<pixels>yuv\w+).*?, (?P<width>\d+)x(?P<height>\d+).*?(?P<fps>[\d.]+) fps'
    found = re.search(pattern, done.stderr.decode())
    assert found is not None, done.stderr
    return found.groupdict(), np.frombuffer(done.stdout, np.uint8).reshape(
        -1, int(found['height']), int(found['width']), 3
    )


def test_mp4_is_what_browsers_play(tmp_path: Path):
    frames = moving(7)
    write_film(tmp_path / 'film.mp4', frames, 12.0)
    about, decoded = decode(tmp_path / 'film.mp4')
    assert about == {'codec': 'h264', 'pixels': 'yuv420p', 'width': '48', 'height': '32', 'fps': '12'}
    assert len(decoded) == 7
    # Colours lose resolution and a little accuracy on the way; a frame in the wrong place would be off by 100.
    assert np.abs(decoded.astype(int) - np.stack(frames)).mean() < 4
    content = (tmp_path / 'film.mp4').read_bytes()
    assert content.index(b'moov') < content.index(b'mdat')  # plays while it is loaded
    assert [path.name for path in tmp_path.iterdir()] == ['film.mp4']


def test_odd_sizes_are_made_even(tmp_path: Path):
    write_film(tmp_path / 'film.mp4', moving(2, 33, 47), 12.0)
    assert decode(tmp_path / 'film.mp4')[1].shape == (2, 34, 48, 3)


@pytest.mark.parametrize('form', ['gif', 'webp'])
def test_gif_and_webp(form: str, tmp_path: Path):
    frames = moving(5)
    write_film(tmp_path / f'film.{form}', frames, 10.0)
    with Image.open(tmp_path / f'film.{form}') as film:
        assert (film.format, film.n_frames, film.size, film.info['loop']) == (form.upper(), 5, (48, 32), 0)
        film.seek(3)
        shown = np.asarray(film.convert('RGB')).astype(int)
        assert film.info['duration'] == 100
    assert np.abs(shown - frames[3]).mean() < 8


@pytest.mark.parametrize('form', ['mp4', 'gif', 'webp'])
def test_a_film_that_fails_leaves_the_earlier_one(form: str, tmp_path: Path):
    def failing() -> Iterator[np.ndarray]:
        yield from moving(2)
        raise OSError(errno.ENOSPC, 'No space left on device')

    path = tmp_path / f'film.{form}'
    path.write_bytes(b'earlier')
    with pytest.raises((OSError, adaptation.AdaptationError), match=r'No space left|disk full'):
        write_film(path, failing(), 12.0)
    assert [(left.name, left.read_bytes()) for left in tmp_path.iterdir()] == [(path.name, b'earlier')]


def test_no_ffmpeg_is_told_before_anything_is_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv('IMAGEIO_FFMPEG_EXE', str(tmp_path / 'none'))
    with pytest.raises(adaptation.AdaptationError, match=r'does not run|none was found'):
        check_encoder('mp4')
    check_encoder('gif')


def test_an_ffmpeg_without_the_encoder_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(film_files, '_encoders_of', lambda executable: frozenset({'mpeg4'}))
    with pytest.raises(adaptation.AdaptationError, match='has no encoder libx264: unset IMAGEIO_FFMPEG_EXE'):
        check_encoder('mp4')


def test_interpolation_passes_the_heads_and_closes():
    heads = np.random.default_rng(0).standard_normal((3, 2, 4)).astype(np.float32)
    path = closed_interpolation(heads, 30)
    np.testing.assert_array_equal(path[[0, 10, 20]], heads)
    np.testing.assert_allclose(path[25], (heads[2] + heads[0]) / 2, atol=1e-6)
    steps = np.abs(np.diff(np.concatenate([path, path[:1]]), axis=0)).max(axis=(1, 2))
    assert steps[-1] < steps.max() / 2  # slow at the heads, also where it closes


def test_frames_are_of_the_generator(tiny_generator: Generator):
    def frames(seeds: list[int], kind: str) -> np.ndarray:
        return np.stack(list(film_frames(tiny_generator, seeds, kind=kind, frames=4, yaw=0.3, batch_size=2)))

    turned, changed = frames([5], 'turntable'), frames([5, 6], 'interpolation')
    assert turned.shape == changed.shape == (4, 16, 16, 3)
    np.testing.assert_allclose(turned[0].astype(int), changed[0], atol=1)  # the same head and camera, another program
    np.testing.assert_allclose(frames([6], 'turntable')[2].astype(int), changed[2], atol=1)
    assert np.abs(turned[0].astype(int) - turned[2]).max() > 2  # the camera moves


def test_what_no_film_is(tiny_generator: Generator, tmp_path: Path):
    with pytest.raises(ValueError, match='turntable shows one seed, got 2'):
        adaptation.film(tiny_generator, tmp_path / 'film.mp4', [1, 2])
    with pytest.raises(ValueError, match='kind must be one of turntable, interpolation'):
        adaptation.film(tiny_generator, tmp_path / 'film.mp4', [1], kind='spin')
    with pytest.raises(ValueError, match=r'must end in \.mp4, \.gif, \.webp'):
        adaptation.film(tiny_generator, tmp_path / 'film.avi', [1])
    assert list(tmp_path.iterdir()) == []
