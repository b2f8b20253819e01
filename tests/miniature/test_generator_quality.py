"""What the generator's quality is measured on."""

import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from miniature.generator_quality import near_heads

SQUARE = np.ones((1, 3, 3), bool)


def test_pixels_near_heads_are_those_that_show_one_and_their_neighbours(gallery):
    side = gallery.side // 2
    near = np.asarray(near_heads(gallery.heads, jnp.asarray(gallery.cameras()), side))
    shown = gallery.buffers().mask.reshape(gallery.count, side, 2, side, 2).any((2, 4))
    np.testing.assert_array_equal(near, ndimage.binary_dilation(shown, SQUARE))
    assert 0 < shown.mean() < near.mean() < 1
