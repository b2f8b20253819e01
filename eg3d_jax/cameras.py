"""Cameras: look-at poses, field of view to intrinsics, camera vectors, and pose samplers.

World: right-handed, +y up; a head at the origin looks along +z. Camera axes are OpenCV's: x right, y down, z forward.
A camera vector [25] is cam2world (4 x 4, row by row) and the intrinsics (3 x 3, row by row) for an image of side 1.
Letters: N batch.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from eg3d_jax.config import CameraConfig

# The published cameras were made with this rounding of the square root of 2.
DIAGONAL = 1.414
WORLD_UP = (0.0, 1.0, 0.0)
HIGHEST_PITCH = math.pi / 2 - 1e-3  # sampled poses keep this far from the poles, where "up" is undefined


def look_at(
    origin: Float[Array, '*N 3'], target: Float[Array, '*N 3'], up: Float[Array, '*N 3']
) -> Float[Array, '*N 4 4']:
    """cam2world of a camera at `origin` that looks at `target`; `up` is not parallel to the view."""
    forward = _unit(target - origin)
    right = _unit(jnp.cross(forward, up))
    down = jnp.cross(forward, right)
    top = jnp.stack([right, down, forward, origin], axis=-1)  # [*N, 3, 4]
    bottom = jnp.broadcast_to(jnp.array([0.0, 0.0, 0.0, 1.0]), (*top.shape[:-2], 1, 4))
    return jnp.concatenate([top, bottom], axis=-2)


def orbit(
    yaw: float | Float[Array, '*N'],
    pitch: float | Float[Array, '*N'],
    radius: float | Float[Array, '*N'] = CameraConfig.radius,
    pivot: tuple[float, float, float] | Float[Array, '3'] = CameraConfig.pivot,
) -> Float[Array, '*N 4 4']:
    """cam2world of a camera on the sphere around the world's origin, looking at the pivot.

    Args:
        yaw: radians, to the right (+x) of the frontal view on +z.
        pitch: radians, above it, in (-pi / 2, pi / 2).
        radius: distance from the world's origin (not from the pivot, as in the published data sets).
        pivot: the point looked at.
    """
    yaw, pitch, radius = jnp.broadcast_arrays(*(jnp.asarray(x, jnp.float32) for x in (yaw, pitch, radius)))
    direction = [jnp.cos(pitch) * jnp.sin(yaw), jnp.sin(pitch), jnp.cos(pitch) * jnp.cos(yaw)]
    origin = radius[..., None] * jnp.stack(direction, axis=-1)
    target, up = (jnp.broadcast_to(jnp.asarray(x, jnp.float32), origin.shape) for x in (pivot, WORLD_UP))
    return look_at(origin, target, up)


def fov_to_intrinsics(fov_degrees: float) -> Float[Array, '3 3']:
    """Normalised intrinsics of a square image whose DIAGONAL spans this angle, as the published cameras have it."""
    focal = 1.0 / (DIAGONAL * math.tan(math.radians(fov_degrees) / 2))
    return jnp.array([[focal, 0.0, 0.5], [0.0, focal, 0.5], [0.0, 0.0, 1.0]])


def camera_vector(
    cam2world: Float[Array, 'N 4 4'], intrinsics: Float[Array, '3 3'] | Float[Array, 'N 3 3']
) -> Float[Array, 'N 25']:
    """The [N, 25] camera that the generator takes."""
    n = cam2world.shape[0]
    intrinsics = jnp.broadcast_to(intrinsics, (n, 3, 3))
    return jnp.concatenate([cam2world.reshape(n, 16), intrinsics.reshape(n, 9)], axis=-1)


def orbit_cameras(
    yaw: Float[Array, 'N'], pitch: Float[Array, 'N'], config: CameraConfig | None = None
) -> Float[Array, 'N 25']:
    """Camera vectors at these angles (radians), with the config's radius, pivot and field of view."""
    config = CameraConfig() if config is None else config
    return camera_vector(orbit(yaw, pitch, config.radius, config.pivot), fov_to_intrinsics(config.fov_degrees))


def sample_poses(key: PRNGKeyArray, n: int, config: CameraConfig | None = None) -> Float[Array, 'N 25']:
    """n cameras from the config's distribution of yaw and pitch (Gaussian or uniform)."""
    config = CameraConfig() if config is None else config
    draw = jax.random.normal if config.distribution == 'gaussian' else _symmetric_uniform
    yaw_key, pitch_key = jax.random.split(key)
    yaw = config.yaw_mean + config.yaw_std * draw(yaw_key, (n,))
    pitch = config.pitch_mean + config.pitch_std * draw(pitch_key, (n,))
    return orbit_cameras(yaw, jnp.clip(pitch, -HIGHEST_PITCH, HIGHEST_PITCH), config)


def _symmetric_uniform(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


def _unit(x: Array) -> Array:
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)
