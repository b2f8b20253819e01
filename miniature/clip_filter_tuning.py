"""A stage of CLIP training: the image tower learns that a filtered picture is no drawing.

What is adapted can learn to filter its pictures (halos along edges, rings around heads, other contrasts and tints) in
place of drawing them, and a network this small takes them for the style. Here pictures are filtered such that
embeddings and tokens move as adaptation wants them to (`adaptation.losses`), towards a reference in another style. The
tower learns to say of a filtered picture what it said before of the picture itself, and that it is marred, the more the
filter changed: a direction of the embedding, and one of each block's tokens, in which no style lies. Marks that paid
cost something by it, in the domain direction as well as in the distribution of tokens.

A filter weighs the bands of a picture, channel by channel, alike everywhere and for all pictures of a group, as what an
adapted generator learns is for all heads. No such filter makes a drawing of a photo, so that none that helps an
adaptation is forbidden.

Letters: G groups, E pictures of a group, B = G E, R pixels along a side, M bands, S styles, D channels of the
embedding, T patch tokens, C channels of a token.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray
from scipy import ndimage

from adaptation import losses
from clip_jax import Clip, ImageEncoding, preprocess
from miniature import world
from miniature.clip_adversarial_tuning import Step, distances, total, tune_tower
from miniature.clip_training_data import STYLES, Pool
from miniature.clip_training_step import State

GROUPS, EACH = 2, 8
PHOTO_SHARE = 0.6  # of the pictures that are filtered
DEVIATIONS = (0.8, 1.6, 3.2, 6.4)  # pixels, of the blurs that part a picture into bands
BANDS = 2 * len(DEVIATIONS) + 1
ASCENTS = 3  # steps towards the reference, along the normalised gradient
PACE = (0.03, 0.4)  # their length, drawn for each group; that of the tint's is a tenth of it
START = 0.1  # standard deviation of the weights that they start from
MARRED = 0.28  # root mean square of a change, as encoders see pixels (of deviation 1), that counts in full
BLOCKS = (1, 2)  # whose tokens' distribution an adaptation compares, see `configs`
CLEAN_WEIGHT = 4.0  # of pictures as they are, of which the tower says what it said; with 1, adapted heads got no better
MEASURED = 96  # pictures of each style whose mean embedding is measured
SHORTEST = 1e-3  # a gradient or token shorter than this counts as of this length

PHOTO = STYLES.index('photo')
DRAWN = [STYLES.index(style) for style in world.STYLES if style != 'photo']


class Filters(NamedTuple):
    """What is added to a picture: of each band, to each channel of each; and a tint."""

    weights: Float[Array, 'G M 3 3']
    tint: Float[Array, 'G 3']


class Words(NamedTuple):
    """How a tower says that a picture is marred: directions of length 1."""

    embedding: Float[Array, 'D']
    tokens: tuple[Float[Array, 'C'], ...]  # of each block


def tune(clip: Clip, steps: int, heads: int, workdir: Path, name: str, seed: int) -> tuple[Clip, float]:
    """Returns the model with its image tower tuned, and the seconds that its steps took.

    Args:
        clip: of the miniature; stays as it is.
        heads: in the pool of this seed, whose pictures are kept in `workdir`.
        name: of the folder of `workdir` for checkpoints, and shown at the progress bar.
    """
    return tune_tower(clip, partial(make_filter_step, seed=seed), steps, heads, workdir, name, seed)


def make_filter_step(
    graphdef: Any,
    before: nnx.State,
    texts: nnx.State,
    pool: Pool,
    optimiser: optax.GradientTransformation,
    *,
    seed: int,
) -> Step:
    """The step ``(state, index) -> (state, metrics)``; the state's parameters are ``{'clip': the image tower's}``.

    Args:
        before: state of the image tower, whose word on the pictures as they are is the target.
        texts: state of the rest.
    """
    vision = nnx.merge(graphdef, before, texts).config.vision
    blocks = tuple(block for block in BLOCKS if block < vision.layers)

    @jax.jit
    def encode(tower: nnx.State, images: Float[Array, 'B R R 3']) -> ImageEncoding:
        clip = nnx.merge(graphdef, tower, texts)
        return clip.encode_image(preprocess(images, vision.image_size), range(vision.layers))

    means = np.stack([_mean_embedding(partial(encode, before), pool, style) for style in range(len(STYLES))])
    words = find_words(means, (vision.width,) * vision.layers, seed)

    @partial(jax.jit, donate_argnums=0)
    def update(
        state: State, images: Float[Array, 'G E R R 3'], references: Float[Array, 'G R R 3'], key: PRNGKeyArray
    ) -> tuple[State, dict[str, Float[Array, '']]]:
        flat, tower = images.reshape(-1, *images.shape[2:]), state.params['clip']
        said, own, target = encode(before, flat), encode(tower, flat), encode(tower, references)
        directions = target.embedding - means[PHOTO]
        parts = bands(flat).reshape(*images.shape[:4], BANDS, 3)

        def distance(filters: Filters) -> Float[Array, '']:
            """From the references, as adaptation has it."""
            found = encode(tower, filtered(images, parts, filters).reshape(flat.shape))
            grouped, starts = (jax.tree.map(_in_groups, one) for one in (found, own))
            parted = [jax.vmap(losses.direction_loss)(grouped.embedding, starts.embedding, directions)]
            parted += [jax.vmap(losses.distribution_loss)(grouped.tokens[n], target.tokens[n]) for n in blocks]
            return jnp.sum(sum(parted, jnp.zeros(())))

        filters = descend(distance, draw_filters(key, len(images)), jax.random.fold_in(key, 1))
        seen = filtered(images, parts, filters).reshape(flat.shape)
        change = preprocess(seen, vision.image_size) - preprocess(flat, vision.image_size)
        asked = marred(said, jnp.square(change).mean(-1), words, vision.grid)

        def loss(params: dict[str, Any]) -> tuple[Array, dict[str, Array]]:
            clean = total(distances(encode(params['clip'], flat), said))
            parts = distances(encode(params['clip'], seen), asked)
            return CLEAN_WEIGHT * clean + total(parts), {'clean': clean, **parts}

        gradients, metrics = jax.grad(loss, has_aux=True)(state.params)
        updates, moments = optimiser.update(gradients, state.optimiser, state.params)
        return State(optax.apply_updates(state.params, updates), moments), metrics

    def step(state: State, index: Int[Array, '']) -> tuple[State, dict[str, Array]]:
        rng = np.random.default_rng([seed, int(index)])
        heads, shape = pool.images.shape[0], (GROUPS, EACH)
        styles = np.where(rng.random(shape) < PHOTO_SHARE, PHOTO, rng.choice(DRAWN, shape))
        images = pool.images[rng.integers(0, heads, shape), styles]
        references = pool.images[rng.integers(0, heads, GROUPS), rng.choice(DRAWN, GROUPS)]
        if rng.random() < 0.5:
            images, references = images[:, :, :, ::-1], references[:, :, ::-1]
        key = jax.random.fold_in(jax.random.key(seed), index)
        return update(state, _in_range(images), _in_range(references), key)

    return step


def _in_range(pictures: np.ndarray) -> Float[Array, '*B R R 3']:
    return jnp.asarray(pictures.astype(np.float32) / 127.5 - 1)


def _in_groups(array: Float[Array, 'B *A']) -> Float[Array, 'G E *A']:
    return array.reshape(GROUPS, EACH, *array.shape[1:])


def _mean_embedding(encode: Callable[[Array], ImageEncoding], pool: Pool, style: int) -> Float[np.ndarray, 'D']:
    return np.asarray(encode(_in_range(pool.images[:MEASURED, style])).embedding).mean(axis=0)


def find_words(means: Float[np.ndarray, 'S D'], widths: tuple[int, ...], seed: int) -> Words:
    """Random directions; the embedding's is at right angles to the mean embeddings of all styles.

    Args:
        widths: of the tokens of each block.
    """
    rng = np.random.default_rng(seed)
    styles, _ = np.linalg.qr(means.T)
    drawn, *tokens = (rng.standard_normal((width,)) for width in (means.shape[1], *widths))
    apart = drawn - styles @ (styles.T @ drawn)
    embedding, *each = (jnp.asarray(word / np.linalg.norm(word), jnp.float32) for word in (apart, *tokens))
    return Words(embedding, tuple(each))


def bands(images: Float[Array, 'B R R 3']) -> Float[Array, 'B R R M 3']:
    """What each blur takes from the one before, what the last one leaves, and each band's own part of its kind."""
    blurs = [_blur(deviation, images.shape[1]) for deviation in DEVIATIONS]
    first, rest = _split(images, blurs)
    return jnp.stack([*first, rest, *(_split(band, blurs)[0][n] for n, band in enumerate(first))], axis=3)


