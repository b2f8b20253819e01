"""Truncation and conditioning of the mapping network."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import eg3d_jax


def test_truncation_pulls_towards_the_mean_w(tiny_generator, tiny_z, tiny_cameras):
    mean = tiny_generator.backbone.mapping.w_avg[...]
    full = tiny_generator.mapping(tiny_z, tiny_cameras)
    half = tiny_generator.mapping(tiny_z, tiny_cameras, 0.5)
    np.testing.assert_allclose(half, 0.5 * (full + mean), atol=1e-5)
    none = tiny_generator.mapping(tiny_z, tiny_cameras, 0.0)
    np.testing.assert_allclose(none, jnp.broadcast_to(mean, none.shape), atol=1e-5)


def test_cutoff_leaves_the_later_ws_alone(tiny_generator, tiny_z, tiny_cameras):
    full = tiny_generator.mapping(tiny_z, tiny_cameras)
    half = tiny_generator.mapping(tiny_z, tiny_cameras, 0.5)
    cut = tiny_generator.mapping(tiny_z, tiny_cameras, 0.5, 2)
    np.testing.assert_array_equal(cut[:, :2], half[:, :2])
    np.testing.assert_array_equal(cut[:, 2:], full[:, 2:])
    assert not np.allclose(half, full)


def test_only_the_direction_of_z_matters(tiny_generator, tiny_z, tiny_cameras):
    actual = tiny_generator.mapping(3.0 * tiny_z, tiny_cameras)
    np.testing.assert_allclose(actual, tiny_generator.mapping(tiny_z, tiny_cameras), atol=1e-5)


def test_conditioning_on_zeros_ignores_the_camera(tiny_config, tiny_z, tiny_cameras, random_network):
    other = jnp.roll(tiny_cameras, 1, axis=0)
    for on_zeros in (False, True):
        mapping = dataclasses.replace(tiny_config.mapping, condition_on_zeros=on_zeros)
        config = dataclasses.replace(tiny_config, mapping=mapping)
        generator = random_network(lambda config=config: eg3d_jax.TriPlaneGenerator(config, rngs=nnx.Rngs(0)))
        generator.backbone.mapping.embed.bias.set_value(jax.random.normal(jax.random.key(0), (config.w_dim,)))
        same = np.allclose(generator.mapping(tiny_z, tiny_cameras), generator.mapping(tiny_z, other))
        assert same == on_zeros
