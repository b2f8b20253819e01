"""Whether two views of a head are views of one thing: colours compared through the rendered depth.

N batch, h and w the depth map's size, M its pixels, C channels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float

from adaptation.evaluation.geometry import SEEN, masked_mean
from eg3d_jax import CameraConfig, cameras
from eg3d_jax.rays import camera_matrices, rays

YAW_STEP = 0.3  # radians between the two views
DEPTH_TOLERANCE = 0.02  # of the range over which rays are sampled: a larger gap between depths is an occlusion


class View(NamedTuple):
    """What a camera sees; `image` in [-1, 1] at the generator's resolution."""

    camera: Float[Array, 'N 25']
    image: Float[Array, 'N H W 3']
    depth: Float[Array, 'N h w']
    weight: Float[Array, 'N h w']


class Reprojection(NamedTuple):
    """For each pair of views.

    error: mean absolute difference of colour, in [0, 1]; NaN where no pixel could be compared.
    compared: share of the first view's pixels that were.
    """

    error: Float[Array, 'N']
    compared: Float[Array, 'N']


def turned(camera: Float[Array, 'N 25'], config: CameraConfig) -> Float[Array, 'N 25']:
    """Cameras of the distribution moved by YAW_STEP on their orbit, towards and past the middle of the distribution."""
    x, y, z = camera[:, 3], camera[:, 7], camera[:, 11]
    yaw = jnp.arctan2(x, z)
    pitch = jnp.arcsin(jnp.clip(y / jnp.sqrt(x * x + y * y + z * z), -1.0, 1.0))
    step = jnp.where(jnp.sin(yaw - config.yaw_mean) >= 0, -YAW_STEP, YAW_STEP)
    return cameras.orbit_cameras(yaw + step, pitch, config)


def reprojection(first: View, second: View, tolerance: float) -> Reprojection:
    """Carries the first view's pixels over to the second through the first's depth, and compares colours there.

    A pixel is compared where it shows something (accumulated weight at least 0.5), lands inside the second picture, and
    the second view's own depth there differs from the point's distance by less than the tolerance; elsewhere the point
    is hidden, or lies on an edge. Pictures are brought to the depth maps' size first (antialiased), and the second
    view is read between its pixels linearly.

    Args:
        first, second: views of the same head.
        tolerance: of the occlusion test, in world units.
    """
    n, h, w = first.depth.shape
    points = _points(first)
    column, row, distance = _seen_from(second.camera, points)
    column, row = column * w - 0.5, row * h - 0.5  # pixel centres at whole numbers
    inside = (column >= 0) & (column <= w - 1) & (row >= 0) & (row <= h - 1) & (distance > 0)
    colours = jnp.concatenate([_sized(second, h), second.depth[..., None], second.weight[..., None]], axis=-1)
    found = _read(colours, row, column).reshape(n, h, w, -1)  # N M C -> N h w C
    image, depth, weight = found[..., :3], found[..., 3], found[..., 4]
    inside, distance = inside.reshape(n, h, w), distance.reshape(n, h, w)
    visible = inside & (first.weight >= SEEN) & (weight >= SEEN) & (jnp.abs(depth - distance) < tolerance)
    difference = jnp.mean(jnp.abs(image - _sized(first, h)), axis=-1) / 2.0  # of colours in [0, 1]
    return Reprojection(masked_mean(difference, visible), jnp.mean(visible.astype(difference.dtype), axis=(1, 2)))


def _points(view: View) -> Float[Array, 'N M 3']:
    """The world points that a view's pixels show."""
    origins, directions = rays(view.camera, view.depth.shape[1])
    return origins + directions * view.depth.reshape(view.depth.shape[0], -1, 1)


def _seen_from(
    camera: Float[Array, 'N 25'], points: Float[Array, 'N M 3']
) -> tuple[Float[Array, 'N M'], Float[Array, 'N M'], Float[Array, 'N M']]:
    """(u, v) of world points in units of the picture's side, and their distance; negative behind the camera."""
    cam2world, intrinsics = camera_matrices(camera)
    highest = jax.lax.Precision.HIGHEST  # positions, as in `eg3d_jax.rays`
    away = points - cam2world[:, None, :3, 3]
    local = jnp.einsum('nji,nmj->nmi', cam2world[:, :3, :3], away, precision=highest)
    pixel = jnp.einsum('nij,nmj->nmi', intrinsics, local, precision=highest)
    ahead = local[..., 2] > 0
    scale = jnp.where(ahead, pixel[..., 2], 1.0)
    distance = jnp.where(ahead, jnp.linalg.norm(away, axis=-1), -1.0)
    return pixel[..., 0] / scale, pixel[..., 1] / scale, distance


def _sized(view: View, side: int) -> Float[Array, 'N h w 3']:
    n = view.image.shape[0]
    return jax.image.resize(view.image, (n, side, side, 3), 'linear', antialias=True)


def _read(images: Float[Array, 'N h w C'], row: Float[Array, 'N M'], column: Float[Array, 'N M']) -> Array:
    """Values [N, M, C] between pixels, linearly; beyond the border, the border's."""

    def channel(image: Array, row: Array, column: Array) -> Array:
        return map_coordinates(image, [row, column], order=1, mode='nearest')

    over_channels = jax.vmap(channel, in_axes=(2, None, None), out_axes=-1)
    return jax.vmap(over_channels)(images, row, column)
