"""Pictures of any kind from files.

S side of the square that is returned.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageOps

Box = tuple[int, int, int, int]  # left, top, right, bottom

MAX_8_BIT = 255
MAX_16_BIT = 65535
ALPHA_MODES = ('RGBA', 'LA', 'PA', 'RGBa', 'La')


class ImageError(ValueError):
    """A picture that cannot be read or cropped; its message is one sentence that names the file."""


def load_image(path: str | Path, crop: Sequence[Any] | None = None) -> Float[np.ndarray, 'S S 3']:
    """Reads a picture as a square RGB image.

    Colour, grey, palette, CMYK and 16-bit pictures are read, transparency is laid over white, and a camera's rotation
    mark (EXIF) is obeyed.

    Args:
      path: a file of any format that Pillow reads; of several frames the first is taken.
      crop: four whole numbers (left, top, right, bottom) in pixels of the upright picture, right and bottom exclusive;
        the whole picture by default. Of what is not square, the central square is kept.

    Returns:
      [S, S, 3] float32 in [-1, 1], S the short side; nothing is resized.

    Raises:
      ImageError: the file is missing, empty, damaged, or no picture, it has more pixels than Pillow takes for harmless
        (PIL.Image.MAX_IMAGE_PIXELS), its values have no known range, or the crop does not lie within it.
    """
    path = Path(path)
    picture = _open(path)
    left, top, right, bottom = _square(_check_crop(path, picture, crop))
    return _to_rgb(path, picture.crop((left, top, right, bottom))) * 2 - 1


def _open(path: Path) -> Image.Image:
    """The decoded first frame, turned upright."""
    if not path.exists():
        raise ImageError(f'{path}: there is no such file.')
    if not path.is_file():
        raise ImageError(f'{path}: is not a file.')
    if path.stat().st_size == 0:
        raise ImageError(f'{path}: is empty.')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error', Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                picture.load()
                return ImageOps.exif_transpose(picture)
    except Image.UnidentifiedImageError:
        raise ImageError(f'{path}: is damaged, or not a picture of a known format.') from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f'{path}: has too many pixels, over {Image.MAX_IMAGE_PIXELS}; save it smaller.') from None
    except PermissionError as error:
        raise ImageError(f'{path}: cannot be read ({error.strerror}).') from None
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError) as error:  # of Pillow's decoders on damaged files
        raise ImageError(f'{path}: is damaged or cut short ({str(error).rstrip(".")}).') from None


def _check_crop(path: Path, picture: Image.Image, crop: Sequence[Any] | None) -> Box:
    if crop is None:
        return 0, 0, picture.width, picture.height
    if len(crop) != 4 or any(isinstance(edge, bool) or not isinstance(edge, int) for edge in crop):
        raise ImageError(f'{path}: crop must be four whole numbers (left, top, right, bottom), got {crop!r}.')
    left, top, right, bottom = crop
    if not (0 <= left < right <= picture.width and 0 <= top < bottom <= picture.height):
        raise ImageError(
            f'{path}: crop (left, top, right, bottom) = {tuple(crop)} does not lie within the picture '
            f'of {picture.width} x {picture.height} pixels, or is empty.'
        )
    return left, top, right, bottom


def _square(box: Box) -> Box:
    """The central square of a box."""
    left, top, right, bottom = box
    side = min(right - left, bottom - top)
    left += (right - left - side) // 2
    top += (bottom - top - side) // 2
    return left, top, left + side, top + side


def _to_rgb(path: Path, picture: Image.Image) -> np.ndarray:
    """Values [S, S, 3] float32 in [0, 1], transparency laid over white."""
    if picture.mode == 'I' or picture.mode.startswith('I;16'):
        grey = np.asarray(picture, np.float32)
        if grey.min() < 0 or grey.max() > MAX_16_BIT:
            raise ImageError(f'{path}: holds values outside 16 bits; save it with 8 or 16 bits a channel.')
        opaque = grey != picture.info.get('transparency')  # a level that stands for nothing, or None
        return np.repeat(np.where(opaque, grey / MAX_16_BIT, np.float32(1))[..., None], 3, axis=-1)
    if picture.mode == 'F':
        raise ImageError(f'{path}: holds floating-point values; save it with 8 or 16 bits a channel.')
    if picture.mode in ALPHA_MODES or 'transparency' in picture.info:
        rgba = np.asarray(picture.convert('RGBA'), np.float32) / MAX_8_BIT
        colour, alpha = rgba[..., :3], rgba[..., 3:]
        return colour * alpha + (1 - alpha)
    try:
        return np.asarray(picture.convert('RGB'), np.float32) / MAX_8_BIT
    except ValueError:
        raise ImageError(f'{path}: its colours ({picture.mode}) cannot be turned into RGB; save it as RGB.') from None
