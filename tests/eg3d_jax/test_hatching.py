"""Hatching: where its strokes run, where they are strong, and what G2 makes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eg3d_jax import TriPlaneGenerator
from eg3d_jax.hatching import ABSENT, HALF, PRESENT, STROKE, Surface, alternating, hatching, presence, strokes, tone

SIDE = 16


@pytest.fixture(scope='module')
def noise() -> jax.Array:
    return jax.random.normal(jax.random.key(0), (SIDE, SIDE))


@pytest.fixture(scope='module')
def points() -> jax.Array:
    return jax.random.uniform(jax.random.key(1), (2, 5, 5, 3), minval=-1.5, maxval=1.5)


def expected(noise: np.ndarray, point: np.ndarray) -> float:
    """The noise at one point."""
    x, y, _ = point.astype(np.float64)
    column, row = SIDE * (x + y) / np.sqrt(2), SIDE * (x - y) / np.sqrt(2) / STROKE
    left, upper = int(np.floor(column)), int(np.floor(row))
    value = 0.0
    for i, along_x in ((left, left + 1 - column), (left + 1, column - left)):
        for j, along_y in ((upper, upper + 1 - row), (upper + 1, row - upper)):
            neighbours = noise[j % SIDE, (i - 1) % SIDE] + noise[j % SIDE, (i + 1) % SIDE]
            value += along_x * along_y * (noise[j % SIDE, i % SIDE] - 0.5 * neighbours) / np.sqrt(1.5)
    return value


def test_it_is_looked_up_as_a_transcription_does(noise, points):
    found = np.asarray(strokes(noise, points))
    each = [expected(np.asarray(noise), point) for point in np.asarray(points).reshape(-1, 3)]
    np.testing.assert_allclose(found.ravel(), each, atol=1e-4)
    assert found.std() > 0.3


def test_strokes_are_longer_than_wide_and_reach_through_all_depths(noise):
    step = 0.5 / SIDE
    start = jax.random.uniform(jax.random.key(2), (1, 32, 32, 3))

    def change(x: float, y: float, z: float) -> float:
        moved = strokes(noise, start + step * jnp.array([x, y, z]))
        return float(jnp.mean(jnp.abs(moved - strokes(noise, start))))

    diagonal = np.sqrt(0.5)
    assert change(0, 0, 1) == 0
    assert change(diagonal, -diagonal, 0) < 0.3 * change(diagonal, diagonal, 0)


def test_strokes_alternate_with_gaps():
    drawn = alternating(jax.random.normal(jax.random.key(3), (256, 256)))
    np.testing.assert_allclose([drawn.mean(), drawn.std()], [0, 1], atol=0.02)
    assert jnp.mean(drawn * jnp.roll(drawn, 1, axis=1)) < -0.6  # -2/3 of endless noise
    np.testing.assert_allclose(alternating(jnp.full((4, 4), 3.0)), 0, atol=1e-6)


def test_tone_is_0_on_white_and_grows_with_darkness():
    greys = jnp.array([1.2, 1.0, 1.0 - HALF, 0.0, -1.0])
    found = np.asarray(tone(jnp.broadcast_to(greys[:, None, None, None], (5, 1, 1, 3)))).ravel()
    np.testing.assert_allclose(found, [0, 0, 0.5, 1 / (1 + HALF), 2 / (2 + HALF)], atol=1e-6)
    red = jnp.array([1.0, -1.0, -1.0])[None, None, None]
    np.testing.assert_allclose(tone(red), (4 / 3) / (4 / 3 + HALF), atol=1e-6)


def test_strokes_end_at_the_border_of_the_cube():
    along = jnp.array([0.0, PRESENT, (PRESENT + ABSENT) / 2, ABSENT, 2.0])[:, None, None, None]
    for direction in ([0.0, 0.0, -1.0], [0.6, -0.8, 0.0]):
        found = presence(along * jnp.array(direction))
        np.testing.assert_allclose(np.ravel(found), [1, 1, 0.5, 0, 0], atol=1e-5)
    slope = jax.grad(lambda points: presence(points).sum())(jnp.zeros((1, 1, 1, 3)))
    np.testing.assert_array_equal(slope, 0)  # nor is it undefined where a ray meets nothing


def test_hatching_is_the_strokes_by_tone_and_presence(noise, points):
    near, shade = points / 3, jax.random.uniform(jax.random.key(4), (2, 5, 5, 1))
    drawn = hatching(noise, Surface(near, shade))
    assert 0.1 < presence(near).mean() < 0.9
    np.testing.assert_allclose(drawn, shade * presence(near) * strokes(noise, near), atol=1e-6)
    np.testing.assert_array_equal(hatching(noise, Surface(near, jnp.zeros_like(shade))), 0)


def test_a_surface_of_another_resolution(points):
    surface = Surface(points, points[..., :1])
    assert all(one is other for one, other in zip(surface.resized((5, 5)), surface, strict=True))
    assert [one.shape for one in surface.resized((10, 10))] == [(2, 10, 10, 3), (2, 10, 10, 1)]
    flat = jnp.stack([*jnp.meshgrid(jnp.arange(4.0), jnp.arange(4.0)), jnp.zeros((4, 4))], axis=-1)[None]
    for one in Surface(flat, flat[..., :1]).resized((8, 8)):
        np.testing.assert_allclose(one[0, 3, 2:6, 0], [0.75, 1.25, 1.75, 2.25], atol=1e-6)


class TestInG2:
    def test_strengths_of_0_leave_the_image_as_without_noise(self, tiny_generator, tiny_ws, tiny_planes, tiny_cameras):
        generator, images = with_strength(tiny_generator, 0.0), {}
        rendered = generator.render(tiny_planes, tiny_cameras)
        for mode in ('none', 'hatching'):
            images[mode] = generator.superresolve(rendered.feature_image, tiny_ws, rendered.points, noise_mode=mode)
        np.testing.assert_array_equal(images['none'], images['hatching'])

    def test_it_depends_on_the_points(self, tiny_generator, tiny_ws, tiny_planes, tiny_cameras):
        generator = with_strength(tiny_generator, 1.0)
        features, _, _, seen = generator.render(tiny_planes, tiny_cameras)
        here, there = (
            generator.superresolve(features, tiny_ws, at, noise_mode='hatching') for at in (seen, seen + jnp.array(0.3))
        )
        assert not np.allclose(here, there, atol=1e-3)

    def test_white_has_none(self, tiny_generator, tiny_ws, tiny_planes, tiny_cameras):
        generator = with_strength(tiny_generator, 1.0)
        features, _, _, seen = generator.render(tiny_planes, tiny_cameras)
        white, grey = (features.at[..., :3].set(value) for value in (1.0, 0.0))
        clean, drawn = (
            [generator.superresolve(paper, tiny_ws, seen, noise_mode=mode) for paper in (white, grey)]
            for mode in ('none', 'hatching')
        )
        np.testing.assert_array_equal(clean[0], drawn[0])
        assert not np.allclose(clean[1], drawn[1], atol=1e-2)

    def test_backgrounds_have_none(self, tiny_generator, tiny_ws, tiny_planes, tiny_cameras):
        generator = with_strength(tiny_generator, 1.0)
        features, _, _, seen = generator.render(tiny_planes, tiny_cameras)
        border = jnp.broadcast_to(jnp.array([0.0, 0.0, -ABSENT]), seen.shape) * generator.config.rendering.box_warp
        plain, walls, heads = (
            generator.superresolve(features, tiny_ws, at, noise_mode=mode)
            for at, mode in ((seen, 'none'), (border, 'hatching'), (border / 2, 'hatching'))
        )
        np.testing.assert_allclose(plain, walls, atol=1e-5)
        assert not np.allclose(plain, heads, atol=1e-2)

    def test_without_points_it_is_refused(self, tiny_generator, tiny_ws, tiny_planes, tiny_cameras):
        features = tiny_generator.render(tiny_planes, tiny_cameras).feature_image
        with pytest.raises(ValueError, match="noise_mode 'hatching' needs the points that the pixels see"):
            tiny_generator.superresolve(features, tiny_ws, noise_mode='hatching')

    def test_points_of_a_wrong_shape(self, unchecked_annotations, tiny_generator, tiny_ws, tiny_planes, tiny_cameras):
        rendered = tiny_generator.render(tiny_planes, tiny_cameras)
        with pytest.raises(ValueError, match=r'points must have shape \(3, 8, 8, 3\), got \(3, 4, 8, 3\)'):
            tiny_generator.superresolve(rendered.feature_image, tiny_ws, rendered.points[:, :4])


def with_strength(generator: TriPlaneGenerator, strength: float) -> TriPlaneGenerator:
    """A copy in which each noise of G2 has this strength."""
    copy = jax.tree.map(lambda leaf: leaf, generator)
    for block in (copy.superresolution.block0, copy.superresolution.block1):
        for layer in (block.conv0, block.conv1):
            layer.noise_strength.set_value(jnp.float32(strength))
    return copy
