"""The pose of a photograph: where its camera stands, and how its crop lies in the picture that the generator makes.

The renderer takes cameras as constants, so a pose is found without gradients: by Gauss-Newton steps, whose six
derivatives are differences of small renderings. The height of a camera and the shape of a head explain each other's
errors, so what `reading` says of the view is held on to.

N cameras, h side of a small rendering.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from eg3d_jax import CameraConfig, TriPlaneGenerator, cameras
from eg3d_jax.config import RGB_CHANNELS

NAMES = ('yaw', 'pitch', 'roll', 'right', 'down', 'zoom')
# yaw, pitch, roll in radians; the shift of the crop to the right and down, in units of its side; the logarithm of its
# zoom. The deviations are how far poses are expected from the middle; yaw and pitch have the generator's own.
CROP_DEVIATIONS = (0.1, 0.04, 0.04, 0.1)
STEPS = (0.02, 0.02, 0.02, 0.01, 0.01, 0.02)  # of the differences
LARGEST_MOVE = (0.1, 0.1, 0.05, 0.03, 0.03, 0.05)  # of one Gauss-Newton step
VIEWS = 2  # of the parameters, the first, are the view's; the others are the crop's
PRIOR = 1e-3  # weight of the squared pose, in deviations, beside the mean squared colour error
DAMPING = 1e-3  # share of the curvature that is added to its diagonal

START_REACH = 1.5  # deviations to either side of what is expected of yaw and pitch
# Share of these deviations that is left once the best start is known: pitch is held on to, which the shape of a head
# would trade against its own errors.
HELD = (1.0, 0.35)

Pose = Float[np.ndarray, '6']
Offset = tuple[float, ...]  # of yaw and pitch from what is expected, in deviations


class Expected(NamedTuple):
    """What is known of a pose: where it is expected, and how far from there; 0: it is known."""

    pose: Pose
    deviation: Pose


def cameras_of(poses: Float[Array, 'N 6'], camera: CameraConfig) -> Float[Array, 'N 25']:
    """The cameras of poses: those of the generator, turned in their picture, which is then shifted and zoomed."""
    yaw, pitch, roll, right, down, zoom = jnp.moveaxis(poses, 1, 0)
    cam2world = cameras.orbit(yaw, pitch, camera.radius, camera.pivot)
    cos, sin, zero, one = jnp.cos(roll), jnp.sin(roll), jnp.zeros_like(roll), jnp.ones_like(roll)
    turn = jnp.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], axis=-1).reshape(-1, 3, 3)
    cam2world = cam2world.at[:, :3, :3].set(cam2world[:, :3, :3] @ turn)
    own = cameras.fov_to_intrinsics(camera.fov_degrees)
    focal = own[0, 0] * jnp.exp(zoom)
    rows = [focal, zero, 0.5 + right, zero, focal, 0.5 + down, zero, zero, one]
    return cameras.camera_vector(cam2world, jnp.stack(rows, axis=-1).reshape(-1, 3, 3))


def deviations(camera: CameraConfig) -> Pose:
    """How far each parameter is expected from the middle."""
    return np.asarray((camera.yaw_std, camera.pitch_std, *CROP_DEVIATIONS))


def middle(camera: CameraConfig) -> Pose:
    """The pose that is expected."""
    return np.asarray((camera.yaw_mean, camera.pitch_mean, 0.0, 0.0, 0.0, 0.0))


def next_start(tried: Mapping[Offset, float]) -> Offset | None:
    """Where a fit is to be started next, while it is not known which start leads to the lowest loss.

    A wrong view and a wrong head explain each other's errors, so that a fit does not leave a wrong view by itself.
    Tried are the view that is expected, those to its right and left, and those above and below the best of these.

    Args:
        tried: the losses of the starts so far.

    Returns:
        The next one; None: there is none.
    """
    centre: Offset = (0.0,) * VIEWS
    for axis in range(VIEWS):
        steps = (0.0, START_REACH, -START_REACH)
        around = [(*centre[:axis], centre[axis] + step, *centre[axis + 1 :]) for step in steps]
        for offset in around:
            if offset not in tried:
                return offset
        centre = min(around, key=tried.__getitem__)
    return None


def starts(expected: Expected) -> int:
    """How many starts `next_start` gives: 1 where the view is known."""
    return 1 + 2 * VIEWS if expected.deviation[:VIEWS].any() else 1


def started_at(expected: Expected, offset: Offset) -> Pose:
    """The pose that a fit starts with."""
    pose = expected.pose.copy()
    pose[:VIEWS] += np.asarray(offset) * expected.deviation[:VIEWS]
    return pose


def expected_at(expected: Expected, pose: Pose) -> Expected:
    """What is expected once the best start has found this pose: its view, where none was known."""
    view = np.where(expected.deviation[:VIEWS] > 0, pose[:VIEWS], expected.pose[:VIEWS])
    deviation = np.concatenate([expected.deviation[:VIEWS] * HELD, expected.deviation[VIEWS:]])
    return Expected(np.concatenate([view, expected.pose[VIEWS:]]), deviation)


@cache
def make_look(resolution: int) -> Callable[[TriPlaneGenerator, Array, Array], Array]:
    """The compiled small rendering `(generator, planes [1, ...], cameras) -> [N, h, h, 3]`, in [-1, 1]."""

    @jax.jit
    def look(generator: TriPlaneGenerator, planes: Array, looking: Array) -> Array:
        same = jnp.broadcast_to(planes, (len(looking), *planes.shape[1:]))
        return generator.render(same, looking, resolution=resolution).feature_image[..., :RGB_CHANNELS]

    return look


def refine(
    generator: TriPlaneGenerator,
    planes: Float[Array, '1 3 H W C'],
    target: Float[np.ndarray, 'h h 3'],
    pose: Pose,
    expected: Expected,
    camera: CameraConfig,
    recolour: Callable[[Float[np.ndarray, 'N h h 3']], Float[np.ndarray, 'N h h 3']] = lambda seen: seen,
) -> Pose:
    """A Gauss-Newton step of the parameters that are not known, damped and bounded.

    recolour: brings renderings to the target's colours; the first one is that of the pose.
    """
    chosen = np.flatnonzero(expected.deviation)
    if not len(chosen):
        return pose
    tried = np.repeat(pose[None], 1 + len(NAMES), axis=0)
    tried[1:] += np.diag(STEPS)
    look = make_look(target.shape[0])
    drawn = np.asarray(look(generator, planes, cameras_of(jnp.asarray(tried, jnp.float32), camera)))
    seen = np.asarray(recolour(drawn), np.float64)
    residual = (seen[0] - target).ravel()
    slopes = ((seen[1:] - seen[0]).reshape(len(NAMES), -1) / np.asarray(STEPS)[:, None])[chosen]
    prior = PRIOR / np.square(expected.deviation[chosen])
    curvature = slopes @ slopes.T / residual.size + np.diag(prior)
    slope = slopes @ residual / residual.size + prior * (pose[chosen] - expected.pose[chosen])
    curvature += DAMPING * np.diag(np.diag(curvature))
    largest = np.asarray(LARGEST_MOVE)[chosen]
    move = np.clip(-np.linalg.solve(curvature, slope), -largest, largest)
    result = pose.copy()
    result[chosen] += move
    return result
