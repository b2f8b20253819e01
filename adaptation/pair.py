"""The pair of the reference and its counterpart, the one head whose drawing is known. Ours, beside the paper's losses.

Directions and tokens tell what the style is like; no loss of the paper shows what it makes of a head. Where the source
generator's head that the reference could be a drawing of is known (`adaptation.counterpart` finds it), the two are an
example: the adapted generator is to draw the counterpart as the reference is drawn. A reference and its inversion are
what JoJoGAN (arXiv 2112.11641) trains a 2D generator on.

The reference's own head is all that this loss sees: what a style makes of other heads is the other losses' to say.

L number of w vectors, D channels of w, H side of an image, S of a reference.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from adaptation.fine_detail import resized

POOLED = 4  # pixels along a side of a block


class Counterpart(NamedTuple):
    """The source's head that the reference could be a drawing of.

    ws: its w vectors.
    camera: that sees it as the reference does.
    """

    ws: Float[Array, '1 L D']
    camera: Float[Array, '1 25']


def pair_loss(images: Float[Array, '1 H H 3'], reference: Float[Array, 'S S 3']) -> Float[Array, '']:
    """The mean absolute difference of pixels, and that of blocks' mean colours, which does not mind a line's place.

    Args:
        images: the adapted generator's of the counterpart, in [-1, 1]; those larger than the reference are made as
            small.
        reference: the picture R in [-1, 1]; see `fine_detail.at_size_of_images`.
    """
    difference = resized(images, reference.shape[0]) - reference
    return jnp.mean(jnp.abs(difference)) + jnp.mean(jnp.abs(pool(difference)))


def pool(images: Float[Array, 'N H H 3']) -> Float[Array, 'N _ _ 3']:
    """Means over blocks of POOLED x POOLED pixels; what is left at the right and below is left out."""
    block = min(POOLED, images.shape[1])
    n, side = images.shape[0], images.shape[1] // block
    whole = images[:, : side * block, : side * block]
    return whole.reshape(n, side, block, side, block, 3).mean(axis=(2, 4))  # [N, s, B, s, B, 3] -> [N, s, s, 3]
