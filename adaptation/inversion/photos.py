"""A photograph as the generator would have made it: cropped around the head, square, of its resolution.

S side of the generator's image.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageOps
from skimage.data import lbp_frontal_face_cascade_filename
from skimage.feature import Cascade

import clip_jax
from adaptation.errors import AdaptationError

AUTO, NONE = 'auto', 'none'
DETECTION_SIDE = 320  # pixels of the picture that faces are looked for in
SMALLEST_FACE = 60  # of those pixels
CROP_PER_FACE = 2.0  # side of the crop in sides of the detected face: as much as a head and its hair take
RISE = 0.04  # of the crop's middle above the face's, in sides of the crop
SMALLEST_SIDE = 16  # pixels
LEAST_DEVIATION = 0.02  # of the colours, in [0, 1]: a picture with less shows nothing


@dataclass(frozen=True)
class Photo:
    """image: in [-1, 1]. crop: left, top, right, bottom in pixels of the file's picture; None: its central square.
    face: whether a face was detected. hash: of the cropped picture."""

    image: Float[np.ndarray, 'S S 3']
    crop: tuple[int, int, int, int] | None
    face: bool
    hash: str


def load_photo(path: Path, crop: str | tuple[int, int, int], resolution: int) -> Photo:
    """Reads and crops a photograph.

    Args:
        path: of any picture.
        crop: 'auto' (around the largest face that is detected, if there is one), 'none' (the central square), or
            (left, top, side) in pixels.
        resolution: S.

    Raises:
        AdaptationError: it is no readable picture, too small, the crop lies outside, or it shows nothing.
    """
    try:
        box = face_box(clip_jax.load_image(path)) if crop == AUTO else None
        if not isinstance(crop, str):
            left, top, side = crop
            box = (left, top, left + side, top + side)
        elif box is not None:
            box = _inside(box, path)
        picture = clip_jax.load_image(path, box)
    except clip_jax.ImageError as error:
        raise AdaptationError(f'--image: {error}') from None
    if picture.shape[0] < SMALLEST_SIDE:
        raise AdaptationError(f'--image: {path} has {picture.shape[0]} pixels a side; give at least {SMALLEST_SIDE}.')
    if picture.std() / 2 < LEAST_DEVIATION:
        raise AdaptationError(f'--image: {path} shows nothing: all of its colours are alike; give a picture of a head.')
    pixels = Image.fromarray(np.round((picture + 1) * 127.5).astype(np.uint8))
    resized = np.asarray(pixels.resize((resolution, resolution), Image.Resampling.LANCZOS), np.float32)
    digest = hashlib.sha256(resized.tobytes()).hexdigest()
    return Photo(resized / 127.5 - 1, box, crop == AUTO and box is not None, digest)


def face_box(picture: Float[np.ndarray, 'R R 3']) -> tuple[int, int, int, int] | None:
    """The crop around the largest frontal face in a square picture; None where the cascade finds none.

    The box is in pixels of this picture and may reach beyond it.
    """
    side = picture.shape[0]
    scale = min(1.0, DETECTION_SIDE / side)
    small = Image.fromarray(np.round((picture + 1) * 127.5).astype(np.uint8))
    small = small.resize((round(side * scale), round(side * scale)), Image.Resampling.LANCZOS)
    if small.width < SMALLEST_FACE:
        return None
    cascade = Cascade(lbp_frontal_face_cascade_filename())
    sizes = (SMALLEST_FACE, SMALLEST_FACE), (small.width, small.width)
    faces = cascade.detect_multi_scale(np.asarray(small), 1.2, 1, *sizes)
    if not faces:
        return None
    face = max(faces, key=lambda found: found['width'])
    half = CROP_PER_FACE * face['width'] / 2
    x = face['c'] + face['width'] / 2
    y = face['r'] + face['height'] / 2 - RISE * 2 * half
    edges = np.round(np.asarray((x - half, y - half, x + half, y + half)) / scale).astype(int)
    return int(edges[0]), int(edges[1]), int(edges[2]), int(edges[3])


def _inside(box: tuple[int, int, int, int], path: Path) -> tuple[int, int, int, int]:
    """The largest square around the middle of a box of the central square, within the whole picture."""
    with Image.open(path) as file:
        width, height = ImageOps.exif_transpose(file).size  # crops are those of the upright picture
    short = min(width, height)
    # The box is one of the central square; the picture is longer on one side.
    x = (box[0] + box[2]) / 2 + (width - short) / 2
    y = (box[1] + box[3]) / 2 + (height - short) / 2
    half = min((box[2] - box[0]) / 2, x, y, width - x, height - y)
    side = int(2 * half)
    left, top = round(x - half), round(y - half)
    left, top = min(max(left, 0), width - side), min(max(top, 0), height - side)
    return left, top, left + side, top + side
