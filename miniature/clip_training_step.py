"""One step of CLIP training: each picture is drawn to its caption and to the prompts that are true of it, and away from
the captions of the batch's others and from the prompts that are not.

Letters: B batch, R pixels along a side, C channels of a token, D of the embedding, T patches, M of them seen, K = M + 1
tokens, L tokens of a caption, N heads, A attributes, S styles, P parts, Q prompts, G groups of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from clip_jax import Clip, preprocess
from clip_jax.tokenizer import Tokenizer
from miniature import world
from miniature.clip_training_data import COLOURS, STYLES, Pool
from miniature.optimisers import is_matrix, muon

# Beside the contrastive loss stand three readouts, linear and dropped afterwards: a transformer of this size would need
# many times the steps to find by contrast alone what a picture and a caption consist of.
PICTURE_WEIGHT = 4.0  # attributes and style, read off the class token
CAPTION_WEIGHT = 2.0  # the same, read off the text's end
PART_WEIGHT = 1.0  # parts of the head, read off each patch token
# Captions name three to six attributes at a time; prompts name one, and are told apart within their group.
NAMED_WEIGHT = 1.0
PHOTO_SHARE = 0.25  # of the pictures of a batch; the other styles share the rest evenly
UNNAMED = -1  # stands for the class of a picture that a group of prompts does not describe
LARGEST_LOGIT_SCALE = float(np.log(100.0))  # CLIP paper, section 2.5
WEIGHT_DECAY = 0.05
CLIP_NORM = 1.0
POSITION_AMPLITUDE = 0.5  # of the waves that positions start from; about what the patch embedding starts with


class State(NamedTuple):
    """Parameters and the optimiser's state; `params` holds the model's and those of the readouts."""

    params: dict[str, Any]
    optimiser: Any


class Prompts(NamedTuple):
    """Texts that name one thing each, in groups (style, colour of the hair, ...) of which one is true of a picture."""

    ids: np.ndarray  # [Q, L] int32
    sizes: tuple[int, ...]  # of the groups, Q in all


class Targets(NamedTuple):
    """What the readouts are to say about the pool's pictures, the styles' one-hot codes, and the true prompts."""

    attributes: np.ndarray  # [N, A], standardised
    styles: np.ndarray  # [S, S], standardised
    parts: np.ndarray  # [N, T, P], shares of each patch
    named: np.ndarray  # [N, S, G] int32, the true prompt of each group, or `UNNAMED`


class Batch(NamedTuple):
    """What a step is given."""

    images: Array  # [B, R, R, 3] uint8
    ids: Array  # [B, L] int32
    facts: Array  # [B, A + S] attributes and style
    parts: Array  # [B, T, P]
    named: Array  # [B, G] int32


def make_targets(pool: Pool, parts: Float[np.ndarray, 'N T P']) -> Targets:
    """Targets of a pool; attributes and styles have mean 0 and deviation 1."""
    styles = np.eye(pool.ids.shape[1], dtype=np.float32)
    return Targets(_standardise(pool.attributes), _standardise(styles), parts, name_prompts(pool))


def name_prompts(pool: Pool) -> Int[np.ndarray, 'N S G']:
    """The true prompt of each group for each picture, or `UNNAMED`.

    Style is a group of prompts for all pictures, each of `COLOURS` one for photos, as its prompts say.
    """
    heads, styles = pool.ids.shape[:2]
    named = np.full((heads, styles, 1 + len(COLOURS)), UNNAMED, np.int32)
    named[..., 0] = np.arange(styles)
    for group, name in enumerate(COLOURS, start=1):
        named[:, STYLES.index('photo'), group] = pool.classes[name]
    return named


def make_prompts(tokenize: Tokenizer) -> Prompts:
    """The prompts that the quality is measured with: those of the style, and those of each of `COLOURS`."""
    groups = [world.class_prompts(name) for name in ('style', *COLOURS)]
    ids = tokenize([prompt for group in groups for prompt in group])
    longest = int((ids == tokenize.eos_token_id).argmax(-1).max()) + 1
    return Prompts(ids[:, :longest], tuple(map(len, groups)))


def _standardise(values: Float[np.ndarray, 'N A']) -> Float[np.ndarray, 'N A']:
    return (values - values.mean(0)) / np.maximum(values.std(0), 1e-3)


def draw(pool: Pool, targets: Targets, size: int, rng: np.random.Generator) -> Batch:
    """Random pictures, `PHOTO_SHARE` of them photos, half of them mirrored, each with one of its captions."""
    heads, _, texts = pool.ids.shape[:3]
    head, text = (rng.integers(0, count, size) for count in (heads, texts))
    style = draw_styles(size, rng)
    images, parts = pool.images[head, style], targets.parts[head]
    grid = round(parts.shape[1] ** 0.5)
    parts = parts.reshape(size, grid, grid, -1)  # [B, T, P] -> [B, G, G, P]
    mirrored = rng.random(size) < 0.5
    images[mirrored] = images[mirrored, :, ::-1]
    parts[mirrored] = parts[mirrored, :, ::-1]
    facts = np.concatenate([targets.attributes[head], targets.styles[style]], axis=1)
    return Batch(
        jnp.asarray(images),
        jnp.asarray(pool.ids[head, style, text]),
        jnp.asarray(facts),
        jnp.asarray(parts.reshape(size, grid * grid, -1)),
        jnp.asarray(targets.named[head, style]),
    )


def draw_styles(size: int, rng: np.random.Generator) -> Int[np.ndarray, 'B']:
    """Indices into `STYLES`, `PHOTO_SHARE` of them the photo's."""
    shares = np.full(len(STYLES), (1 - PHOTO_SHARE) / (len(STYLES) - 1))
    shares[STYLES.index('photo')] = PHOTO_SHARE
    return rng.choice(len(STYLES), size, p=shares)


