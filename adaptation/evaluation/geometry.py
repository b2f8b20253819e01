"""What the adaptation does to the geometry: depth maps, and the density on a grid.

N batch, h and w the depth map's size, P points of the grid.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from eg3d_jax import TriPlaneGenerator, sample_planes
from eg3d_jax.layers import softplus
from eg3d_jax.volume_rendering import DENSITY_SHIFT

SEEN = 0.5  # accumulated weight from which a pixel counts as showing something rather than nothing
GRID = 32  # cells of the cube along each axis
OCCUPIED = 0.5  # share of light that a cell takes from which it counts as occupied


def depth_difference(
    first: Float[Array, 'N h w'],
    second: Float[Array, 'N h w'],
    first_weight: Float[Array, 'N h w'],
    second_weight: Float[Array, 'N h w'],
) -> Float[Array, 'N']:
    """The mean absolute difference of two depth maps, in their unit, over the pixels that show something in both.

    Args:
        first, second: depth along the rays.
        first_weight, second_weight: accumulated weights; a pixel counts where both are at least 0.5.

    Returns:
        A number for each image; NaN where no pixel counts.
    """
    seen = (first_weight >= SEEN) & (second_weight >= SEEN)
    return masked_mean(jnp.abs(first - second), seen)


def masked_mean(values: Float[Array, 'N h w'], mask: Array) -> Float[Array, 'N']:
    """The mean over each image's pixels in the mask; NaN where there is none."""
    total = jnp.sum(jnp.where(mask, values, 0.0), axis=(1, 2))
    count = jnp.sum(mask, axis=(1, 2))
    return jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.nan)


def grid_points(box_warp: float) -> Float[Array, 'P 3']:
    """The centres of 32^3 equal cells of the cube that the planes span, in world units."""
    centres = ((jnp.arange(GRID) + 0.5) / GRID - 0.5) * box_warp
    return jnp.stack(jnp.meshgrid(centres, centres, centres, indexing='ij'), axis=-1).reshape(-1, 3)  # x y z 3 -> P 3


def occupancy(generator: TriPlaneGenerator, planes: Float[Array, 'N 3 H W C']) -> Float[Array, 'N P']:
    """The share of light in [0, 1] that each cell of the grid takes from a ray that crosses it along an axis."""
    box_warp = generator.config.rendering.box_warp
    points = grid_points(box_warp)
    points = jnp.broadcast_to(points, (planes.shape[0], *points.shape))
    _, density = generator.decoder(sample_planes(planes, points, box_warp))
    return -jnp.expm1(-softplus(density + DENSITY_SHIFT) * (box_warp / GRID))


def occupancy_drift(first: Float[Array, 'N P'], second: Float[Array, 'N P']) -> Float[Array, 'N']:
    """The mean absolute change of occupancy over the grid, in [0, 1]."""
    return jnp.mean(jnp.abs(first - second), axis=1)


def occupancy_iou(first: Float[Array, 'N P'], second: Float[Array, 'N P']) -> Float[Array, 'N']:
    """Intersection over union of the cells whose occupancy is at least 0.5; NaN where neither has any."""
    one, other = first >= OCCUPIED, second >= OCCUPIED
    union = jnp.sum(one | other, axis=1)
    return jnp.where(union > 0, jnp.sum(one & other, axis=1) / jnp.maximum(union, 1), jnp.nan)
