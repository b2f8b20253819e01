"""The published variants of G2, the resize before it, and its noise."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import eg3d_jax
from eg3d_jax.published import SUPERRESOLUTION_CLASSES
from eg3d_jax.superresolution import Superresolution

run = jax.jit(Superresolution.__call__, static_argnames='noise_mode')


@pytest.fixture
def module(tiny_config, random_network) -> Callable[..., Superresolution]:
    """Callable: changes of the tiny config -> a network whose noise is strong."""

    def make(**changes) -> Superresolution:
        settings = dataclasses.replace(tiny_config.superresolution, **changes)
        config = dataclasses.replace(tiny_config, superresolution=settings)
        network = random_network(lambda: Superresolution(config, rngs=nnx.Rngs(0)))
        for block in (network.block0, network.block1):
            for layer in (block.conv0, block.conv1):
                layer.noise_strength.set_value(jnp.float32(0.5))
        return network

    return make


def inputs(config: eg3d_jax.GeneratorConfig, resolution: int) -> tuple[jax.Array, jax.Array]:
    features = jax.random.normal(jax.random.key(0), (2, resolution, resolution, config.decoder.feature_channels))
    return features, jax.random.normal(jax.random.key(1), (2, config.num_ws, config.w_dim))


@pytest.mark.parametrize(
    ('class_name', 'image_resolution'),
    [('SuperresolutionHybrid8XDC', 512), ('SuperresolutionHybrid4X', 256), ('SuperresolutionHybrid2X', 128)],
)
def test_published_sizes(class_name, image_resolution, tiny_config):
    settings = eg3d_jax.SuperresolutionConfig(**SUPERRESOLUTION_CLASSES[class_name])
    config = dataclasses.replace(tiny_config, superresolution=settings)
    network = nnx.eval_shape(lambda: Superresolution(config, rngs=nnx.Rngs(0)))
    for resolution in (64, 128):
        image = jax.eval_shape(
            lambda *given: Superresolution(config, rngs=nnx.Rngs(0))(*given), *inputs(config, resolution)
        )
        assert image.shape == (2, image_resolution, image_resolution, 3)
    first = 2 if settings.first_block_doubles else 1
    assert network.block0.conv0.noise_const.shape == (settings.input_resolution * first,) * 2
    assert network.block1.conv1.noise_const.shape == (image_resolution,) * 2


def test_the_256_network_resizes_only_what_is_smaller(tiny_config, module):
    changes = {'first_block_doubles': False, 'resize_larger': False}
    network = module(**changes)  # made for inputs of 8 x 8
    assert run(network, *inputs(tiny_config, 4)).shape == (2, 16, 16, 3)
    assert run(network, *inputs(tiny_config, 12)).shape == (2, 24, 24, 3)
    assert run(module(first_block_doubles=False), *inputs(tiny_config, 12)).shape == (2, 16, 16, 3)


@pytest.mark.parametrize('antialias', [False, True])
def test_resize_before_it_is_bilinear(tiny_config, module, antialias):
    network = module(antialias=antialias)
    features, ws = inputs(tiny_config, 12)
    resized = jax.image.resize(features, (2, 8, 8, features.shape[-1]), 'linear', antialias=antialias)
    np.testing.assert_allclose(run(network, features, ws), run(network, resized, ws), atol=1e-5)
    assert not np.allclose(run(network, features, ws), run(module(antialias=not antialias), features, ws))


def test_only_the_last_w_is_used(tiny_config, module):
    network = module()
    features, ws = inputs(tiny_config, 8)
    np.testing.assert_array_equal(run(network, features, ws), run(network, features, ws.at[:, :-1].set(0.0)))
    assert not np.allclose(run(network, features, ws), run(network, features, ws.at[:, -1].set(0.0)))


def test_noise_modes(tiny_config, module):
    network = module()
    features, ws = inputs(tiny_config, 8)
    clean = run(network, features, ws)
    np.testing.assert_array_equal(clean, run(network, features, ws, noise_mode='none'))  # the config's
    stored = run(network, features, ws, noise_mode='const')
    random, again = (run(network, features, ws, noise_mode='random', key=jax.random.key(0)) for _ in range(2))
    np.testing.assert_array_equal(random, again)
    assert not np.allclose(clean, stored)
    assert not np.allclose(stored, random)
    assert not np.allclose(clean, random)


def test_the_skip_starts_from_the_raw_image(tiny_config, module):
    """Without any torgb, the image is the raw one, upsampled twice; not that of the reference's cars quirk."""
    network = module()
    for block in (network.block0, network.block1):
        block.torgb.weight.set_value(jnp.zeros_like(block.torgb.weight[...]))
        block.torgb.bias.set_value(jnp.zeros_like(block.torgb.bias[...]))
    features = jnp.full((2, 8, 8, tiny_config.decoder.feature_channels), 0.25).at[..., 3:].set(7.0)
    image = run(network, features, inputs(tiny_config, 8)[1])
    np.testing.assert_allclose(image[:, 4:-4, 4:-4], 0.25, atol=1e-6)


def test_clamp_limits_what_torgb_adds(tiny_config, module):
    network, free = module(conv_clamp=0.1), module(conv_clamp=None)
    features, ws = inputs(tiny_config, 8)
    features = features.at[..., :3].set(0.0)
    assert jnp.max(jnp.abs(run(network, features, ws))) <= 0.2 + 1e-6  # two blocks add at most 0.1 each
    assert jnp.max(jnp.abs(run(free, features, ws))) > 0.2
