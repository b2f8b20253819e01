"""Compositing against a plain transcription, rays that hit nothing, parts, keys, and what the gradients touch."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import eg3d_jax
from eg3d_jax.volume_rendering import interval_weights, render

EMPTY, SOLID = -60.0, 60.0  # raw densities

# One compilation of each serves all densities.
look = jax.jit(render, static_argnames='config')


@partial(jax.jit, static_argnums=3)
def value_and_gradient(decoder, planes, cameras, config, key=None):
    def loss(decoder, planes):
        output = render(planes, decoder, cameras, config, key)
        return sum(jnp.sum(jnp.sin(image)) for image in output), output

    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(decoder, planes)


@pytest.fixture(scope='module')
def planes(tiny_planes) -> jax.Array:
    return tiny_planes


def with_density(generator: eg3d_jax.TriPlaneGenerator, density: float) -> eg3d_jax.TriPlaneGenerator:
    """The same generator, its density the same everywhere."""
    changed = nnx.clone(generator)
    last = changed.decoder.net[2]
    last.weight.set_value(last.weight[...].at[:, 0].set(0.0))
    last.bias.set_value(last.bias[...].at[0].set(density))
    return changed


def rendering(config: eg3d_jax.GeneratorConfig, **changes) -> eg3d_jax.RenderingConfig:
    return dataclasses.replace(config.rendering, **changes)


def test_weights_against_a_plain_transcription():
    depths = jnp.sort(jax.random.uniform(jax.random.key(0), (5, 9)), axis=-1) + 2.0
    densities = 10.0 * jax.random.normal(jax.random.key(1), (5, 9))
    mid = 0.5 * (np.asarray(densities[:, 1:], np.float64) + np.asarray(densities[:, :-1], np.float64))
    alpha = 1.0 - np.exp(-np.logaddexp(0.0, mid - 1.0) * np.diff(np.asarray(depths, np.float64), axis=-1))
    passed = np.cumprod(np.concatenate([np.ones((5, 1)), 1.0 - alpha + 1e-10], axis=-1), axis=-1)[:, :-1]
    np.testing.assert_allclose(interval_weights(depths, densities), alpha * passed, rtol=1e-4, atol=1e-7)


def test_weights_are_a_share_of_one():
    depths = jnp.linspace(2.0, 3.0, 20)
    for density in (EMPTY, 0.0, 5.0, SOLID, 1e4):
        weights = interval_weights(depths, jnp.full(20, density))
        assert jnp.all(weights >= 0.0)
        assert jnp.sum(weights) <= 1.0 + 1e-5
    assert jnp.sum(interval_weights(depths, jnp.full(20, 200.0))) > 0.999


@pytest.mark.parametrize('white_back', [False, True])
def test_rays_that_hit_nothing(tiny_generator, tiny_cameras, planes, white_back):
    config = rendering(tiny_generator.config, white_back=white_back)
    empty = with_density(tiny_generator, EMPTY)
    output = look(planes, empty.decoder, tiny_cameras, config)
    np.testing.assert_allclose(output.weights_sum, 0.0, atol=1e-6)
    np.testing.assert_allclose(output.feature_image, 1.0 if white_back else -1.0, atol=1e-5)
    assert jnp.all(jnp.isfinite(output.depth))
    nothing = look(planes, with_density(tiny_generator, -1e4).decoder, tiny_cameras, config)
    # The softplus is exactly zero: no weight at all, and the depth is the farthest one sampled.
    np.testing.assert_array_equal(nothing.weights_sum, 0.0)
    np.testing.assert_array_equal(nothing.depth, jnp.max(nothing.depth))
    assert jnp.max(nothing.depth) > config.ray_end - 0.1


def test_a_solid_cube_is_seen_at_its_surface(tiny_generator, tiny_cameras, planes):
    output = look(planes, with_density(tiny_generator, 1e4).decoder, tiny_cameras, tiny_generator.config.rendering)
    np.testing.assert_allclose(output.weights_sum, 1.0, atol=1e-4)
    step = 1.05 / (tiny_generator.config.rendering.depth_resolution - 1)
    assert jnp.max(output.depth) < tiny_generator.config.rendering.ray_start + 2 * step


@pytest.mark.parametrize('density', [EMPTY, SOLID, -1e4, None], ids=['empty', 'solid', 'nothing', 'random'])
def test_gradients_are_finite(tiny_generator, tiny_cameras, planes, density):
    generator = tiny_generator if density is None else with_density(tiny_generator, density)
    _, gradients = value_and_gradient(generator.decoder, planes, tiny_cameras, tiny_generator.config.rendering)
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize('max_points', [300, 64 * 14 + 1], ids=['parts of an image', 'image by image'])
@pytest.mark.parametrize('importance_resolution', [0, 6])
def test_parts_give_the_same_numbers(tiny_generator, tiny_cameras, planes, max_points, importance_resolution):
    key = jax.random.key(0)
    whole, parts = (
        rendering(tiny_generator.config, max_points=points, importance_resolution=importance_resolution)
        for points in (2**20, max_points)
    )

    actual, expected = (
        value_and_gradient(tiny_generator.decoder, planes, tiny_cameras, config, key) for config in (parts, whole)
    )
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * float(jnp.max(jnp.abs(b))))


def test_frozen_planes_cost_no_scatter(tiny_generator, tiny_cameras, planes):
    config = rendering(tiny_generator.config, max_points=300)

    def loss(decoder, planes):
        return jnp.sum(render(planes, decoder, tiny_cameras, config).feature_image)

    of_decoder, of_both = (
        jax.jit(jax.grad(loss, argnums)).lower(tiny_generator.decoder, planes).as_text() for argnums in (0, (0, 1))
    )
    assert 'stablehlo.scatter' in of_both
    assert 'stablehlo.scatter' not in of_decoder


def test_keys_and_resolutions(tiny_generator, tiny_cameras, planes):
    run = jax.jit(tiny_generator.render, static_argnames='resolution')
    first, again, other = (run(planes, tiny_cameras, key=jax.random.key(seed)).feature_image for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    np.testing.assert_allclose(first, other, atol=0.6)  # the same scene
    large = run(planes, tiny_cameras, resolution=24)
    assert [image.shape for image in large] == [(3, 24, 24, channels) for channels in (6, 1, 1, 3)]
    # A pixel of the 8 x 8 image lies in the middle of 3 x 3 of the large one.
    small = run(planes, tiny_cameras, resolution=8)
    np.testing.assert_allclose(large.feature_image[:, 1::3, 1::3], small.feature_image, atol=1e-4)


def test_points_lie_at_the_depth_along_the_rays(tiny_generator, tiny_cameras, planes):
    rendered = jax.jit(tiny_generator.render)(planes, tiny_cameras)
    from_camera = np.asarray(rendered.points - tiny_cameras[:, 3:12:4][:, None, None])
    np.testing.assert_allclose(np.linalg.norm(from_camera, axis=-1), rendered.depth[..., 0], rtol=1e-5)
    # Seen by the camera, the points lie behind the middles of their pixels.
    for camera, points in zip(np.asarray(tiny_cameras, np.float64), from_camera, strict=True):
        x, y, z = np.moveaxis(points @ camera[:16].reshape(4, 4)[:3, :3], -1, 0)
        focal, middle = camera[16], camera[18]
        centres = (np.arange(len(points)) + 0.5) / len(points)
        np.testing.assert_allclose(focal * x / z + middle, np.broadcast_to(centres, x.shape), atol=1e-4)
        np.testing.assert_allclose(focal * y / z + middle, np.broadcast_to(centres[:, None], y.shape), atol=1e-4)
