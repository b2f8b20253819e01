"""What the encoders see of an image."""

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from adaptation.crops import Crops, crop_images, draw_crops

KEY = jax.random.key(2)


def images_of(height: int, width: int) -> jax.Array:
    return jax.random.uniform(KEY, (2, height, width, 3), minval=-1.0, maxval=1.0)


def test_a_crop_is_the_bilinear_enlargement_of_its_square():
    images = images_of(12, 18)
    crops = Crops(jnp.array([[0.25, 0.5], [0.0, 1 / 3]]), jnp.array([0.5, 2 / 3]))
    found = np.asarray(crop_images(images, crops))
    for index, box in enumerate([(9, 3, 18, 9), (6, 0, 18, 8)]):  # left, upper, right, lower in pixels
        for channel in range(3):
            plane = Image.fromarray(np.asarray(images[index, ..., channel]))
            enlarged = plane.resize((18, 12), Image.Resampling.BILINEAR, box=box)
            inside = np.s_[2:-2, 2:-2]  # Pillow does not look beyond its box
            np.testing.assert_allclose(found[index, ..., channel][inside], np.asarray(enlarged)[inside], atol=1e-5)


def test_the_whole_image_is_the_image():
    images = images_of(8, 8)
    whole = Crops(jnp.zeros((2, 2)), jnp.ones(2))
    np.testing.assert_allclose(crop_images(images, whole), images, atol=1e-6)
    assert draw_crops(KEY, 2, 0.0) is None
    assert crop_images(images, None) is images


def test_crops_lie_in_the_image_and_take_off_no_more_than_asked():
    crops = draw_crops(KEY, 2000, 0.3)
    assert crops is not None
    corner, side = np.asarray(crops.corner), np.asarray(crops.side)
    assert side.min() >= 0.7
    assert side.max() <= 1
    assert side.min() < 0.71
    assert side.max() > 0.99
    assert corner.min() >= 0
    assert (corner + side[:, None]).max() <= 1 + 1e-6
    room = corner / (1 - side[:, None])  # evenly wherever they fit, along both axes
    np.testing.assert_allclose(room.mean(axis=0), 0.5, atol=0.03)
    assert abs(np.corrcoef(room.T)[0, 1]) < 0.1
