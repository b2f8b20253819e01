"""The folder of target pictures.

R side of the generator's images.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

import clip_jax
from adaptation.errors import ConfigError
from adaptation.inputs import SMALLEST_REFERENCE

SMALLEST_SET = 50  # pictures, and samples: fewer give no distance between distributions that says anything
NAMED = 5  # files that a message names before it only counts


class TargetFolder(NamedTuple):
    """A folder's pictures in an order that the seed shuffles, so that the first of them are a fair sample."""

    root: Path
    files: tuple[Path, ...]

    @property
    def fingerprint(self) -> str:
        """Changes when a picture is added, removed, renamed or written to; nothing is read."""
        digest = hashlib.sha256()
        for file in self.files:
            status = file.stat()
            digest.update(f'{file.name}\0{status.st_size}\0{status.st_mtime_ns}\0'.encode())
        return digest.hexdigest()


@dataclass
class Sizes:
    """What sizes the pictures had."""

    read: int = 0
    smaller: int = 0  # than the generator's images
    smallest: int = 0  # short side in pixels
    largest: int = 0
    skipped: list[str] = field(default_factory=list)

    def add(self, side: int, resolution: int) -> None:
        """Counts a picture of this short side."""
        self.smallest = min(self.smallest, side) if self.read else side
        self.largest = max(self.largest, side)
        self.read += 1
        self.smaller += side < resolution


def list_folder(root: Path, seed: int, *, skip_unreadable: bool) -> TargetFolder:
    """The pictures of a folder, by the endings of their names. Hidden files are passed over, folders not entered.

    Args:
        root: the folder.
        seed: of their order.
        skip_unreadable: leave out what is no picture, rather than refuse it.

    Raises:
        ConfigError: there is no such folder, it holds other things than pictures, or too few pictures.
    """
    if not root.is_dir():
        what = 'is a file, not a folder' if root.exists() else 'there is no such folder'
        raise ConfigError([f'--target: {root}: {what}; give a folder of pictures'])
    Image.init()
    endings = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    entries = sorted(path for path in root.iterdir() if not path.name.startswith('.'))
    files = [path for path in entries if path.is_file() and path.suffix.lower() in endings]
    others = [path.name + '/' * path.is_dir() for path in entries if path not in set(files)]
    if not files:
        held = f'it holds {name_some(others)}' if others else 'it is empty'
        raise ConfigError([f'--target: {root} has no pictures in it, {held}; give a folder of pictures'])
    if others and not skip_unreadable:
        raise ConfigError(
            [
                f'--target: {root} holds {len(others)} that are no pictures beside {len(files)} pictures: '
                f'{name_some(others)}; take them away, or give --skip-unreadable'
            ]
        )
    _refuse_few(root, len(files))
    order = np.random.default_rng(seed).permutation(len(files))
    return TargetFolder(root, tuple(files[index] for index in order))


def read_pictures(
    folder: TargetFolder, first: int, resolution: int, sizes: Sizes, *, skip_unreadable: bool
) -> Iterator[tuple[int, Float[np.ndarray, 'R R 3']]]:
    """The pictures from the `first` on, each with its number in the folder.

    Of a picture that is not square the central square is taken, and brought to R x R; see `resized`.

    Args:
        folder: what `list_folder` found.
        first: number of the first one wanted.
        resolution: R.
        sizes: counts what was read and skipped.
        skip_unreadable: leave out what cannot be read; elsewhere all such files are named when the first is met.

    Raises:
        ConfigError: pictures that cannot be read, or too few that can.
    """
    for index in range(first, len(folder.files)):
        try:
            picture = _read(folder.files[index])
        except clip_jax.ImageError as error:
            if not skip_unreadable:
                raise ConfigError([_unreadable(folder, index, error)]) from None
            sizes.skipped.append(folder.files[index].name)
            continue
        sizes.add(picture.shape[0], resolution)
        yield index, resized(picture, resolution)
    _refuse_few(folder.root, sizes.read)


def resized(picture: Float[np.ndarray, 'S S 3'], resolution: int) -> Float[np.ndarray, 'R R 3']:
    """A picture in [-1, 1] at another size, in 8 bits: bicubic, antialiased where it shrinks, as Pillow does it."""
    pixels = Image.fromarray(np.round((picture + 1) * 127.5).astype(np.uint8))
    if pixels.width != resolution:
        pixels = pixels.resize((resolution, resolution), Image.Resampling.BICUBIC)
    return np.asarray(pixels, np.float32) / np.float32(127.5) - 1


def name_some(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f' and {len(names) - NAMED} more' if len(names) > NAMED else ''
    return ', '.join(names[:NAMED]) + more


def _read(path: Path) -> Float[np.ndarray, 'S S 3']:
    picture = clip_jax.load_image(path)
    if picture.shape[0] < SMALLEST_REFERENCE:
        side = picture.shape[0]
        raise clip_jax.ImageError(f'{path}: its short side is {side} pixels, less than {SMALLEST_REFERENCE}.')
    return picture


def _unreadable(folder: TargetFolder, first: int, error: clip_jax.ImageError) -> str:
    """Names what cannot be read from the first such file on."""
    names = [folder.files[first].name]
    for file in folder.files[first + 1 :]:
        try:
            _read(file)
        except clip_jax.ImageError:
            names.append(file.name)
    reason = str(error).rstrip('.')
    if len(names) == 1:
        return f'--target: {reason}; repair or remove it, or give --skip-unreadable'
    return (
        f'--target: {len(names)} pictures of {folder.root} cannot be read: {name_some(names)} ({reason}); '
        'repair or remove them, or give --skip-unreadable'
    )


def _refuse_few(root: Path, count: int) -> None:
    if count < SMALLEST_SET:
        raise ConfigError(
            [
                f'--target: {root} has {count} readable picture{"s" if count != 1 else ""}, too few for a distance '
                f'between distributions; give at least {SMALLEST_SET}, better some thousands'
            ]
        )
