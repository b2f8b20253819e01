"""Geometry of the cameras, and the published cameras' conventions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eg3d_jax import CameraConfig, cameras
from eg3d_jax.rays import camera_matrices, rays


def test_orbit_at_zero_looks_at_the_head_from_the_front():
    pose = cameras.orbit(0.0, 0.0, 2.7, (0.0, 0.0, 0.2))
    np.testing.assert_allclose(pose, [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 2.7], [0, 0, 0, 1]], atol=1e-6)


@pytest.mark.parametrize(('yaw', 'pitch'), [(0.4, 0.0), (-0.4, 0.2), (0.0, 0.7), (3.0, -0.5)])
def test_orbit_properties(yaw, pitch):
    pivot = jnp.array([0.1, 0.0, 0.2])
    pose = cameras.orbit(yaw, pitch, 2.7, pivot)
    rotation, origin = pose[:3, :3], pose[:3, 3]
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(jnp.linalg.det(rotation), 1.0, atol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(origin), 2.7, rtol=1e-6)  # from the world's origin
    towards = (pivot - origin) / jnp.linalg.norm(pivot - origin)
    np.testing.assert_allclose(rotation[:, 2], towards, atol=1e-6)
    assert rotation[1, 1] < 0  # the image's y points down
    assert math.isclose(origin[1], 2.7 * math.sin(pitch), abs_tol=1e-5)  # pitch goes up
    assert math.copysign(1, origin[0]) == math.copysign(1, math.sin(yaw)) or yaw == 0  # yaw to the right


def test_the_published_cameras_are_on_the_orbit(reference):
    """Origin and rotation of both golden cameras, from their angles alone, and their intrinsics."""
    settings = {1.7: (45.0, (0.0, 0.0, 0.0)), 2.7: (18.837, (0.0, 0.0, 0.2))}
    for name in ('c', 'c_cond'):
        cam2world, intrinsics = camera_matrices(reference.arrays[name])
        origin = cam2world[0, :3, 3]
        radius = round(float(jnp.linalg.norm(origin)), 3)
        fov, pivot = settings[radius]
        yaw, pitch = jnp.arctan2(origin[0], origin[2]), jnp.arcsin(origin[1] / radius)
        np.testing.assert_allclose(cameras.orbit(yaw, pitch, radius, pivot), cam2world[0], atol=2e-6)
        np.testing.assert_allclose(cameras.fov_to_intrinsics(fov), intrinsics[0], rtol=1e-5)


def test_the_middle_of_the_image_looks_at_the_pivot():
    config = CameraConfig()
    camera = cameras.orbit_cameras(jnp.array([0.3]), jnp.array([-0.2]), config)
    origins, directions = rays(camera, 3)
    towards = jnp.array(config.pivot) - origins[0, 4]
    np.testing.assert_allclose(directions[0, 4], towards / jnp.linalg.norm(towards), atol=1e-6)


def test_rays_span_the_field_of_view():
    """The corners of the image are half the (diagonal) field of view from its middle; rows go down, columns right."""
    camera = cameras.orbit_cameras(jnp.zeros(1), jnp.zeros(1), CameraConfig(fov_degrees=40.0))
    _, directions = rays(camera, 256)
    image = directions[0].reshape(256, 256, 3)
    cosine = jnp.sum(image[0, 0] * image[-1, -1])
    assert math.isclose(math.degrees(math.acos(cosine)), 40.0, abs_tol=0.3)
    np.testing.assert_allclose(jnp.linalg.norm(image, axis=-1), 1.0, rtol=1e-5)
    assert image[0, 0, 1] > 0 > image[-1, 0, 1]
    assert image[0, 0, 0] < 0 < image[0, -1, 0]


def test_skewed_intrinsics():
    """(u, v) of a projected point is where its ray starts from."""
    intrinsics = jnp.array([[1.3, 0.1, 0.45], [0.0, 1.1, 0.55], [0.0, 0.0, 1.0]])
    camera = cameras.camera_vector(jnp.eye(4)[None], intrinsics)
    _, directions = rays(camera, 4)
    projected = directions[0] @ intrinsics.T
    u, v = (projected[:, axis] / projected[:, 2] for axis in (0, 1))
    np.testing.assert_allclose(u, np.tile((np.arange(4) + 0.5) / 4, 4), atol=1e-5)
    np.testing.assert_allclose(v, np.repeat((np.arange(4) + 0.5) / 4, 4), atol=1e-5)


def angles(camera: jax.Array) -> tuple[jax.Array, jax.Array]:
    origin = camera_matrices(camera)[0][:, :3, 3]
    return jnp.arctan2(origin[:, 0], origin[:, 2]), jnp.arcsin(origin[:, 1] / jnp.linalg.norm(origin, axis=-1))


def test_gaussian_poses():
    config = CameraConfig(yaw_mean=0.2, pitch_mean=-0.1)
    yaw, pitch = angles(cameras.sample_poses(jax.random.key(0), 4000, config))
    np.testing.assert_allclose([jnp.mean(yaw), jnp.mean(pitch)], [0.2, -0.1], atol=0.02)
    np.testing.assert_allclose([jnp.std(yaw), jnp.std(pitch)], [config.yaw_std, config.pitch_std], rtol=0.05)


def test_uniform_poses():
    config = CameraConfig(distribution='uniform', yaw_std=0.5, pitch_mean=0.3, pitch_std=0.2)
    yaw, pitch = angles(cameras.sample_poses(jax.random.key(0), 4000, config))
    assert -0.5 <= jnp.min(yaw) < -0.48 and 0.48 < jnp.max(yaw) <= 0.5
    assert 0.1 - 1e-4 <= jnp.min(pitch) < 0.11 and 0.49 < jnp.max(pitch) <= 0.5 + 1e-4
    np.testing.assert_allclose(jnp.std(yaw), 1.0 / math.sqrt(12), rtol=0.05)
