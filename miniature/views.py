"""Parts of a camera's view: a crop of the picture is itself a camera, with other intrinsics.

Letters: N batch.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def crop(
    camera: Float[Array, 'N 25'], corner: Float[Array, 'N 2'], size: float | Float[Array, 'N']
) -> Float[Array, 'N 25']:
    """The camera that sees a square part of the picture.

    Args:
        camera: cam2world and normalised intrinsics.
        corner: (u, v) of the part's upper left corner, in units of the picture's side.
        size: the part's side, in the same units.
    """
    intrinsics = camera[:, 16:].reshape(-1, 3, 3)
    size = jnp.broadcast_to(jnp.asarray(size, camera.dtype), (camera.shape[0],))[:, None]
    focal_rows = jnp.concatenate([intrinsics[:, :2, :2], intrinsics[:, :2, 2:] - corner[:, :, None]], axis=-1)
    cropped = jnp.concatenate([focal_rows / size[:, :, None], intrinsics[:, 2:]], axis=1)  # [N, 3, 3]
    return jnp.concatenate([camera[:, :16], cropped.reshape(-1, 9)], axis=-1)


def project(camera: Float[Array, 'N 25'], point: Float[Array, '3']) -> Float[Array, 'N 2']:
    """(u, v) at which the cameras see a world point, in units of the picture's side."""
    cam2world = camera[:, :16].reshape(-1, 4, 4)
    intrinsics = camera[:, 16:].reshape(-1, 3, 3)
    local = jnp.einsum('nji,nj->ni', cam2world[:, :3, :3], point - cam2world[:, :3, 3])
    homogeneous = jnp.einsum('nij,nj->ni', intrinsics, local)
    return homogeneous[:, :2] / homogeneous[:, 2:]
