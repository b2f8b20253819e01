"""From a camera to the rays through its pixels.

Letters: N batch, M rays. Cameras are [N, 25]: cam2world (4 x 4, row by row, OpenCV axes: x right, y down, z forward),
then the intrinsics (3 x 3, row by row, normalised by the image's size).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def camera_matrices(camera: Float[Array, 'N 25']) -> tuple[Float[Array, 'N 4 4'], Float[Array, 'N 3 3']]:
    """(cam2world, intrinsics) of camera vectors."""
    return camera[:, :16].reshape(-1, 4, 4), camera[:, 16:].reshape(-1, 3, 3)


def rays(camera: Float[Array, 'N 25'], resolution: int) -> tuple[Float[Array, 'N M 3'], Float[Array, 'N M 3']]:
    """(origins, unit directions) in world space of the rays through all pixel centres, row by row."""
    cam2world, intrinsics = camera_matrices(camera)
    centres = (jnp.arange(resolution) + 0.5) / resolution
    v, u = (axis.reshape(1, -1) for axis in jnp.meshgrid(centres, centres, indexing='ij'))  # [1, M]
    fx, skew, cx = (intrinsics[:, 0, column, None] for column in range(3))  # [N, 1]
    fy, cy = (intrinsics[:, 1, column, None] for column in (1, 2))
    y = (v - cy) / fy
    x = (u - cx - skew * y) / fx
    local = jnp.stack([x, y, jnp.ones_like(x)], axis=-1)
    # Positions need full precision, also where matrix products are rounded by default.
    directions = jnp.einsum('nij,nmj->nmi', cam2world[:, :3, :3], local, precision=jax.lax.Precision.HIGHEST)
    directions = directions / jnp.linalg.norm(directions, axis=-1, keepdims=True)
    return jnp.broadcast_to(cam2world[:, None, :3, 3], directions.shape), directions