def sine_positions(grid: int, width: int) -> Float[np.ndarray, 'T C']:
    """Waves along both axes, row by row: positions that start here need not first find out who is beside whom."""
    frequencies = 100.0 ** -np.linspace(0, 1, width // 4)
    rows, columns = np.mgrid[:grid, :grid].reshape(2, -1, 1) * frequencies
    return POSITION_AMPLITUDE * np.concatenate([np.sin(columns), np.cos(columns), np.sin(rows), np.cos(rows)], axis=1)


def initial_params(clip: Clip, targets: Targets) -> dict[str, Any]:
    """The model's weights, positions replaced by waves, and readouts that say nothing yet."""
    config = clip.config
    positions = clip.vision_model.embeddings.position_embedding.weight
    positions[...] = positions[...].at[1:].set(sine_positions(config.vision.grid, config.vision.width))
    facts = targets.attributes.shape[1] + targets.styles.shape[1]
    sizes = {
        'picture': (config.vision.width, facts),
        'caption': (config.text.width, facts),
        'part': (config.vision.width, targets.parts.shape[2]),
    }
    readouts = {
        name: {'weight': jnp.zeros((inputs, outputs)), 'bias': jnp.zeros(outputs)}
        for name, (inputs, outputs) in sizes.items()
    }
    return {'clip': nnx.state(clip), **readouts}


def seen_tokens(
    clip: Clip, pixels: Float[Array, 'B R R 3'], keep: float, key: PRNGKeyArray
) -> tuple[Float[Array, 'B K C'], Int[Array, 'B M']]:
    """The image tower's last tokens, the class token first, computed from a random share of the patches, and which
    patches these are: half the patches, half the time (arXiv 2212.00794)."""
    vision = clip.vision_model
    x = vision.embeddings(pixels)
    patches = x.shape[1] - 1
    seen = jnp.argsort(jax.random.uniform(key, (len(x), patches)), axis=1)[:, : round(keep * patches)]
    x = jnp.concatenate([x[:, :1], jnp.take_along_axis(x[:, 1:], seen[..., None], axis=1)], axis=1)
    x = vision.pre_layrnorm(x)
    for block in vision.encoder.layers:
        x = block(x)
    return vision.post_layernorm(x), seen


def contrastive(
    images: Float[Array, 'B D'], texts: Float[Array, 'B D'], logit_scale: Float[Array, '']
) -> Float[Array, '']:
    """Symmetric cross-entropy of the pairing (CLIP paper, figure 3)."""
    logits = jnp.exp(logit_scale) * images @ texts.T
    paired = jnp.diag(jax.nn.log_softmax(logits, axis=0)) + jnp.diag(jax.nn.log_softmax(logits, axis=1))
    return -jnp.mean(paired) / 2


def naming(
    images: Float[Array, 'B D'],
    prompts: Float[Array, 'Q D'],
    logit_scale: Float[Array, ''],
    sizes: tuple[int, ...],
    named: Int[Array, 'B G'],
) -> Float[Array, '']:
    """The cross-entropy of the true prompt among those of its group: the mean over the groups, of each over the
    pictures that it describes."""
    logits = jnp.exp(logit_scale) * images @ prompts.T
    groups = jnp.split(logits, np.cumsum(sizes)[:-1].tolist(), axis=1)
    means = []
    for group, true in zip(groups, named.T, strict=True):
        described = true != UNNAMED
        likelihood = jnp.take_along_axis(jax.nn.log_softmax(group), jnp.maximum(true, 0)[:, None], axis=1)[:, 0]
        means.append(-jnp.sum(likelihood * described) / jnp.maximum(described.sum(), 1))
    return jnp.mean(jnp.stack(means))


def losses(
    graphdef: Any, params: dict[str, Any], prompts: Prompts, batch: Batch, keep: float, key: PRNGKeyArray
) -> dict[str, Array]:
    """The contrastive loss, and that between prompts; the squared error of the facts read off pictures and captions;
    the cross-entropy of the parts read off the patches."""
    clip = nnx.merge(graphdef, params['clip'])
    pixels = preprocess(batch.images.astype(jnp.float32) / 127.5 - 1, clip.config.vision.image_size)
    tokens, seen = seen_tokens(clip, pixels, keep, key)
    text = clip.text_model(batch.ids)
    parts = jnp.take_along_axis(batch.parts, seen[..., None], axis=1)

    def read(name: str, x: Array) -> Array:
        return x @ params[name]['weight'] + params[name]['bias']

    images, scale = _unit(clip.visual_projection(tokens[:, 0])), clip.logit_scale[...]
    return {
        'contrastive': contrastive(images, _unit(clip.text_projection(text)), scale),
        'named': naming(images, clip.encode_text(jnp.asarray(prompts.ids)), scale, prompts.sizes, batch.named),
        'picture': jnp.mean(jnp.square(read('picture', tokens[:, 0]) - batch.facts)),
        'caption': jnp.mean(jnp.square(read('caption', text) - batch.facts)),
        'part': -jnp.mean(jnp.sum(parts * jax.nn.log_softmax(read('part', tokens[:, 1:])), axis=-1)),
    }


def _unit(x: Float[Array, 'B D']) -> Float[Array, 'B D']:
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def make_optimiser(steps: int, learning_rate: float) -> optax.GradientTransformation:
    """Muon for matrices, Adam for the rest, with warm-up and cosine decay; only matrices decay."""
    warmup = max(1, steps // 15)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, learning_rate, warmup, max(steps, warmup + 1), 0.01 * learning_rate
    )
    kinds = {
        'matrix': optax.chain(muon(), optax.add_decayed_weights(WEIGHT_DECAY)),
        'other': optax.chain(optax.clip_by_global_norm(CLIP_NORM), optax.scale_by_adam(b2=0.98)),
    }
    return optax.chain(optax.partition(kinds, _kinds), optax.scale_by_learning_rate(schedule))


def _kinds(params: dict[str, Any]) -> Any:
    """Embeddings of words, positions and patches, and the readouts, have rows of their own: not matrices to Muon."""

    def kind(path: tuple, leaf: Array) -> str:
        names = '/'.join(str(getattr(part, 'key', part)) for part in path)
        inner = names.startswith('clip') and 'embedding' not in names
        return 'matrix' if inner and is_matrix(leaf) else 'other'

    return jax.tree_util.tree_map_with_path(kind, params)


def descend(state: State, gradients: dict[str, Any], optimiser: optax.GradientTransformation) -> State:
    """The state after one update, its logit scale bounded."""
    updates, optimiser_state = optimiser.update(gradients, state.optimiser, state.params)
    params = optax.apply_updates(state.params, updates)
    scale = params['clip']['logit_scale']
    params['clip']['logit_scale'] = scale.replace(jnp.minimum(scale[...], LARGEST_LOGIT_SCALE))
    return State(params, optimiser_state)


def make_step(
    graphdef: Any,
    pool: Pool,
    targets: Targets,
    prompts: Prompts,
    optimiser: optax.GradientTransformation,
    *,
    batch_size: int,
    keep: float,
    whole_from: int,
    seed: int,
) -> Callable[[State, Int[Array, '']], tuple[State, dict[str, Array]]]:
    """The step ``(state, index) -> (state, metrics)``: a share `keep` of the patches before the step `whole_from`, all
    of them from there on."""

    @partial(jax.jit, static_argnames='keep', donate_argnums=0)
    def update(state: State, batch: Batch, key: PRNGKeyArray, keep: float) -> tuple[State, dict[str, Array]]:
        def loss(params: dict[str, Any]) -> tuple[Array, dict[str, Array]]:
            parts = losses(graphdef, params, prompts, batch, keep, key)
            readouts = (
                PICTURE_WEIGHT * parts['picture'] + CAPTION_WEIGHT * parts['caption'] + PART_WEIGHT * parts['part']
            )
            return parts['contrastive'] + NAMED_WEIGHT * parts['named'] + readouts, parts

        gradients, metrics = jax.grad(loss, has_aux=True)(state.params)
        return descend(state, gradients, optimiser), metrics

    def step(state: State, index: Int[Array, '']) -> tuple[State, dict[str, Array]]:
        number = int(index)
        batch = draw(pool, targets, batch_size, np.random.default_rng([seed, number]))
        key = jax.random.fold_in(jax.random.key(seed), index)
        return update(state, batch, key, keep if number < whole_from else 1.0)

    return step
