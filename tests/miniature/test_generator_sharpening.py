"""Sharpening: parts of pictures that fit together, and steps that train G2 alone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from eg3d_jax import PRESETS, TriPlaneGenerator
from eg3d_jax.config import BackboneConfig, DiscriminatorConfig
from miniature import generator_sharpening, views
from miniature.generator_sharpening import Pool, draw_parts, sharpen


@pytest.fixture
def pool() -> Pool:
    """Three heads whose features and pictures say where each pixel is."""
    columns, rows = np.meshgrid(np.arange(8), np.arange(8))
    head = np.broadcast_to(np.arange(3)[:, None, None], (3, 8, 8))
    features = np.stack([head, *np.broadcast_arrays(columns, head)[:1], *np.broadcast_arrays(rows, head)[:1]], axis=-1)
    image = features.repeat(2, axis=1).repeat(2, axis=2)
    camera = np.concatenate([np.eye(4).ravel(), np.eye(3).ravel()])
    return Pool(
        features.astype(np.float16),
        np.arange(3.0)[:, None, None] * np.ones((1, 2, 4)),
        np.tile(camera, (3, 1)),
        image.astype(np.float16),
    )


def test_parts_of_features_pictures_and_cameras_belong_together(pool: Pool):
    batch = jax.jit(draw_parts)(pool, jax.random.key(0))
    np.testing.assert_array_equal(batch.features.repeat(2, axis=1).repeat(2, axis=2), batch.image)
    np.testing.assert_array_equal(batch.features[:, 0, 0, 0], batch.ws[:, 0, 0])
    corner = batch.features[:, 0, 0, 1:] / 8
    expected = views.crop(
        jnp.asarray(pool.camera[:1], jnp.float32).repeat(len(corner), 0), corner, generator_sharpening.PART
    )
    np.testing.assert_allclose(batch.camera, expected, atol=1e-6)
    assert len(np.unique(np.asarray(corner), axis=0)) > 2
    assert len(np.unique(batch.ws[:, 0, 0])) > 1


@pytest.fixture
def generator(random_network: Callable[..., TriPlaneGenerator]) -> TriPlaneGenerator:
    config = PRESETS['miniature']
    small = replace(
        config,
        backbone=BackboneConfig(resolution=8, plane_channels=4, channel_base=64, channel_max=8),
        rendering=replace(config.rendering, neural_resolution=16, depth_resolution=4, importance_resolution=0),
        superresolution=replace(config.superresolution, input_resolution=16, channels=(6, 4)),
    )
    return random_network(lambda: TriPlaneGenerator(small, rngs=nnx.Rngs(0)))


def test_g2_alone_is_trained(generator: TriPlaneGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    critic = DiscriminatorConfig(image_resolution=16, channel_base=64, channel_max=8, mapping_layers=1)
    monkeypatch.setattr(generator_sharpening, 'DISCRIMINATOR', critic)
    monkeypatch.setattr(generator_sharpening, 'save_preview', lambda *_: None)
    random = np.random.default_rng(0)
    ws = random.standard_normal((16, generator.config.num_ws, generator.config.w_dim))
    camera = np.tile(np.concatenate([np.eye(4).ravel(), np.eye(3).ravel()]), (16, 1))
    features = random.standard_normal((16, 16, 16, generator.config.decoder.feature_channels))
    drawn = Pool(features, ws, camera, random.uniform(-1, 1, (16, 32, 32, 3)))
    np.savez(tmp_path / 'pool_16_0.npz', **{name: value.astype(np.float16) for name, value in drawn._asdict().items()})
    before = {path: np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(nnx.state(generator))}
    assert sharpen(generator, tmp_path, 3, 16, seed=0) > 0
    after = {path: np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(nnx.state(generator))}
    changed = {path[0] for path, value in after.items() if not np.array_equal(value, before[path])}
    assert changed == {'superresolution'}


def test_weakened_weights_lie_between(generator: TriPlaneGenerator):
    initial = jax.tree.map(jnp.copy, generator)
    trained = nnx.state(generator.superresolution, nnx.Param)
    nnx.update(generator.superresolution, jax.tree.map(lambda leaf: leaf + 1.0, trained))
    generator_sharpening.weaken(generator, initial, 0.25)
    moved = jax.tree.map(
        lambda a, b: np.asarray(b - a),
        nnx.state(initial.superresolution, nnx.Param),
        nnx.state(generator.superresolution, nnx.Param),
    )
    for change in jax.tree.leaves(moved):
        np.testing.assert_allclose(change, 0.25, atol=1e-6)
    assert jax.tree.leaves(moved)
