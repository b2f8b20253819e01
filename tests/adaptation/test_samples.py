"""The layout of sample pictures, and that both rows show the same heads."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import eg3d_jax
from adaptation.leaves import with_leaves
from adaptation.samples import GAP, LARGEST_TILE, VIEW_YAWS, SampleGrid, compose, make_generate, save_picture


def flat(*colours: float, side: int = 8) -> np.ndarray:
    """[1, V, side, side, 3]: one head whose views are flat."""
    return np.broadcast_to(np.asarray(colours, np.float32)[None, :, None, None, None], (1, len(colours), side, side, 3))


class TestCompose:
    def test_reference_left_source_above_adapted(self):
        reference = np.full((30, 30, 3), 1.0, np.float32)
        picture = compose(reference, flat(-1.0, 0.0, 0.5), flat(-0.5, 0.25, 2.0))
        high = 2 * 8 + GAP
        assert picture.shape == (high, high + GAP + 3 * 8, 3)
        assert (picture[:, :high] == 255).all()
        rows = picture[[4, high - 4]][:, [high + GAP + 4, high + GAP + 12, high + GAP + 20], 0]
        np.testing.assert_array_equal(rows, [[0, 128, 191], [64, 159, 255]])  # 2.0 is cut off at white

    def test_large_images_are_reduced(self):
        images = flat(0.0, side=2 * LARGEST_TILE)
        assert compose(images[0, 0], images, images).shape[0] == 2 * LARGEST_TILE + GAP


def test_picture_on_disk_is_the_picture(tmp_path: Path):
    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    save_picture(tmp_path / 'samples' / '000001.png', picture)
    np.testing.assert_array_equal(Image.open(tmp_path / 'samples' / '000001.png'), picture)
    assert [path.name for path in (tmp_path / 'samples').iterdir()] == ['000001.png']


def test_grid_shows_each_head_from_three_sides_in_both_rows(tiny_generator: eg3d_jax.TriPlaneGenerator):
    calls = []

    def generate(generator: object, z: jax.Array, camera: jax.Array, conditioning: jax.Array) -> jax.Array:
        calls.append((generator, z, camera, conditioning))
        return jnp.zeros((len(z), 8, 8, 3))

    camera, reference = tiny_generator.config.camera, np.zeros((8, 8, 3), np.float32)
    grid = SampleGrid(generate, tiny_generator, reference, camera, jax.random.key(0), heads=3, batch_size=2)
    adapted = with_leaves(tiny_generator, {})
    picture = grid.draw(adapted)
    assert picture.shape == (16 + GAP, (16 + GAP) + 3 * (GAP + 3 * 8), 3)
    grid.draw(adapted)  # the source's row is kept: five batches of two for each row of nine views
    assert [generator is adapted for generator, *_ in calls] == [False] * 5 + [True] * 10

    z, cameras, conditioning = (np.concatenate([call[i] for call in calls[:5]])[:9] for i in (1, 2, 3))
    for row in (calls[5:10], calls[10:]):
        np.testing.assert_array_equal(np.concatenate([call[1] for call in row])[:9], z)
        np.testing.assert_array_equal(np.concatenate([call[2] for call in row])[:9], cameras)
    np.testing.assert_array_equal(z, np.repeat(z[::3], 3, axis=0))
    assert not np.allclose(z[0], z[3])
    places = cameras[:, [3, 11]] / np.linalg.norm(cameras[:, [3, 11]], axis=1, keepdims=True)
    np.testing.assert_allclose(np.arctan2(places[:, 0], places[:, 1]), VIEW_YAWS * 3, atol=1e-6)
    np.testing.assert_allclose(conditioning, np.tile(cameras[1], (9, 1)), atol=1e-6)


def test_nothing_is_drawn_once_stopped(tiny_generator: eg3d_jax.TriPlaneGenerator):
    calls = []

    def generate(generator: object, z: jax.Array, camera: jax.Array, conditioning: jax.Array) -> jax.Array:
        calls.append(generator)
        return jnp.zeros((len(z), 8, 8, 3))

    camera, reference = tiny_generator.config.camera, np.zeros((8, 8, 3), np.float32)
    grid = SampleGrid(generate, tiny_generator, reference, camera, jax.random.key(0), heads=1, batch_size=2)
    assert grid.draw(tiny_generator, lambda: len(calls) == 1) is None  # in the source's row
    assert len(calls) == 1
    assert grid.draw(tiny_generator, lambda: len(calls) == 4) is None  # in the adapted row
    assert len(calls) == 4
    assert grid.draw(tiny_generator) is not None
    assert len(calls) == 6


def test_generate_is_the_deterministic_generator(tiny_generator: eg3d_jax.TriPlaneGenerator):
    z = jax.random.normal(jax.random.key(0), (2, 8))
    camera, conditioning = (
        eg3d_jax.cameras.sample_poses(jax.random.key(seed), 2, tiny_generator.config.camera) for seed in (1, 2)
    )
    generated = make_generate(0.5)(tiny_generator, z, camera, conditioning)

    @jax.jit
    def stages(generator: eg3d_jax.TriPlaneGenerator) -> jax.Array:
        ws = generator.mapping(z, conditioning, 0.5)
        return generator.superresolve(generator.render(generator.planes(ws), camera).feature_image, ws)

    expected = stages(tiny_generator)
    np.testing.assert_allclose(generated, expected, rtol=1e-4, atol=1e-4)
