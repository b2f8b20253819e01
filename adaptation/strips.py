"""Strips of pictures: the same heads in rows, what is done to them in columns, with words above and beside them.

N images, L number of w vectors, D channels of w, S side of an image in pixels.
"""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, Float

from adaptation.lettering import label
from adaptation.samples import GAP, LARGEST_TILE, PAPER, tile
from adaptation.step import frontal_cameras
from eg3d_jax import CameraConfig, TriPlaneGenerator

HEADING = 22  # pixels above the columns
MARGIN = 76  # pixels for the words beside the rows


def draw(
    generator: TriPlaneGenerator, ws: Float[Array, 'N L D'], camera: CameraConfig, batch_size: int
) -> Float[np.ndarray, 'N S S 3']:
    """Images of w vectors from the front, without jitter, in batches of one size: one program serves all."""
    count, images = len(ws), []
    for start in range(0, count, batch_size):
        rows = np.minimum(np.arange(start, start + batch_size), count - 1)
        images.append(np.asarray(_draw(generator, ws[rows], frontal_cameras(batch_size, camera))))
    return np.concatenate(images)[:count]


def compose(
    rows: Sequence[Sequence[Float[np.ndarray, 'S S 3']]], columns: Sequence[str], names: Sequence[str]
) -> np.ndarray:
    """Lays out images in [-1, 1] as a [rows, columns, 3] uint8 picture.

    Args:
        rows: images of one size, as many in each row.
        columns: what is written above each column.
        names: what is written beside each row.
    """
    side = min(rows[0][0].shape[0], LARGEST_TILE)
    lines = [_line([label('', MARGIN, HEADING), *(label(text, side, HEADING) for text in columns)])]
    for name, images in zip(names, rows, strict=True):
        lines.append(_line([label(name, MARGIN, side), *(tile(image, side) for image in images)]))
    between = np.full((GAP, lines[0].shape[1], 3), PAPER, np.uint8)
    stacked = [part for line in lines for part in (line, between)]
    return np.concatenate(stacked, axis=0)


def _line(parts: Sequence[np.ndarray]) -> np.ndarray:
    gap = np.full((parts[0].shape[0], GAP, 3), PAPER, np.uint8)
    return np.concatenate([part for piece in parts for part in (piece, gap)], axis=1)


@jax.jit
def _draw(generator: TriPlaneGenerator, ws: Array, camera: Array) -> Array:
    rendered = generator.render(generator.planes(ws), camera)
    return generator.superresolve(rendered.feature_image, ws, rendered.points)
