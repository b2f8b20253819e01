"""A crop of a view is a camera of its own."""

import jax
import jax.numpy as jnp
import numpy as np

from eg3d_jax import PRESETS, cameras
from eg3d_jax.rays import rays
from miniature import views

CAMERA = cameras.sample_poses(jax.random.key(3), 2, PRESETS['miniature'].camera)


def test_a_crops_rays_are_those_of_the_whole_picture():
    origins, directions = (x.reshape(2, 16, 16, 3) for x in rays(CAMERA, 16))
    corner = jnp.array([[4 / 16, 2 / 16], [0.0, 8 / 16]])
    part_origins, part_directions = (x.reshape(2, 8, 8, 3) for x in rays(views.crop(CAMERA, corner, 0.5), 8))
    for n, (column, row) in enumerate(((4, 2), (0, 8))):
        window = (n, slice(row, row + 8), slice(column, column + 8))
        np.testing.assert_allclose(part_directions[n], directions[window], atol=1e-6)
        np.testing.assert_allclose(part_origins[n], origins[window], atol=1e-6)


def test_a_point_is_projected_to_the_pixel_whose_ray_meets_it():
    origins, directions = rays(CAMERA, 8)
    pixel = 8 * 5 + 2  # row 5, column 2
    for n in range(2):
        point = origins[n, pixel] + 2.5 * directions[n, pixel]
        np.testing.assert_allclose(views.project(CAMERA, point)[n], [2.5 / 8, 5.5 / 8], atol=1e-5)
