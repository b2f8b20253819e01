"""The stage of CLIP training that filters pictures: what filters are, what is asked for, and what the tower learns."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from clip_jax import PRESETS, Clip, ClipConfig, ImageEncoding, VisionConfig
from miniature import clip_filter_tuning
from miniature.clip_adversarial_tuning import distances, make_optimiser
from miniature.clip_filter_tuning import (
    BANDS,
    EACH,
    Filters,
    Words,
    bands,
    descend,
    draw_filters,
    filtered,
    find_words,
    make_filter_step,
    marred,
)
from miniature.clip_text_tuning import split_texts
from miniature.clip_training_data import STYLES, Pool
from miniature.clip_training_step import State

SIDE = 16
STEPS = 30


def pictures(seed: int, count: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).uniform(-0.5, 0.5, (count, SIDE, SIDE, 3)), jnp.float32)


def no_filters(groups: int) -> Filters:
    return Filters(jnp.zeros((groups, BANDS, 3, 3)), jnp.zeros((groups, 3)))


def test_the_first_bands_add_up_to_the_picture():
    images = pictures(0, 2)
    parts = bands(images)
    assert parts.shape == (2, SIDE, SIDE, BANDS, 3)
    np.testing.assert_allclose(parts[:, :, :, : BANDS // 2 + 1].sum(axis=3), images, atol=1e-5)


def test_a_plain_picture_has_no_band_but_the_last():
    parts = bands(jnp.full((1, SIDE, SIDE, 3), 0.3))
    rest = BANDS // 2
    np.testing.assert_allclose(parts[:, :, :, rest], 0.3, atol=1e-5)
    np.testing.assert_allclose(np.delete(np.asarray(parts), rest, axis=3), 0, atol=1e-5)


def test_filters_add_bands_and_a_tint_to_all_pictures_of_a_group():
    images = pictures(1, 4).reshape(2, 2, SIDE, SIDE, 3)
    parts = bands(images.reshape(4, SIDE, SIDE, 3)).reshape(2, 2, SIDE, SIDE, BANDS, 3)
    filters = no_filters(2)
    np.testing.assert_array_equal(filtered(images, parts, filters), images)
    weights = filters.weights.at[1, 0, 0, 2].set(0.5)  # of the second group: the finest band of red, to blue
    changed = filtered(images, parts, Filters(weights, filters.tint.at[0].set(jnp.array([0.1, 0.0, -0.1]))))
    np.testing.assert_allclose(changed[0], images[0] + np.array([0.1, 0.0, -0.1]), atol=1e-6)
    added = np.zeros_like(images[1])
    added[..., 2] = 0.5 * parts[1, ..., 0, 0]
    np.testing.assert_allclose(changed[1], images[1] + added, atol=1e-6)
    assert np.abs(filtered(images, parts, Filters(weights, filters.tint + 9))).max() <= 1


def test_filters_descend_each_at_a_pace_of_its_own():
    first = draw_filters(jax.random.key(0), 4)

    def distance(filters: Filters) -> jax.Array:
        return 7 * filters.weights[:, 0, 1, 1].sum() + filters.tint[:, 2].sum()

    last = descend(distance, first, jax.random.key(1))
    moved = np.asarray(last.weights - first.weights)
    assert (moved[:, 0, 1, 1] < 0).all()
    paces = -moved[:, 0, 1, 1] / clip_filter_tuning.ASCENTS
    least, most = clip_filter_tuning.PACE
    assert ((paces >= least - 1e-4) & (paces <= most + 1e-4)).all()
    assert len(np.unique(paces.round(4))) == 4
    assert np.count_nonzero(np.abs(moved) > 1e-6) == 4
    np.testing.assert_allclose(last.tint[:, 2] - first.tint[:, 2], 0.1 * moved[:, 0, 1, 1], atol=1e-5)


def test_the_word_of_the_embedding_is_at_right_angles_to_all_styles():
    means = np.random.default_rng(3).standard_normal((len(STYLES), 32)).astype(np.float32)
    words = find_words(means, (8, 8), seed=0)
    np.testing.assert_allclose(means @ words.embedding, 0, atol=1e-5)
    for word in (words.embedding, *words.tokens):
        np.testing.assert_allclose(np.linalg.norm(word), 1, rtol=1e-5)
    assert abs(float(words.tokens[0] @ words.tokens[1])) < 0.99


def test_what_is_asked_for_tells_how_marred_a_picture_is_and_where():
    rng = np.random.default_rng(0)
    said = ImageEncoding(jnp.asarray(rng.standard_normal((2, 6))), (jnp.asarray(rng.standard_normal((2, 4, 5))),))
    words = Words(jnp.eye(6)[0], (jnp.eye(5)[1],))
    change = jnp.zeros((2, 8, 8)).at[1, :4, :4].set(1.0)  # of the second: its first patch, beyond measure
    asked = marred(said, change, words, grid=2)
    unit = said.embedding / jnp.linalg.norm(said.embedding, axis=1, keepdims=True)
    np.testing.assert_allclose(asked.embedding, unit + jnp.array([[0.0], [1.0]]) * words.embedding, atol=1e-5)
    unit = said.tokens[0] / jnp.linalg.norm(said.tokens[0], axis=2, keepdims=True)
    told = np.asarray((asked.tokens[0] - unit) @ words.tokens[0])
    np.testing.assert_allclose(told, [[0, 0, 0, 0], [1, 0, 0, 0]], atol=1e-5)


@pytest.fixture
def tiny_clip() -> Clip:
    config = ClipConfig(
        VisionConfig(width=16, layers=2, heads=2, mlp_width=32, image_size=16, patch_size=8),
        replace(PRESETS['miniature'].text, vocab_size=12, width=8, layers=1, heads=2, mlp_width=16, eos_token_id=11),
        32,
    )
    return Clip(config, rngs=nnx.Rngs(0))


def test_the_tower_learns_to_tell_filtered_pictures(tiny_clip: Clip, monkeypatch):
    """And says of pictures as they are what it said."""
    monkeypatch.setattr(clip_filter_tuning, 'PACE', (0.4, 0.4))
    images = np.random.default_rng(1).integers(0, 256, (EACH, len(STYLES), SIDE, SIDE, 3), dtype=np.uint8)
    pool = Pool(images, np.zeros((EACH, len(STYLES), 1, 1), np.int32), np.zeros((EACH, 1), np.float32), {})
    graphdef, texts, tower = split_texts(tiny_clip)
    optimiser = make_optimiser(STEPS)
    step = make_filter_step(graphdef, tower, texts, pool, optimiser, seed=0)
    params = {'clip': jax.tree.map(jnp.copy, tower)}
    state, history = State(params, jax.jit(optimiser.init)(params)), []
    for index in range(STEPS):
        state, metrics = step(state, jnp.int32(index))
        history.append({name: float(value) for name, value in metrics.items()})
    assert set(state.params['clip']) == {'vision_model', 'visual_projection'}
    for name in ('embedding', 'tokens'):
        before, after = (np.mean([metrics[name] for metrics in part]) for part in (history[:5], history[-5:]))
        assert after < 0.9 * before, name
    tuned, clean = nnx.merge(graphdef, state.params['clip'], texts), jnp.asarray(images[0, :8] / 127.5 - 1, jnp.float32)
    apart = distances(*(clip.encode_image(clean, (0, 1)) for clip in (tuned, tiny_clip)))
    assert float(apart['embedding']) < 0.1
