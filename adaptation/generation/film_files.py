"""Frames -> film files: MP4 (H.264) by ffmpeg, GIF and WebP by Pillow. All loop, and appear whole or not at all."""

import subprocess
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, features

from adaptation.errors import AdaptationError
from adaptation.generation.defaults import MP4, WEBP
from eg3d_jax.files import replacing

CODEC = 'libx264'
PIXEL_FORMAT = 'yuv420p'  # the one that every browser plays
QUALITY = 17  # constant rate factor: 0 lossless, 17 to the eye like it, 51 worst
WEBP_QUALITY = 90  # of 100
MILLISECONDS = 1000


def write_film(path: Path, frames: Iterable[UInt8[np.ndarray, 'H W 3']], fps: float, comment: str = '') -> None:
    """Writes frames of one size as the format that the path's ending names.

    A GIF counts in hundredths of a second, and plays at the nearest rate that it can say. The comment (ASCII) is stored
    as what the format has for it: MP4's comment, a GIF's comment block, WebP's image description (EXIF).

    Raises:
        AdaptationError: there is no encoder, or it failed.
        OSError: the file cannot be written.
    """
    check_encoder(path.suffix.removeprefix('.'))
    with replacing(path) as temporary:
        if path.suffix == f'.{MP4}':
            _write_mp4(path, temporary, frames, fps, comment)
        else:
            _write_animation(path, temporary, frames, fps, comment)


def check_encoder(form: str) -> None:
    """Refuses a format that cannot be encoded here, before anything is drawn for it.

    Raises:
        AdaptationError: saying what is missing and what to do.
    """
    if form == MP4 and CODEC not in _encoders():
        raise AdaptationError(
            f'the ffmpeg found ({_ffmpeg()}) has no encoder {CODEC}: unset IMAGEIO_FFMPEG_EXE to use the one '
            'that comes with imageio-ffmpeg, or ask for --format=gif or webp.'
        )
    if form == WEBP and not features.check('webp'):
        raise AdaptationError('this Pillow was built without WebP: ask for --format=mp4 or gif.')


def _ffmpeg() -> str:
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError, OSError):
        raise AdaptationError(
            'MP4 films need ffmpeg, and none was found: pip install imageio-ffmpeg, which brings one, or ask for '
            '--format=gif or webp.'
        ) from None


def _encoders() -> frozenset[str]:
    return _encoders_of(_ffmpeg())


@cache
def _encoders_of(executable: str) -> frozenset[str]:
    """Names of the encoders of an ffmpeg."""
    try:
        answer = subprocess.run([executable, '-hide_banner', '-encoders'], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AdaptationError(
            f'{executable} does not run ({error}): unset IMAGEIO_FFMPEG_EXE, or ask for --format=gif or webp.'
        ) from None
    lines = (line.split() for line in answer.stdout.splitlines())
    return frozenset(words[1] for words in lines if len(words) > 1)


def _write_mp4(path: Path, temporary: Path, frames: Iterable[np.ndarray], fps: float, comment: str) -> None:
    import imageio_ffmpeg

    first, frames = _peek(frames)
    height, width = first.shape[:2]
    encoder = imageio_ffmpeg.write_frames(
        str(temporary),
        (width + width % 2, height + height % 2),  # colours are stored for every second pixel
        fps=fps,
        codec=CODEC,
        pix_fmt_out=PIXEL_FORMAT,
        quality=None,
        macro_block_size=2,
        ffmpeg_log_level='error',
        output_params=['-crf', str(QUALITY), '-metadata', f'comment={comment}', '-movflags', '+faststart', '-f', MP4],
    )
    sent = 0
    try:
        with quiet_fork():
            encoder.send(None)
        for frame in frames:
            encoder.send(_even(frame))
            sent += 1
    except OSError as error:  # the encoder ended early
        reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), 'it ended early')
        raise AdaptationError(f'cannot write {path}: ffmpeg says {reason.strip()!r}. Is the disk full?') from None
    finally:
        encoder.close()
    if _frames_in(temporary) != sent:
        raise AdaptationError(f'cannot write {path}: ffmpeg left an unfinished film. Is the disk full?')


@contextmanager
def quiet_fork() -> Iterator[None]:
    """JAX warns of every fork; one that starts another program at once is safe."""
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message=r'os\.fork\(\) was called')
        yield


def _frames_in(film: Path) -> int:
    import imageio_ffmpeg

    try:
        with quiet_fork():
            return int(imageio_ffmpeg.count_frames_and_secs(str(film))[0])
    except (OSError, RuntimeError, ValueError):  # there is none, or it is cut short
        return 0


def _write_animation(path: Path, temporary: Path, frames: Iterable[np.ndarray], fps: float, comment: str) -> None:
    images = map(Image.fromarray, frames)
    webp, duration = path.suffix == f'.{WEBP}', MILLISECONDS / fps
    if webp:
        exif = Image.Exif()
        exif[ExifTags.Base.ImageDescription] = comment
        options = {'lossless': False, 'quality': WEBP_QUALITY, 'method': 4, **({'exif': exif} if comment else {})}
    else:
        options = {'comment': comment.encode('ascii')}
    next(images).save(
        temporary,
        format=path.suffix.removeprefix('.').upper(),
        save_all=True,
        append_images=images,
        duration=round(duration) if webp else 10 * max(round(duration / 10), 2),  # browsers slow down below 20 ms
        loop=0,
        **options,
    )


def _peek(frames: Iterable[np.ndarray]) -> tuple[np.ndarray, Iterator[np.ndarray]]:
    """The first frame, and all of them."""
    iterator = iter(frames)
    first = next(iterator)
    return first, chain([first], iterator)


def _even(frame: np.ndarray) -> np.ndarray:
    """The frame with its last row and column repeated where they are odd in number."""
    height, width = frame.shape[:2]
    return np.ascontiguousarray(np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode='edge'))
