"""Many pictures in one: heads from above to below, their views from left to right.

H rows, V views, S side of a picture.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

LARGEST_TILE = 256  # side in pixels; larger pictures are reduced to it
ROWS = 16  # of one grid; more heads make more grids
GAP = 4  # pixels between heads
PAPER = 255


def tile(pixels: UInt8[np.ndarray, 'S S 3']) -> UInt8[np.ndarray, 'T T 3']:
    """The picture, no larger than a grid's tile."""
    if pixels.shape[0] <= LARGEST_TILE:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((LARGEST_TILE, LARGEST_TILE), Image.Resampling.LANCZOS))


def compose(heads: Sequence[Sequence[Sequence[np.ndarray]]]) -> UInt8[np.ndarray, 'height width 3']:
    """A grid of tiles: for each head its generators' rows, the source's above the adapted one's, of views.

    Rows of one head touch, and so do its views; heads are set apart.
    """
    blocks: list[np.ndarray] = []
    for rows in heads:
        block = np.concatenate([np.concatenate(list(views), axis=1) for views in rows], axis=0)
        if blocks:
            blocks.append(np.full((GAP, block.shape[1], 3), PAPER, np.uint8))
        blocks.append(block)
    return np.concatenate(blocks, axis=0)
