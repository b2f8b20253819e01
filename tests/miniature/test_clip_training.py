"""The training of the miniature's CLIPs, on pictures that need no rendering."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from clip_jax import Clip, ClipConfig, TextConfig, VisionConfig, load_clip, load_tokenizer
from clip_jax.tokenizer import Tokenizer
from miniature import (
    clip_adversarial_tuning,
    clip_filter_tuning,
    clip_text_tuning,
    clip_training,
    clip_training_data,
    clip_training_quality,
    world,
)
from miniature.clip_adversarial_tuning import change_most, distances, make_adversarial_step
from miniature.clip_text_tuning import make_text_step, split_texts
from miniature.clip_training_data import (
    COLOURS,
    RENDER_BATCH,
    STYLES,
    Pool,
    make_pool,
    make_tokenizer,
    part_shares,
    tint,
    treat,
)
from miniature.clip_training_step import (
    LARGEST_LOGIT_SCALE,
    PHOTO_SHARE,
    UNNAMED,
    Prompts,
    State,
    Targets,
    contrastive,
    draw,
    initial_params,
    make_optimiser,
    make_prompts,
    make_step,
    make_targets,
    name_prompts,
    naming,
    seen_tokens,
    sine_positions,
)

TINY = ClipConfig(
    vision=VisionConfig(image_size=16, patch_size=4, width=16, layers=1, heads=2, mlp_width=32),
    text=TextConfig(vocab_size=12, context_length=6, width=16, layers=1, heads=2, mlp_width=32, eos_token_id=11),
    embed_dim=8,
)


@pytest.fixture(scope='module')
def tiny_clip() -> Clip:
    return jax.jit(lambda: Clip(TINY, rngs=nnx.Rngs(0)))()


def flat_colours(count: int) -> np.ndarray:
    """Pictures [count, S, 32, 32, 3] of one colour each: the red of the head, the green of the style."""
    images = np.zeros((count, len(STYLES), 32, 32, 3), np.uint8)
    images[..., 0] = np.linspace(0, 255, count).astype(np.uint8)[:, None, None, None]
    images[..., 1] = np.linspace(0, 255, len(STYLES)).astype(np.uint8)[:, None, None]
    return images


def tiny_pool(count: int = 8) -> Pool:
    """Captions name the style and the head by a token each."""
    ids = np.full((count, len(STYLES), 2, 4), 11, np.int32)
    ids[..., 0] = np.arange(count)[:, None, None]
    ids[..., 1] = np.arange(len(STYLES))[:, None]
    attributes = np.linspace(0, 1, count)[:, None].astype(np.float32) * np.array([1, -2], np.float32)
    return Pool(flat_colours(count), ids, attributes, {name: np.arange(count) % 4 for name in COLOURS})


def tiny_prompts() -> Prompts:
    """A prompt for each style, and four for each of `COLOURS`, by a token each."""
    sizes = (len(STYLES), *[4] * len(COLOURS))
    first = np.concatenate([np.arange(size) for size in sizes])
    second = np.repeat(np.arange(len(sizes)), sizes)
    return Prompts(np.stack([first, second, np.full(sum(sizes), 11)], axis=1).astype(np.int32), sizes)


def tiny_targets() -> Targets:
    """Every patch is of one of two parts, by the row that it is in."""
    parts = np.zeros((8, 16, 2), np.float32)
    parts[:, :8, 0], parts[:, 8:, 1] = 1, 1
    return make_targets(tiny_pool(), parts)


def test_tokenizer_knows_every_caption_and_prompt(tmp_path):
    make_tokenizer().save(str(tmp_path / 'tokenizer.json'))
    tokenize = load_tokenizer(tmp_path, context_length=48)
    people, rng = world.sample(jax.random.key(0), 40), np.random.default_rng(0)
    texts = [text for style in STYLES for text in world.captions(people, style, rng)]
    texts += [prompt for name in ('style', 'hair_colour', 'clothes_colour') for prompt in world.class_prompts(name)]
    ids = tokenize(texts)
    unknown = make_tokenizer().token_to_id('<unk>')
    assert not (ids == unknown).any()
    assert (ids[:, -1] == tokenize.eos_token_id).all()  # none is cut
    assert ids.max() == tokenize.eos_token_id == tokenize.vocab_size - 1
    first, second, third = tokenize(['An Ukiyo-e print, of a head!', 'an ukiyo-e print of a head', 'a dinosaur'])
    np.testing.assert_array_equal(first, second)
    assert unknown in third


def test_a_tinted_sketch_has_its_lightness_from_the_sketch_and_its_colours_from_the_photo():
    rng = np.random.default_rng(0)
    photos = np.stack([np.full((8, 8, 3), colour) for colour in ((0.6, 0.3, 0.3), (0.3, 0.3, 0.6))])
    sketches = np.repeat(rng.uniform(0.2, 0.8, (2, 8, 8, 1)), 3, axis=-1)
    tinted = tint(sketches, photos, rng)
    luma = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(tinted @ luma, sketches[..., 0], atol=1e-6)
    assert (tinted[0, ..., 0] > tinted[0, ..., 2]).all()
    assert (tinted[1, ..., 0] < tinted[1, ..., 2]).all()
    np.testing.assert_allclose(tint(sketches, sketches, rng), sketches, atol=1e-6)  # no colour, no tint


def test_treatments_are_what_their_names_say():
    photos = np.random.default_rng(0).random((3, 32, 32, 3)).astype(np.float32)
    rng = np.random.default_rng(1)
    blurred = treat(photos, 'blurred', rng)
    assert np.abs(np.diff(blurred, axis=1)).mean() < 0.5 * np.abs(np.diff(photos, axis=1)).mean()
    np.testing.assert_allclose(blurred.mean((1, 2)), photos.mean((1, 2)), atol=0.02)
    grey = treat(photos, 'grey', rng)
    np.testing.assert_allclose(grey, np.repeat((photos @ [0.299, 0.587, 0.114])[..., None], 3, -1), atol=1e-6)
    sepia = treat(photos, 'sepia', rng)
    assert (sepia[..., 0] >= sepia[..., 1]).all()
    assert (sepia[..., 1] > sepia[..., 2]).all()
    assert sepia.max() <= 1


def test_pool_is_kept_and_made_again_when_the_world_changes(tmp_path, monkeypatch):
    tokenize = Tokenizer(make_tokenizer(), 48)
    rendered = []

    def pictures(key, batch):
        rendered.append(batch)
        return flat_colours(RENDER_BATCH)

    monkeypatch.setattr(clip_training_data, '_pictures', pictures)
    pool = make_pool(tmp_path, 2 * RENDER_BATCH, 0, tokenize)
    assert pool.images.shape == (2 * RENDER_BATCH, len(STYLES), 32, 32, 3)
    assert pool.ids.shape[:3] == (2 * RENDER_BATCH, len(STYLES), clip_training_data.TEXTS)
    assert (pool.ids == tokenize.eos_token_id).any(-1).all()  # trimmed to the longest, end included
    assert pool.attributes.shape == (2 * RENDER_BATCH, len(world.ATTRIBUTES))
    assert rendered == [0, 0, 1]

    again = make_pool(tmp_path, 2 * RENDER_BATCH, 0, tokenize)
    assert rendered == [0, 0, 1, 0]  # the first batch alone, to compare
    np.testing.assert_array_equal(again.ids, pool.ids)

    monkeypatch.setattr(clip_training_data, '_pictures', lambda key, batch: 255 - pictures(key, batch))
    changed = make_pool(tmp_path, 2 * RENDER_BATCH, 0, tokenize)
    assert rendered == [0, 0, 1, 0, 0, 0, 1]
    np.testing.assert_array_equal(changed.images[0], 255 - flat_colours(RENDER_BATCH)[0])
    with pytest.raises(ValueError, match='multiple of 16, got 17'):
        make_pool(tmp_path, 17, 0, tokenize)


def test_maps_of_parts_are_kept_and_become_shares_of_patches(tmp_path, monkeypatch):
    rendered, hair = [], int(world.Part.HAIR)

    def parts(key, batch):
        rendered.append(batch)
        maps = np.zeros((RENDER_BATCH, 96, 96), np.uint8)
        maps[:, :, :6] = hair  # half of the leftmost patches of a grid of 8
        return maps

    monkeypatch.setattr(clip_training_data, '_parts', parts)
    shares = part_shares(tmp_path, 2 * RENDER_BATCH, 0, 8).reshape(2 * RENDER_BATCH, 8, 8, len(world.Part))
    np.testing.assert_array_equal(shares[:, :, 0, hair], 0.5)
    np.testing.assert_array_equal(shares[:, :, 1:, 0], 1)
    np.testing.assert_allclose(shares.sum(-1), 1)
    finer = part_shares(tmp_path, 2 * RENDER_BATCH, 0, 16).reshape(2 * RENDER_BATCH, 16, 16, len(world.Part))
    np.testing.assert_array_equal(finer[:, :, 0, hair], 1)
    assert rendered == [0, 0, 1, 0]  # the other grid takes what is kept
    monkeypatch.setattr(clip_training_data, '_parts', lambda key, batch: parts(key, batch) + 1)
    changed = part_shares(tmp_path, 2 * RENDER_BATCH, 0, 8)
    np.testing.assert_array_equal(changed[..., hair + 1], shares.reshape(changed.shape)[..., hair])


def test_captions_of_the_pool_belong_to_its_heads(tmp_path, monkeypatch):
    monkeypatch.setattr(clip_training_data, '_pictures', lambda key, batch: flat_colours(RENDER_BATCH))
    backend = make_tokenizer()
    pool = make_pool(tmp_path, RENDER_BATCH, 3, Tokenizer(backend, 48))
    checked = 0
    for head in range(RENDER_BATCH):
        for style, name in enumerate(STYLES):
            for ids in pool.ids[head, style]:
                text = backend.decode(ids.tolist())
                assert text.startswith(f'<start> {world.STYLE_PHRASES[name]} of a head')
                colour = world.CLASSES['clothes_colour'][pool.classes['clothes_colour'][head]]
                if 'clothes' in text:
                    assert f'{colour} clothes' in text
                    checked += 1
    assert checked > 20


def test_contrastive_loss_is_the_papers():
    rng = np.random.default_rng(0)
    images, texts = rng.standard_normal((2, 5, 4)).astype(np.float32)
    scale = 1.3
    logits = np.exp(scale) * images.astype(np.float64) @ texts.T
    by_row = np.log(np.exp(logits).sum(1)) - np.diag(logits)
    by_column = np.log(np.exp(logits).sum(0)) - np.diag(logits)
    expected = (by_row.mean() + by_column.mean()) / 2
    actual = contrastive(jnp.asarray(images), jnp.asarray(texts), jnp.asarray(scale))
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    swapped = contrastive(jnp.asarray(texts), jnp.asarray(images), jnp.asarray(scale))
    np.testing.assert_allclose(swapped, expected, rtol=1e-5)
    paired = jnp.eye(5)
    assert contrastive(paired, paired, jnp.asarray(5.0)) < 1e-5 < contrastive(paired, paired[::-1], jnp.asarray(5.0))


def test_naming_contrasts_prompts_within_their_group():
    rng = np.random.default_rng(0)
    images, prompts = rng.standard_normal((3, 4)).astype(np.float32), rng.standard_normal((5, 4)).astype(np.float32)
    named = np.array([[1, 2], [0, UNNAMED], [1, 0]], np.int32)  # the second group does not describe the second picture
    logits = np.exp(0.7) * images.astype(np.float64) @ prompts.T
    style, colour = (part - np.log(np.exp(part).sum(1, keepdims=True)) for part in (logits[:, :2], logits[:, 2:]))
    expected = -((style[0, 1] + style[1, 0] + style[2, 1]) / 3 + (colour[0, 2] + colour[2, 0]) / 2) / 2
    actual = naming(jnp.asarray(images), jnp.asarray(prompts), jnp.asarray(0.7), (2, 3), jnp.asarray(named))
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    nothing = jnp.full((3, 2), UNNAMED)
    assert naming(jnp.asarray(images), jnp.asarray(prompts), jnp.asarray(0.7), (2, 3), nothing) == 0


def test_prompts_are_those_of_the_styles_and_of_each_colour():
    tokenize = Tokenizer(make_tokenizer(), 48)
    prompts = make_prompts(tokenize)
    assert prompts.sizes == (len(STYLES), *(len(world.CLASSES[name]) for name in COLOURS))
    assert len(prompts.ids) == sum(prompts.sizes)
    assert (prompts.ids == tokenize.eos_token_id).any(-1).all()  # trimmed to the longest, end included
    np.testing.assert_array_equal(prompts.ids[1], tokenize(['a pencil sketch of a head'])[0, : prompts.ids.shape[1]])


def test_photos_are_named_by_all_their_prompts_and_other_pictures_by_their_style():
    named = tiny_targets().named
    np.testing.assert_array_equal(named[..., 0], np.tile(np.arange(len(STYLES)), (8, 1)))
    photo = STYLES.index('photo')
    np.testing.assert_array_equal(named[:, photo, 1:], np.tile(np.arange(8)[:, None] % 4, len(COLOURS)))
    assert (np.delete(named, photo, axis=1)[..., 1:] == UNNAMED).all()


def test_all_patches_give_the_models_own_embedding(tiny_clip):
    """Whatever the order that they come in."""
    pixels = jax.random.normal(jax.random.key(0), (2, 16, 16, 3))
    tokens, seen = seen_tokens(tiny_clip, pixels, 1.0, jax.random.key(1))
    np.testing.assert_array_equal(np.sort(seen), np.tile(np.arange(16), (2, 1)))
    image = tiny_clip.visual_projection(tokens[:, 0])
    expected = tiny_clip.encode_image(pixels).embedding
    np.testing.assert_allclose(image / jnp.linalg.norm(image, axis=-1, keepdims=True), expected, atol=1e-5)


def test_a_share_of_the_patches_is_all_that_is_seen(tiny_clip):
    pixels = jax.random.normal(jax.random.key(0), (1, 16, 16, 3))

    def reaches(key):
        gradient, seen = jax.grad(
            lambda x: (lambda tokens, seen: (tokens[0, 0, 0], seen))(*seen_tokens(tiny_clip, x, 0.25, key)),
            has_aux=True,
        )(pixels)
        patches = np.abs(gradient).reshape(4, 4, 4, 4, 3).sum((1, 3, 4)).reshape(16)  # [G, P, G, P, 3] -> [T]
        np.testing.assert_array_equal(np.flatnonzero(patches), np.sort(seen[0]))
        return patches > 0

    first, second = reaches(jax.random.key(1)), reaches(jax.random.key(2))
    assert first.sum() == second.sum() == 4
    assert (first != second).any()


def test_batches_follow_the_seed_and_pair_pictures_with_what_is_known():
    pool, targets = tiny_pool(), tiny_targets()
    np.testing.assert_allclose(targets.attributes.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(targets.attributes.std(0), 1, atol=1e-6)
    batches = [draw(pool, targets, 64, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(batches[0].images, batches[1].images)
    assert (batches[0].ids != batches[2].ids).any()
    head, style = batches[0].ids[:, 0], batches[0].ids[:, 1]
    np.testing.assert_array_equal(batches[0].images, pool.images[head, style])  # one colour: mirroring changes nothing
    np.testing.assert_array_equal(batches[0].facts[:, :2], targets.attributes[head])
    np.testing.assert_array_equal(batches[0].facts[:, 2:], targets.styles[style])
    np.testing.assert_array_equal(batches[0].named, targets.named[head, style])
    many = draw(pool, targets, 2000, np.random.default_rng(0)).ids[:, 1]
    shares = np.bincount(many, minlength=len(STYLES)) / 2000
    others = np.delete(shares, STYLES.index('photo'))
    np.testing.assert_allclose(shares[STYLES.index('photo')], PHOTO_SHARE, atol=0.03)
    np.testing.assert_allclose(others, (1 - PHOTO_SHARE) / len(others), atol=0.03)


def test_half_of_the_pictures_are_mirrored_with_their_parts():
    pool, targets = tiny_pool(), tiny_targets()
    images = pool.images.copy()
    images[..., :16, 2] = 255  # the left half is blue
    parts = np.zeros((8, 4, 4, 2), np.float32)
    parts[:, :, :2, 0], parts[:, :, 2:, 1] = 1, 1  # and one part
    batch = draw(
        pool._replace(images=images), targets._replace(parts=parts.reshape(8, 16, 2)), 400, np.random.default_rng(0)
    )
    drawn, where = np.asarray(batch.images), np.asarray(batch.parts).reshape(400, 4, 4, 2)
    left = drawn[:, 0, 0, 2] == 255
    np.testing.assert_array_equal(left, drawn[:, 0, -1, 2] == 0)
    np.testing.assert_array_equal(left, where[:, 0, 0, 0] == 1)
    assert 150 < left.sum() < 250
    assert (images[..., :16, 2] == 255).all()  # the pool itself is left alone
    assert (parts[:, :, :2, 0] == 1).all()


def test_positions_start_as_waves_that_tell_places_apart():
    waves = sine_positions(4, 16)
    assert waves.shape == (16, 16)
    distances = np.linalg.norm(waves[:, None] - waves, axis=-1)
    assert distances[~np.eye(16, dtype=bool)].min() > 0.1
    assert distances[0, 1] < distances[0, 2] < distances[0, 3]  # neighbours are alike
    np.testing.assert_allclose(distances[0, 1], distances[0, 4])  # along both axes


STEPS = 60


@pytest.fixture(scope='module')
def train_tiny(tiny_clip):
    """Callable: (clip, steps) -> the state after the first so many of `STEPS` steps, and their losses.

    The step is compiled once; one that sees a share of the patches is compiled by the test of the command.
    """
    pool, targets = tiny_pool(), tiny_targets()
    optimiser = make_optimiser(STEPS, 3e-3)
    start = jax.jit(optimiser.init)
    step = make_step(
        nnx.graphdef(tiny_clip),
        pool,
        targets,
        tiny_prompts(),
        optimiser,
        batch_size=16,
        keep=1.0,
        whole_from=STEPS // 2,
        seed=0,
    )

    def train(clip, steps: int):
        params = jax.tree.map(jnp.copy, initial_params(nnx.clone(clip), targets))  # the step donates them
        state, history = State(params, start(params)), []
        for index in range(steps):
            state, metrics = step(state, jnp.int32(index))
            history.append({name: float(value) for name, value in metrics.items()})
        return state, history

    return train


def test_training_lowers_every_loss_and_is_reproducible(tiny_clip, train_tiny):
    state, history = train_tiny(tiny_clip, STEPS)
    same, _ = train_tiny(tiny_clip, STEPS)
    for name in ('contrastive', 'named', 'picture', 'caption', 'part'):
        before, after = (np.mean([metrics[name] for metrics in part]) for part in (history[:5], history[-5:]))
        assert after < 0.85 * before, name
    for left, right in zip(jax.tree.leaves(state), jax.tree.leaves(same), strict=True):
        np.testing.assert_array_equal(left, right)


def test_logit_scale_stays_bounded(tiny_clip, train_tiny):
    clip = nnx.clone(tiny_clip)
    clip.logit_scale[...] = jnp.asarray(9.0)
    state, _ = train_tiny(clip, 2)
    assert LARGEST_LOGIT_SCALE - 0.1 < state.params['clip']['logit_scale'][...] <= LARGEST_LOGIT_SCALE


def test_the_text_tower_is_tuned_alone_and_finds_the_pictures(tiny_clip):
    pool = tiny_pool()
    pictures = np.random.default_rng(1).standard_normal((8, len(STYLES), TINY.embed_dim)).astype(np.float32)
    pictures /= np.linalg.norm(pictures, axis=-1, keepdims=True)
    graphdef, texts, rest = split_texts(tiny_clip)
    assert set(texts) == {'text_model', 'text_projection', 'logit_scale'}
    assert set(rest) == {'vision_model', 'visual_projection'}
    optimiser = make_optimiser(STEPS, 1e-2)
    step = make_text_step(
        graphdef, rest, pool, pictures, name_prompts(pool), tiny_prompts(), optimiser, batch_size=32, seed=0
    )
    params = {'clip': jax.tree.map(jnp.copy, texts)}
    state, history = State(params, jax.jit(optimiser.init)(params)), []
    for index in range(STEPS):
        state, metrics = step(state, jnp.int32(index))
        history.append({name: float(value) for name, value in metrics.items()})
    assert set(state.params['clip']) == set(texts)
    for name in ('contrastive', 'named'):
        before, after = (np.mean([metrics[name] for metrics in part]) for part in (history[:5], history[-5:]))
        assert after < 0.85 * before, name


def test_a_picture_is_changed_within_its_range_and_such_that_the_objective_grows():
    images = jnp.asarray(np.random.default_rng(0).uniform(-0.5, 0.5, (4, 6, 6, 3)), jnp.float32)
    changed = change_most(lambda x: jnp.sum(x[:, :3]) - jnp.sum(x[:, 3:]), images, jax.random.key(0))
    change = np.asarray(changed - images)
    assert np.abs(change).max() <= clip_adversarial_tuning.RANGE + 1e-6
    assert (change[:, :3] > 0).all()
    assert (change[:, 3:] < 0).all()
    largest = np.abs(change).max(axis=(1, 2, 3))
    assert (np.abs(change) > 0.49 * largest[:, None, None, None]).all()  # from wherever it starts
    assert len(np.unique(largest.round(4))) == 4  # each has a range of its own
    assert np.abs(np.asarray(change_most(jnp.sum, images + 10, jax.random.key(0)))).max() <= 1


def test_the_image_tower_is_tuned_alone_and_is_harder_to_fool(tiny_clip, monkeypatch):
    monkeypatch.setattr(clip_adversarial_tuning, 'RANGE', 0.5)
    monkeypatch.setattr(clip_adversarial_tuning, 'LEARNING_RATE', 1e-2)
    graphdef, texts, tower = split_texts(tiny_clip)
    pool = tiny_pool()._replace(
        images=np.random.default_rng(1).integers(0, 256, (8, len(STYLES), 16, 16, 3), dtype=np.uint8)
    )
    optimiser = clip_adversarial_tuning.make_optimiser(STEPS)
    step = make_adversarial_step(graphdef, tower, texts, pool, optimiser, batch_size=16, seed=0)
    params = {'clip': jax.tree.map(jnp.copy, tower)}
    state, history = State(params, jax.jit(optimiser.init)(params)), []
    for index in range(STEPS):
        state, metrics = step(state, jnp.int32(index))
        history.append({name: float(value) for name, value in metrics.items()})
    assert set(state.params['clip']) == {'vision_model', 'visual_projection'}
    for name in ('embedding', 'tokens'):
        before, after = (np.mean([metrics[name] for metrics in part]) for part in (history[:5], history[-5:]))
        assert after < 0.85 * before, name


def test_distances_are_none_of_what_is_alike_and_two_of_opposites(tiny_clip):
    said = tiny_clip.encode_image(jnp.zeros((2, 16, 16, 3)), (0,))
    opposite = said._replace(embedding=-said.embedding, tokens=tuple(-tokens for tokens in said.tokens))
    for now, value in ((said, 0), (opposite, 2)):
        assert {name: float(part) for name, part in distances(now, said).items()} == pytest.approx(
            {'embedding': value, 'tokens': value}, abs=1e-5
        )


def test_retrieval_counts_both_directions():
    rng = np.random.default_rng(0)
    texts = rng.standard_normal((128, 32))
    assert clip_training_quality._retrieval(texts, texts) == 1
    assert clip_training_quality._retrieval(rng.standard_normal((1280, 32)), rng.standard_normal((1280, 32))) < 0.05
    collapsed = np.tile(texts[:1], (128, 1))  # all pictures alike: each finds the same caption
    assert clip_training_quality._retrieval(collapsed, texts) <= 2 / 64


def test_the_command_writes_a_checkpoint_and_its_recipe(tmp_path, monkeypatch):
    """From pictures to weights, with the pictures replaced by noise."""

    def pictures(key, batch):
        shape = (RENDER_BATCH, len(STYLES), 24, 24, 3)
        return np.random.default_rng(batch).integers(0, 256, shape, np.uint8)

    tower = dataclasses.replace(TINY.vision, image_size=16)

    def part_shares(directory, heads, seed, grid):
        return np.full((heads, grid * grid, 2), 0.5, np.float32)

    monkeypatch.setattr(clip_training_data, '_pictures', pictures)
    monkeypatch.setattr(clip_training, 'part_shares', part_shares)
    monkeypatch.setattr(clip_training_quality, 'HEADS', 64)
    monkeypatch.setattr(clip_training, 'BATCH', 8)
    monkeypatch.setattr(clip_text_tuning, 'BATCH', 8)
    monkeypatch.setattr(clip_adversarial_tuning, 'BATCH', 4)
    monkeypatch.setattr(clip_filter_tuning, 'EACH', 2)
    monkeypatch.setitem(
        clip_training.PRESETS, 'miniature', ClipConfig(tower, dataclasses.replace(TINY.text, context_length=48), 8)
    )
    arguments = ['--encoder=patch8', f'--output={tmp_path / "out"}', f'--workdir={tmp_path / "work"}']
    steps = ['--steps=3', '--adversarial-steps=2', '--filter-steps=1', '--text-steps=2']
    assert clip_training.main([*arguments, *steps, '--heads=16', '--seed=5']) == 0
    clip = load_clip(tmp_path / 'out')
    assert load_tokenizer(tmp_path / 'out')(['a head']).shape == (1, 48)
    recipe = json.loads((tmp_path / 'out' / 'recipe.json').read_text())
    assert recipe['settings'] == {
        'seed': 5,
        'steps': 3,
        'batch': 8,
        'adversarial_steps': 2,
        'adversarial_batch': 4,
        'adversarial_range': clip_adversarial_tuning.RANGE,
        'filter_steps': 1,
        'filter_batch': clip_filter_tuning.GROUPS * 2,
        'filter_pace': list(clip_filter_tuning.PACE),
        'filter_clean_weight': clip_filter_tuning.CLEAN_WEIGHT,
        'text_steps': 2,
        'text_batch': 8,
        'heads': 16,
        'parameters': sum(leaf.size for leaf in jax.tree.leaves(nnx.state(clip))),
    }
    quality = recipe['quality']
    assert {'style', 'hair_colour', 'clothes_colour', 'retrieval'} <= quality.keys()
    assert 0 <= quality['style'] < 0.5  # noise cannot be told apart

    again = ['--encoder=patch8', f'--initial={tmp_path / "out"}', f'--output={tmp_path / "tuned"}', '--heads=16']
    again += [f'--workdir={tmp_path / "again"}', '--seed=5']
    assert clip_training.main([*again, '--adversarial-steps=0', '--filter-steps=0', '--text-steps=3']) == 0
    tuned = load_clip(tmp_path / 'tuned')
    for tower, alike in (('vision_model', True), ('visual_projection', True), ('text_model', False)):
        pairs = zip(*(jax.tree.leaves(nnx.state(getattr(one, tower))) for one in (clip, tuned)), strict=True)
        assert all(np.array_equal(left, right) for left, right in pairs) == alike, tower
    made = json.loads((tmp_path / 'tuned' / 'recipe.json').read_text())
    assert made['initial'] == recipe
    assert f'--initial={tmp_path / "out"}' in made['command']
