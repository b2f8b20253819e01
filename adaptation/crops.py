"""Random crops of the images that the encoders see, the same of source and adapted ones.

An encoder cuts every picture into the same patches. What is trained against it can please each patch by marks at its
borders and at the picture's edge, which mean nothing to the eye; crops of random size and place move the patches about
between steps, so that only what the picture shows pays.

N batch, H and W an image's size.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


class Crops(NamedTuple):
    """Squares within images of side 1, one for each of a batch."""

    corner: Float[Array, 'N 2']  # upper left: row, column
    side: Float[Array, 'N']


def draw_crops(key: PRNGKeyArray, n: int, largest: float) -> Crops | None:
    """Crops that take off between none and `largest` of an image's side, wherever they fit; None where that is 0."""
    if not largest:
        return None
    side_key, corner_key = jax.random.split(key)
    side = 1 - largest * jax.random.uniform(side_key, (n,))
    return Crops((1 - side[:, None]) * jax.random.uniform(corner_key, (n, 2)), side)


def crop_images(images: Float[Array, 'N H W 3'], crops: Crops | None) -> Float[Array, 'N H W 3']:
    """Each image's crop, bilinearly brought back to the image's size; without crops, the images."""
    if crops is None:
        return images
    rows, columns = (
        _interpolation(crops.corner[:, axis], crops.side, size) for axis, size in enumerate(images.shape[1:3])
    )
    return jnp.einsum('nrh,ncw,nhwx->nrcx', rows, columns, images, precision=jax.lax.Precision.HIGHEST)


def _interpolation(corner: Float[Array, 'N'], side: Float[Array, 'N'], size: int) -> Float[Array, 'N size size']:
    """What each pixel of a crop takes of each of the image, along one axis; a pixel's value is that at its middle."""
    middles = size * corner[:, None] + (jnp.arange(size) + 0.5) * side[:, None] - 0.5
    middles = jnp.clip(middles, 0, size - 1)  # beyond the outermost middles the image goes on as it ends
    return jnp.maximum(1 - jnp.abs(middles[..., None] - jnp.arange(size)), 0)
