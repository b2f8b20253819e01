"""The palette as in the reference: how its chroma is distributed. Ours, beside the paper's four losses.

A CLIP hardly minds a faint tint: heads drawn in pencil keep a breath of their own skin, hair and wall. This loss
compares the chroma of each adapted image, wherever it lies, with the reference's. It does not know light from dark: how
much of a picture is dark depends on whose hair and clothes it shows. It is meant for styles of one palette (pencil,
charcoal, sepia, an engraving); where every picture has colours of its own, it would ask for the reference's.

Distributions are compared by the sliced Wasserstein distance, as in `fine_detail`, in the plane of the two chroma axes.
Its differences count more than in proportion: few pixels with a strong tint, such as those of a red shirt, have next to
no say in their plain mean.

N batch, H side of an image, S of a reference, P directions, V positions; B any shape.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from adaptation.fine_detail import LUMA
from adaptation.sorting import sort_rows

DIRECTIONS = 8  # over half a turn: opposite ones say the same
STRONG = 10.0  # of a difference's square beside the difference: from 0.1 on, it is the larger part
LARGEST = 64  # side in pixels to which pictures are made small: lines are `fine_detail`'s


def palette_loss(images: Float[Array, 'N H H 3'], reference: Float[Array, 'S S 3']) -> Float[Array, '']:
    """The mean of |d| + 10 d^2, d being differences of sorted values; 0: each image's chroma is spread as R's is.

    Args:
        images: the adapted generator's, in [-1, 1].
        reference: the picture R in [-1, 1].
    """
    side = min(LARGEST, images.shape[1], reference.shape[0])
    difference = jnp.abs(_values(images, side) - _values(reference[None], side))
    return jnp.mean(difference + STRONG * jnp.square(difference))


def chroma(images: Float[Array, '*B 3']) -> Float[Array, '*B 2']:
    """Cb and Cr as in JPEG, of colours in [-1, 1]: what is not lightness; 0 for greys, in [-1, 1]."""
    lightness = jnp.sum(images * jnp.asarray(LUMA), axis=-1)
    red, _, blue = LUMA
    cb = (images[..., 2] - lightness) / (2 * (1 - blue))
    cr = (images[..., 0] - lightness) / (2 * (1 - red))
    return jnp.stack([cb, cr], axis=-1)


def _values(images: Float[Array, 'N H H 3'], side: int) -> Float[Array, 'N P V']:
    """Chroma at all positions along each direction, sorted."""
    small = jax.image.resize(images, (len(images), side, side, 3), 'linear')  # the mean of what becomes one pixel
    angles = np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    directions = jnp.asarray([np.cos(angles), np.sin(angles)], images.dtype)
    values = jnp.matmul(chroma(small), directions, precision=jax.lax.Precision.HIGHEST)
    rows = jnp.moveaxis(values, -1, 1).reshape(-1, side * side)  # [N, h, w, P] -> [N P, V]
    return sort_rows(rows).reshape(len(images), -1, side * side)
