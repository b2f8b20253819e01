"""Re-projection, on a scene whose views are known exactly: a coloured wall, and a screen before it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptation.evaluation import multiview
from adaptation.evaluation.multiview import View
from eg3d_jax import CameraConfig, cameras
from eg3d_jax.rays import rays

reproject = jax.jit(multiview.reprojection, static_argnames='tolerance')

SIDE = 48
CONFIG = CameraConfig()


@jax.jit
def look_from(yaw: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    camera = cameras.orbit_cameras(yaw, jnp.full_like(yaw, 0.1), CONFIG)
    return camera, *rays(camera, SIDE)


def wall(yaw: float, *, distance: float = 0.0, shift: float = 0.0) -> View:
    """The plane z = distance in smooth colours of (x, y), seen by one camera; `shift` moves the colours along x."""
    camera, *lines = look_from(jnp.asarray([yaw]))
    origins, directions = (np.asarray(array, np.float64) for array in lines)
    depth = (distance - origins[..., 2]) / directions[..., 2]
    points = origins + directions * depth[..., None]
    x, y = points[..., 0] + shift, points[..., 1]
    colours = np.stack([np.sin(8 * x), np.cos(8 * y), np.sin(5 * (x + y))], axis=-1)
    shape = (1, SIDE, SIDE)
    image, depth = colours.reshape(*shape, 3), depth.reshape(shape)
    return View(camera, jnp.asarray(image, jnp.float32), jnp.asarray(depth, jnp.float32), jnp.ones(shape))


def test_a_rigid_scene_has_no_error():
    found = reproject(wall(0.2), wall(-0.1), tolerance=0.02)
    assert float(found.error[0]) < 2e-3  # of reading smooth colours linearly between pixels
    assert float(found.compared[0]) > 0.8  # the rest lies outside the second picture


def test_colours_that_move_with_the_camera_are_an_error_of_their_size():
    still, moved = (reproject(wall(0.2), wall(-0.1, shift=s), 0.02).error[0] for s in (0.0, 0.05))
    assert float(moved) > 20 * float(still)


def test_what_is_hidden_is_not_compared():
    behind, screen = wall(0.2), wall(-0.1, distance=0.3, shift=0.5)
    # The left half of the second picture shows a screen before the wall, in other colours.
    back = wall(-0.1)
    left = np.arange(SIDE) < SIDE // 2
    image = np.where(left[:, None], screen.image, back.image)
    second = back._replace(image=jnp.asarray(image), depth=jnp.asarray(np.where(left, screen.depth, back.depth)))
    found = reproject(behind, second, tolerance=0.02)
    whole = reproject(behind, back, tolerance=0.02)
    assert float(found.error[0]) < 2e-3
    assert float(found.compared[0]) == pytest.approx(float(whole.compared[0]) / 2, abs=0.1)
    assert float(reproject(behind, second, tolerance=10.0).error[0]) > 0.1  # without the test


def test_nothing_to_compare():
    first = wall(0.2)
    empty = first._replace(weight=jnp.zeros_like(first.weight))
    found = reproject(first, empty, tolerance=0.02)
    assert np.isnan(found.error[0])
    assert float(found.compared[0]) == 0.0


def test_pictures_larger_than_the_depth_map_are_brought_to_its_size():
    first, second = wall(0.2), wall(-0.1)
    twice = [view._replace(image=jnp.asarray(np.repeat(np.repeat(view.image, 2, 1), 2, 2))) for view in (first, second)]
    # The antialiasing of the smaller picture blurs a little: smooth colours change by a few thousandths.
    assert float(reproject(*twice, tolerance=0.02).error[0]) < 5e-3


def test_turned_towards_the_middle():
    cameras_at = jax.jit(lambda yaw: cameras.orbit_cameras(yaw, jnp.full_like(yaw, 0.15), CONFIG))
    camera, wanted = cameras_at(jnp.asarray([0.5, -0.5, 0.1])), cameras_at(jnp.asarray([0.2, -0.2, -0.2]))
    turned = jax.jit(multiview.turned, static_argnums=1)(camera, CONFIG)
    np.testing.assert_allclose(turned, wanted, atol=1e-5)
