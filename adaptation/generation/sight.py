"""What the training cameras see of a density: where their rays meet the first surface, and what lies behind it.

Nothing is known of what no camera of the generator's distribution ever saw. A view sees through what lies before the
first surface on a ray; what lies after it is behind that surface, by the distance from it.

R points of a side of a grid, s side of a depth map, P points, V views.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from scipy import ndimage

from adaptation.generation.poses import outermost_poses, pose_cameras
from eg3d_jax import CameraConfig
from eg3d_jax.cameras import DIAGONAL
from eg3d_jax.rays import rays

OPAQUE = math.log(2.0)  # optical depth of the first surface: half of the light is gone
WIDEST = 0.9  # of a camera's distance: radius of the largest sphere that it is made to see


class Sight(NamedTuple):
    """camera: 25 numbers. depth: distance from the camera to the first surface along each ray, infinite where there is
    none, in world units."""

    camera: Float[np.ndarray, '25']
    depth: Float[np.ndarray, 's s']

    def pixel(self, place: Float[np.ndarray, 'P 2']) -> tuple[np.ndarray, np.ndarray]:
        """(row, column) of the pixels at these places in the picture; see `locate`."""
        side = len(self.depth)
        column, row = np.clip(place * side, 0, side - 1).astype(np.int64).T
        return row, column


def sight_cameras(camera: CameraConfig, reach: float) -> Float[np.ndarray, 'V 25']:
    """The middle camera and those at the border of what was trained, turned and opened so that each sees the sphere of
    this radius around the world's origin. Where they stand is what they see; where they look does not matter."""
    sine = min(reach / camera.radius, WIDEST)
    tangent = math.tan(math.asin(sine))
    degrees = 2.0 * math.degrees(math.atan(2.0 * tangent / DIAGONAL))
    wide = replace(camera, pivot=(0.0, 0.0, 0.0), fov_degrees=degrees)
    return np.asarray(pose_cameras(outermost_poses(camera), wide))


def trace(extinction: Float[np.ndarray, 'R R R'], side: float, camera: Float[np.ndarray, '25'], reach: float) -> Sight:
    """Where the rays of a camera meet the first surface inside of a sphere around the origin.

    Args:
        extinction: density after the activation, in 1 / world unit, on a grid from face to face of the cube.
        side: of the cube.
        reach: radius of the sphere.
    """
    resolution = len(extinction)
    origins, directions = (np.asarray(part)[0] for part in _rays(camera[None], resolution))
    middle = float(np.linalg.norm(origins[0]))
    distance = np.linspace(max(middle - reach, 0.0), middle + reach, resolution, dtype=np.float32)
    points = origins[:, None] + distance[:, None] * directions[:, None]  # M R 3
    place = (points + side / 2) * ((resolution - 1) / side)
    dense = ndimage.map_coordinates(extinction, place.reshape(-1, 3).T, order=1, mode='constant')
    dense = dense.reshape(points.shape[:2]) * (np.square(points).sum(axis=-1) < reach**2)
    passed = np.cumsum(dense, axis=1) * (distance[1] - distance[0])
    met = passed > OPAQUE
    depth = np.where(met.any(axis=1), distance[np.argmax(met, axis=1)], np.inf)
    return Sight(camera, depth.reshape(resolution, resolution).astype(np.float32))


def locate(points: Float[np.ndarray, 'P 3'], camera: Float[np.ndarray, '25']) -> Float[np.ndarray, 'P 2']:
    """(u, v) of points in a camera's picture, in units of its side from the upper left corner."""
    cam2world, intrinsics = camera[:16].reshape(4, 4), camera[16:].reshape(3, 3)
    local = (points - cam2world[:3, 3]) @ cam2world[:3, :3]
    homogeneous = local @ intrinsics.T
    return homogeneous[:, :2] / homogeneous[:, 2:]


_rays = jax.jit(rays, static_argnums=1)