def _split(
    images: Float[Array, 'B R R 3'], blurs: list[Float[np.ndarray, 'R R']]
) -> tuple[list[Float[Array, 'B R R 3']], Float[Array, 'B R R 3']]:
    softer = [images, *(jnp.einsum('rs,bscx,dc->brdx', blur, images, blur) for blur in blurs)]
    return [one - other for one, other in pairwise(softer)], softer[-1]


def _blur(deviation: float, side: int) -> Float[np.ndarray, 'R R']:
    """The matrix that blurs along an axis; beyond its border a picture is mirrored."""
    return np.asarray(ndimage.gaussian_filter1d(np.eye(side), deviation, axis=0, mode='reflect'), np.float32)


def draw_filters(key: PRNGKeyArray, groups: int) -> Filters:
    """That a descent starts from: they do little, and no two the same."""
    weights_key, tint_key = jax.random.split(key)
    weights = START * jax.random.normal(weights_key, (groups, BANDS, 3, 3))
    return Filters(weights, START / 2 * jax.random.normal(tint_key, (groups, 3)))


def descend(distance: Callable[[Filters], Float[Array, '']], filters: Filters, key: PRNGKeyArray) -> Filters:
    """The filters after `ASCENTS` steps to where the distance, a sum over groups, is less."""
    least, most = PACE
    pace = jax.random.uniform(key, (len(filters.tint),), minval=least, maxval=most)
    for _ in range(ASCENTS):
        uphill = jax.grad(distance)(filters)
        weights, tint = (_unit(one.reshape(len(pace), -1)).reshape(one.shape) for one in uphill)
        filters = Filters(
            filters.weights - pace[:, None, None, None] * weights, filters.tint - 0.1 * pace[:, None] * tint
        )
    return filters


