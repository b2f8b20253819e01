"""Fine detail as in the reference: how patches of a few pixels are distributed. Ours, beside the paper's four losses.

A CLIP sees small pictures in large patches: whether a line is crisp or soft says little in it, and what it guides is
soft. This loss compares what is too fine for it: what a slight blur takes away, as patches of a few pixels of it are
distributed over the adapted images and over the reference. It does not mind where a patch lies, so that the reference's
own face is not asked for, and knows lightness alone, so that its colours are not either.

Most of that detail is two pixels wide and more, and lines may have as much of it as the reference's and yet be soft. So
the finest of it, what the slightest blur takes away, can be asked for by itself (`crispness_loss`).

Distributions of patches are compared by the sliced Wasserstein distance (arXiv 1710.10196, section 5): along random
directions, by the sorted values.

N batch, H side of an image, S of a reference, k of a patch, P directions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from adaptation.sorting import sort_rows

DEVIATION = 2.0  # in pixels, of the blur that takes the fine detail away
SLIGHTEST = 0.7  # and of the one that takes the finest
PATCH = 7  # side in pixels
DIRECTIONS = 32  # drawn anew for each batch; the patch's middle pixel is one more
STRIDE = 2  # pixels from one patch to the next; the first one's place is drawn
LUMA = (0.299, 0.587, 0.114)


class Slices(NamedTuple):
    """Directions that patches are compared along, and where the first patch lies: row, column."""

    directions: Float[Array, 'k k 1 P']
    start: Int[Array, '2']


def draw_slices(key: PRNGKeyArray) -> Slices:
    """Random directions of length 1 and mean 0, the middle pixel's, and a start."""
    direction_key, start_key = jax.random.split(key)
    drawn = jax.random.normal(direction_key, (PATCH, PATCH, 1, DIRECTIONS))
    drawn = drawn - drawn.mean((0, 1))
    drawn = drawn / jnp.sqrt(jnp.sum(jnp.square(drawn), axis=(0, 1)))
    middle = jnp.zeros((PATCH, PATCH, 1, 1)).at[PATCH // 2, PATCH // 2].set(1)
    return Slices(jnp.concatenate([drawn, middle], axis=-1), jax.random.randint(start_key, (2,), 0, STRIDE))


def at_size_of_images(references: Sequence[Float[Array, '_ _ 3']], resolution: int) -> Float[Array, 'K S S 3']:
    """References in [-1, 1], resized to the images' resolution, or all to the smallest reference's where that is less.

    What a small reference does not show is not asked for: an enlarged one would ask for softness.
    """
    side = min(resolution, *(reference.shape[0] for reference in references))
    return jnp.stack([resized(reference[None], side)[0] for reference in references])


def fine_detail_loss(
    images: Float[Array, 'N H H 3'], reference: Float[Array, 'S S 3'], slices: Slices
) -> Float[Array, '']:
    """The mean difference of sorted values: 0 where patches are distributed as the reference's are, over the batch.

    Args:
        images: the adapted generator's, in [-1, 1]; those larger than the reference are made as small.
        reference: the picture R in [-1, 1]; see `at_size_of_images`.
        slices: from `draw_slices`.
    """
    return _difference(images, reference, slices, DEVIATION)


def crispness_loss(
    images: Float[Array, 'N H H 3'], reference: Float[Array, 'S S 3'], slices: Slices
) -> Float[Array, '']:
    """The same of the finest detail, which is less than a pixel and a half wide."""
    return _difference(images, reference, slices, SLIGHTEST)


def _difference(
    images: Float[Array, 'N H H 3'], reference: Float[Array, 'S S 3'], slices: Slices, deviation: float
) -> Float[Array, '']:
    found = _values(resized(images, reference.shape[0]), slices, deviation)
    wanted = jnp.repeat(_values(reference[None], slices, deviation), images.shape[0], axis=1)
    return jnp.mean(jnp.abs(found - wanted))


def resized(images: Float[Array, 'N H H 3'], side: int) -> Float[Array, 'N S S 3']:
    """Images at this side, antialiased, in [-1, 1]; those that have it stay as they are."""
    if images.shape[1] == side:
        return images
    return jnp.clip(jax.image.resize(images, (len(images), side, side, 3), 'lanczos3'), -1, 1)


def _values(images: Float[Array, 'N S S 3'], slices: Slices, deviation: float) -> Float[Array, 'P V']:
    """What a blur takes from all patches along each direction, sorted."""
    side = images.shape[1] - STRIDE + 1  # that every start leaves
    cut = jax.lax.dynamic_slice(fine_part(images, deviation), (0, *slices.start, 0), (len(images), side, side, 1))
    values = jax.lax.conv_general_dilated(
        cut, slices.directions, (STRIDE, STRIDE), 'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )
    return sort_rows(values.reshape(-1, values.shape[-1]).T)


def fine_part(images: Float[Array, 'N H W 3'], deviation: float = DEVIATION) -> Float[Array, 'N H W 1']:
    """The lightness of images in [-1, 1] less its blur."""
    lightness = jnp.sum(images * jnp.asarray(LUMA), axis=-1, keepdims=True)
    return lightness - gaussian_blur(lightness, deviation)


def gaussian_blur(images: Float[Array, 'N H W C'], deviation: float) -> Float[Array, 'N H W C']:
    """Images of any channels, blurred by so many pixels; beyond its border a picture is mirrored.

    Rows and columns are multiplied by matrices: on CPUs many times as fast as convolutions of few channels.
    """
    height, width = (jnp.asarray(_blurring(side, deviation)) for side in images.shape[1:3])
    rows = jnp.einsum('ih,nhwc->niwc', height, images, precision=jax.lax.Precision.HIGHEST)
    return jnp.einsum('jw,niwc->nijc', width, rows, precision=jax.lax.Precision.HIGHEST)


def _blurring(side: int, deviation: float) -> Float[np.ndarray, 'H H']:
    """The matrix that blurs a line of so many pixels."""
    reach = int(4 * deviation + 0.5)
    weights = np.exp(-np.square(np.arange(-reach, reach + 1)) / (2 * deviation**2))
    mirrored = np.pad(np.arange(side), reach, mode='symmetric')  # the pixel that lies at each place
    matrix = np.zeros((side, side), np.float32)
    for offset, weight in enumerate(weights / weights.sum()):
        np.add.at(matrix, (np.arange(side), mirrored[offset : offset + side]), weight)
    return matrix
