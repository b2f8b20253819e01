"""The fast forms of the convolutions against their definitions, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eg3d_jax.convolution import DIMENSIONS, POSITIONS_PER_BLOCK, convolve, convolve_doubling, correlate, upsample

FILTER = np.outer([1.0, 3.0, 3.0, 1.0], [1.0, 3.0, 3.0, 1.0]) / 64.0


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def with_zeros(x: jax.Array) -> jax.Array:
    """A zero after each sample."""
    n, height, width, channels = x.shape
    return jnp.zeros((n, 2 * height, 2 * width, channels)).at[:, ::2, ::2].set(x)


def filtered(x: jax.Array, padding: tuple[int, int], gain: float) -> jax.Array:
    """The [1, 3, 3, 1] filter, channel by channel."""
    channels = x.shape[-1]
    kernel = jnp.tile(jnp.asarray(gain * FILTER, jnp.float32)[:, :, None, None], (1, 1, 1, channels))
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), [padding] * 2, dimension_numbers=DIMENSIONS, feature_group_count=channels
    )


def plain_convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), 'SAME', dimension_numbers=DIMENSIONS)


def plain_convolve_doubling(x: jax.Array, kernel: jax.Array) -> jax.Array:
    # A full convolution with the flipped kernel; the last zero inserted takes the place of one row of padding.
    full = jax.lax.conv_general_dilated(
        with_zeros(x), kernel[::-1, ::-1], (1, 1), [(2, 1)] * 2, dimension_numbers=DIMENSIONS
    )
    return filtered(full, (1, 1), gain=4.0)


@pytest.mark.parametrize(('fast', 'plain'), [(convolve, plain_convolve), (convolve_doubling, plain_convolve_doubling)])
class TestConvolutions:
    def test_values(self, fast, plain):
        x, kernel = normal(0, 2, 5, 7, 3), normal(1, 3, 3, 3, 4)
        np.testing.assert_allclose(fast(x, kernel), plain(x, kernel), atol=1e-5)

    def test_gradients(self, fast, plain):
        x, kernel = normal(0, 2, 5, 7, 3), normal(1, 3, 3, 3, 4)

        def gradients(function):
            return jax.jit(jax.grad(lambda x, kernel: jnp.sum(jnp.sin(function(x, kernel))), argnums=(0, 1)))(x, kernel)

        for actual, expected in zip(gradients(fast), gradients(plain), strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)

    def test_gradient_of_a_gradient(self, fast, plain):
        """As a gradient penalty needs it."""
        x, kernel = normal(0, 1, 4, 4, 2), normal(1, 3, 3, 2, 3)

        def penalty_gradient(function):
            def penalty(kernel):
                return jnp.sum(jnp.square(jax.grad(lambda x: jnp.sum(jnp.sin(function(x, kernel))))(x)))

            return jax.jit(jax.grad(penalty))(kernel)

        np.testing.assert_allclose(penalty_gradient(fast), penalty_gradient(plain), rtol=1e-3, atol=1e-3)


def test_kernel_gradient_over_several_blocks():
    """A height that is no multiple of a block's rows."""
    x, kernel = normal(0, 1, 7, 602, 2), normal(1, 2, 3, 2, 2)
    assert POSITIONS_PER_BLOCK // 600 < 7  # rows of a block

    def gradient(function):
        return jax.jit(jax.grad(lambda kernel: jnp.sum(jnp.sin(function(x, kernel)))))(kernel)

    expected = gradient(lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), 'VALID', dimension_numbers=DIMENSIONS))
    np.testing.assert_allclose(gradient(correlate), expected, rtol=1e-4, atol=1e-3)


def test_upsample():
    x = normal(0, 2, 4, 6, 3)
    np.testing.assert_allclose(upsample(x), filtered(with_zeros(x), (2, 1), gain=4.0), atol=1e-6)