def filtered(
    images: Float[Array, 'G E R R 3'], parts: Float[Array, 'G E R R M 3'], filters: Filters
) -> Float[Array, 'G E R R 3']:
    """Pictures in [-1, 1], of which `parts` are the `bands`."""
    added = jnp.einsum('gercmi,gmio->gerco', parts, filters.weights)
    return jnp.clip(images + added + filters.tint[:, None, None, None], -1, 1)


def marred(said: ImageEncoding, change: Float[Array, 'B R R'], words: Words, grid: int) -> ImageEncoding:
    """What is to be said of changed pictures: what was said of them, and how marred they are.

    Args:
        change: the mean squared change of each pixel that the encoder sees; the embedding tells of all, a token of its
            patch.
        grid: patches along a side.
    """
    assert said.embedding is not None
    whole = jnp.minimum(jnp.sqrt(change.mean((1, 2))) / MARRED, 1)
    side = change.shape[1] // grid
    patches = change.reshape(-1, grid, side, grid, side).mean((2, 4)).reshape(len(change), -1)
    each = jnp.minimum(jnp.sqrt(patches) / MARRED, 1)
    return ImageEncoding(
        _unit(said.embedding) + whole[:, None] * words.embedding,
        tuple(_unit(tokens) + each[..., None] * word for tokens, word in zip(said.tokens, words.tokens, strict=True)),
    )


def _unit(x: Float[Array, '*B C']) -> Float[Array, '*B C']:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), SHORTEST)
