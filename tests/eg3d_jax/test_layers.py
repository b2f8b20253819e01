"""Gains, modulation, noise and clamps of the layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from eg3d_jax.convolution import convolve
from eg3d_jax.layers import FullyConnected, SynthesisLayer, ToRGB, clamp, leaky_relu, modulated_convolution, softplus


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def synthesis_layer(conv_clamp: float | None = None) -> SynthesisLayer:
    layer = SynthesisLayer(3, 4, w_dim=5, resolution=8, doubles=True, conv_clamp=conv_clamp, rngs=nnx.Rngs(0))
    layer.noise_strength.set_value(jnp.float32(0.7))
    return layer


def test_fully_connected_applies_its_gains():
    layer = FullyConnected(4, 3, rngs=nnx.Rngs(0), learning_rate_multiplier=0.01, bias=2.0)
    x = normal(0, 2, 4)
    np.testing.assert_allclose(layer.bias[...], 200.0)
    np.testing.assert_allclose(layer(x), x @ layer.weight[...] * 0.005 + 2.0, rtol=1e-5)


def test_softplus_and_its_gradient():
    x = jnp.array([-100.0, -3.0, 0.0, 3.0, 100.0])
    np.testing.assert_allclose(softplus(x), np.logaddexp(0.0, np.asarray(x, np.float64)), rtol=1e-6, atol=1e-40)
    np.testing.assert_allclose(jax.vmap(jax.grad(softplus))(x), jax.nn.sigmoid(x), rtol=1e-6)


def test_leaky_relu_and_clamp():
    np.testing.assert_allclose(leaky_relu(jnp.array([-1.0, 2.0])), np.sqrt(2.0) * np.array([-0.2, 2.0]), rtol=1e-6)
    np.testing.assert_array_equal(clamp(jnp.array([-3.0, 1.0, 3.0]), 2.0), [-2.0, 1.0, 2.0])
    np.testing.assert_array_equal(clamp(jnp.array([-3e9]), None), [-3e9])


def test_modulation_equals_a_kernel_for_each_sample():
    x, kernel, style = normal(0, 2, 5, 5, 3), normal(1, 3, 3, 3, 4), normal(2, 2, 3)
    actual = modulated_convolution(x, kernel, style, doubles=False)
    for index in range(2):
        own = kernel * style[index][:, None]
        own = own / jnp.sqrt(jnp.sum(jnp.square(own), axis=(0, 1, 2)) + 1e-8)
        np.testing.assert_allclose(actual[index], convolve(x[index : index + 1], own)[0], atol=1e-5)


class TestNoise:
    x, w = normal(0, 2, 4, 4, 3), normal(1, 2, 5)

    def test_const_adds_the_stored_noise(self):
        layer = synthesis_layer()
        style = layer.affine(self.w)
        convolved = modulated_convolution(self.x, layer.weight[...], style, doubles=True)
        expected = leaky_relu(convolved + 0.7 * layer.noise_const[...][:, :, None])
        np.testing.assert_allclose(layer(self.x, self.w, noise_mode='const'), expected, rtol=1e-5, atol=1e-5)

    def test_random_differs_by_key_and_sample_and_none_is_clean(self):
        layer = synthesis_layer()
        same = jnp.concatenate([self.x[:1]] * 2), jnp.concatenate([self.w[:1]] * 2)
        clean = layer(*same, noise_mode='none')
        first, second = (layer(*same, noise_mode='random', key=jax.random.key(seed)) for seed in (0, 1))
        np.testing.assert_allclose(clean[0], clean[1], rtol=1e-5, atol=1e-6)
        assert not np.allclose(first, second)
        assert not np.allclose(first[0], first[1])
        layer.noise_strength.set_value(jnp.float32(0.0))
        np.testing.assert_allclose(layer(*same, noise_mode='random', key=jax.random.key(0)), clean, atol=1e-6)

    def test_wrong_use_is_refused(self):
        layer = synthesis_layer()
        with pytest.raises(ValueError, match='needs a key'):
            layer(self.x, self.w, noise_mode='random')
        with pytest.raises(ValueError, match=r"noise_mode must be one of .* got 'loud'"):
            layer(self.x, self.w, noise_mode='loud')
        with pytest.raises(ValueError, match='noise of size'):
            layer(self.x[:, :2, :2], self.w, noise_mode='const')


def test_layers_clamp_last():
    x, w = 1e3 * normal(0, 2, 4, 4, 3), normal(1, 2, 5)
    free, limited = (synthesis_layer(limit)(x, w, noise_mode='const') for limit in (None, 256.0))
    assert jnp.max(jnp.abs(free)) > 256.0
    np.testing.assert_array_equal(limited, jnp.clip(free, -256.0, 256.0))

    to_rgb = [ToRGB(3, 3, w_dim=5, conv_clamp=limit, rngs=nnx.Rngs(0)) for limit in (None, 256.0)]
    free, limited = (layer(x, w) for layer in to_rgb)
    assert jnp.max(jnp.abs(free)) > 256.0
    np.testing.assert_array_equal(limited, jnp.clip(free, -256.0, 256.0))
