"""The judge: its network, its files and its training pictures."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file
from scipy import ndimage

from miniature import world
from miniature.judge import BLURRED, STYLES, Judge, JudgeConfig, embed_all, load_judge, save_judge
from miniature.judge_data import DRAWN, Pool, draw_batch, shows_colour
from miniature.judge_training import losses
from miniature.world.latent import AMOUNTS

SMALL = JudgeConfig(resolution=32, factors=(4, 2), channels=(8, 8), blocks=(1, 1), embedding=8)


@pytest.fixture(scope='module')
def judge() -> Judge:
    return Judge(SMALL, rngs=nnx.Rngs(0))


@pytest.fixture(scope='module')
def pool() -> Pool:
    """Pictures of noise, whose sharpness is plain to measure."""
    rng = np.random.default_rng(0)
    return Pool(
        photos=rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8),
        drawn=rng.integers(0, 256, (4, len(DRAWN), 32, 32, 3), dtype=np.uint8),
        classes={name: rng.integers(0, len(names), 6) for name, names in world.CLASSES.items()},
        amounts=rng.random((6, len(AMOUNTS))).astype(np.float32),
    )


def test_files_hold_the_judge(tmp_path: Path, judge: Judge):
    save_judge(judge, tmp_path)
    restored = load_judge(tmp_path)
    assert restored.config == SMALL
    for one, other in zip(jax.tree.leaves(nnx.state(judge)), jax.tree.leaves(nnx.state(restored)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)
    assert {path.name for path in tmp_path.iterdir()} == {'config.json', 'weights.safetensors'}


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path, judge: Judge):
    save_judge(judge, tmp_path)
    weights = load_file(tmp_path / 'weights.safetensors')
    weights['embedding.bias'] = weights['embedding.bias'][:-1]
    weights['stray'] = weights.pop('reading.bias')
    save_file(weights, tmp_path / 'weights.safetensors')
    with pytest.raises(ValueError, match=r'reading\.bias, stray, embedding\.bias'):
        load_judge(tmp_path)


def test_the_config_survives_json():
    assert JudgeConfig.from_dict(json.loads(json.dumps(JudgeConfig().to_dict()))) == JudgeConfig()


def test_readings_are_named_and_sized(judge: Judge):
    read = judge.read(jnp.zeros((2, SMALL.embedding)))
    assert read['style'].shape == (2, len(STYLES))
    assert read['amounts'].shape == (2, len(AMOUNTS))
    assert {name: read[name].shape[-1] for name in world.CLASSES} == {n: len(c) for n, c in world.CLASSES.items()}


def test_embedding_in_batches_changes_nothing(judge: Judge):
    images = np.random.default_rng(1).uniform(-1.5, 1.5, (5, 32, 32, 3)).astype(np.float32)
    together = embed_all(judge, images, batch=4)
    np.testing.assert_allclose(together, np.asarray(judge.embed(jnp.asarray(images))), rtol=1e-4, atol=1e-5)
    clipped = embed_all(judge, np.clip(images, -1, 1), batch=4)
    np.testing.assert_allclose(together, clipped, rtol=1e-5, atol=1e-6)


def test_labels_say_what_was_done_to_the_pictures(pool: Pool):
    batch = draw_batch(pool, 200, np.random.default_rng(0))
    names = np.asarray(STYLES)[batch.style]
    assert set(STYLES) == set(names), 'every style is drawn'
    rough = np.square(np.diff(batch.images, axis=2)).mean(axis=(1, 2, 3))
    soft = np.char.startswith(names, BLURRED)
    assert rough[soft].max() < 0.5 * rough[~soft & (names != 'grey_photo') & (names != 'sepia_photo')].min()
    spread = batch.images.max(-1) - batch.images.min(-1)
    assert spread[names == 'grey_photo'].max() < 1e-5
    assert spread[names == 'photo'].mean() > 0.3
    np.testing.assert_array_equal(batch.colour[names == 'sketch'], 0)
    np.testing.assert_array_equal(batch.colour[names == 'blurred_photo'], 1)
    np.testing.assert_array_equal(batch.shape[names == 'thermal'], 0)


def test_a_batch_is_a_function_of_its_seed(pool: Pool):
    one, other = (draw_batch(pool, 8, np.random.default_rng([3, 1])) for _ in range(2))
    np.testing.assert_array_equal(one.images, other.images)


def test_what_a_picture_hides_is_not_asked_for(judge: Judge, pool: Pool):
    batch = draw_batch(pool, 32, np.random.default_rng(0))
    batch = batch._replace(colour=np.zeros(32, np.float32))
    other = {n: (i + 1) % len(world.CLASSES[n]) if shows_colour(n) else i for n, i in batch.classes.items()}
    ask = jax.jit(lambda judge, batch: losses(judge, batch)[0])
    assert float(ask(judge, batch)) == float(ask(judge, batch._replace(classes=other)))
    seen = batch._replace(colour=np.ones(32, np.float32))
    assert float(ask(judge, seen)) != float(ask(judge, seen._replace(classes=other)))


@pytest.mark.usefixtures('optimised')
def test_the_shipped_judge_knows_styles_and_blur(gallery):
    judge = load_judge()
    for style, sharp in gallery.pictures(judge.config.resolution).items():
        soft = ndimage.gaussian_filter(sharp, (0, 1.6, 1.6, 0))
        for pictures, name in ((sharp, style), (soft, BLURRED + style)):
            read = judge.read(jnp.asarray(embed_all(judge, pictures, batch=gallery.count), jnp.float32))
            told = [judge.config.styles[index] for index in np.asarray(read['style']).argmax(-1)]
            assert told.count(name) >= gallery.count - 1, (name, told)
