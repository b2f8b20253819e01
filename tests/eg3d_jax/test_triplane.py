"""Sampling of the planes against a plain transcription, its gradient, and the decoder's ranges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eg3d_jax.triplane import PLANE_AXES, SCATTER_BLOCK, sample_planes

BOX = 1.6
HEIGHT, WIDTH = 6, 8


@pytest.fixture(scope='module')
def planes() -> jax.Array:
    return jax.random.normal(jax.random.key(0), (2, 3, HEIGHT, WIDTH, 4))


def points_in(side: float, count: int = 200) -> jax.Array:
    return jax.random.uniform(jax.random.key(1), (2, count, 3), minval=-side / 2, maxval=side / 2)


def hat(coordinate: jax.Array, size: int) -> jax.Array:
    """Bilinear weights of all texels along an axis: a dense transcription of sampling with zero padding."""
    position = (coordinate * 2 / BOX + 1) * size / 2 - 0.5
    return jnp.maximum(0.0, 1.0 - jnp.abs(position[..., None] - jnp.arange(size)))


def dense_samples(planes: jax.Array, points: jax.Array) -> jax.Array:
    total = 0.0
    for plane, (column, row) in enumerate(PLANE_AXES):
        rows, columns = hat(points[..., row], HEIGHT), hat(points[..., column], WIDTH)
        total += jnp.einsum('nph,npw,nhwc->npc', rows, columns, planes[:, plane])
    return total / 3


def test_the_third_plane_is_z_x():
    assert PLANE_AXES == ((0, 1), (0, 2), (2, 0))


@pytest.mark.parametrize('side', [BOX, 1.5 * BOX], ids=['inside', 'reaching outside'])
def test_values(planes, side):
    points = points_in(side)
    np.testing.assert_allclose(sample_planes(planes, points, BOX), dense_samples(planes, points), atol=1e-5)


def test_far_outside_is_zero(planes):
    points = jnp.broadcast_to(jnp.array([5.0, -7.0, 9.0]), (2, 1, 3))
    np.testing.assert_array_equal(sample_planes(planes, points, BOX), 0.0)


def test_texel_centres_are_exact(planes):
    """On the middle of the cube's axes the texels at (column 5, row 2) are met exactly."""
    x, y = ((index + 0.5) / size * BOX - BOX / 2 for index, size in ((5, WIDTH), (2, HEIGHT)))
    point = jnp.broadcast_to(jnp.array([x, y, 100.0]), (2, 1, 3))  # outside the two planes that look along z
    np.testing.assert_allclose(sample_planes(planes, point, BOX)[:, 0], planes[:, 0, 2, 5] / 3, atol=1e-5)


@pytest.mark.parametrize('count', [50, SCATTER_BLOCK + 1], ids=['part of a block', 'several blocks'])
def test_gradient_of_the_planes(planes, count):
    points = points_in(1.3 * BOX, count)
    weights = jax.random.normal(jax.random.key(2), (2, count, 4))

    def gradient(function):
        return jax.grad(lambda planes: jnp.sum(weights * jnp.sin(function(planes))))(planes)

    actual = gradient(lambda planes: sample_planes(planes, points, BOX))
    np.testing.assert_allclose(actual, gradient(lambda planes: dense_samples(planes, points)), atol=2e-4)


def test_gradient_of_the_points(planes):
    """Away from texel centres, where the slope changes."""
    points = points_in(0.9 * BOX, 20)
    weight = jax.random.normal(jax.random.key(5), (2, 20, 4))
    ours, dense = (
        jax.grad(lambda p, sample=sample: jnp.sum(sample(p) * weight))(points)
        for sample in (lambda p: sample_planes(planes, p, BOX), lambda p: dense_samples(planes, p))
    )
    assert np.all(np.abs(ours) > 0)
    np.testing.assert_allclose(ours, dense, rtol=1e-4, atol=1e-5)


def test_decoder_ranges_and_shapes(tiny_generator):
    features = 30.0 * jax.random.normal(jax.random.key(0), (5, 7, 4))
    colours, density = tiny_generator.decoder(features)
    assert colours.shape == (5, 7, 6)
    assert density.shape == (5, 7)
    assert -0.001 <= jnp.min(colours) < 0.0 and 1.0 < jnp.max(colours) <= 1.001 + 1e-6
    assert jnp.min(density) < 0.0  # no activation yet
