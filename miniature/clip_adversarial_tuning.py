"""A stage of CLIP training: the image tower is made steadfast, so that it minds what the eye minds.

A network of this size is easily fooled: faint marks that mean nothing to the eye change what it says, and an adapted
generator learns to make them instead of the style. Here each picture's pixels are changed, within a small range, such
that its embedding and its tokens move most, and the tower learns to say of the changed picture what it said before of
the picture itself. This is unsupervised adversarial fine-tuning (arXiv 2402.12336), of tokens as well as of embeddings,
since both guide.

Letters: B batch, R pixels along a side, C channels of a token or an embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from clip_jax import Clip, ImageEncoding, preprocess
from clip_jax.tokenizer import Tokenizer
from miniature.clip_text_tuning import split_texts
from miniature.clip_training_data import Pool, make_pool, make_tokenizer
from miniature.clip_training_step import State, draw_styles
from miniature.training import fit

BATCH = 32
LEARNING_RATE = 4e-4
RANGE = 0.06  # what a pixel, in [-1, 1], is changed by at most; each picture's own is drawn between 0 and this
ASCENTS = 2  # steps of the change, by the sign of the gradient
ASCENT = 0.75  # their length, as a share of the picture's range
CLIP_NORM = 1.0
SHORTEST = 1e-3  # a token shorter than this counts as of this length
CHECKPOINT_EVERY = 100  # steps

Step = Callable[[State, Int[Array, '']], tuple[State, dict[str, Array]]]


def tune(clip: Clip, steps: int, heads: int, workdir: Path, name: str, seed: int) -> tuple[Clip, float]:
    """Returns the model with its image tower tuned, and the seconds that its steps took.

    Args:
        clip: of the miniature; stays as it is.
        heads: in the pool of this seed, whose pictures are kept in `workdir`.
        name: of the folder of `workdir` for checkpoints, and shown at the progress bar.
    """
    step_of = partial(make_adversarial_step, batch_size=BATCH, seed=seed)
    return tune_tower(clip, step_of, steps, heads, workdir, name, seed)


def tune_tower(
    clip: Clip, step_of: Callable[..., Step], steps: int, heads: int, workdir: Path, name: str, seed: int
) -> tuple[Clip, float]:
    """`tune` with the step of any stage of the image tower: of a definition, both states, a pool and an optimiser."""
    pool = make_pool(workdir, heads, seed, Tokenizer(make_tokenizer(), clip.config.text.context_length))
    graphdef, texts, tower = split_texts(clip)
    optimiser = make_optimiser(steps)
    step = step_of(graphdef, tower, texts, pool, optimiser)
    params = {'clip': jax.tree.map(jnp.copy, tower)}  # the step takes its memory, and `clip` stays whole
    initial = State(params, optimiser.init(params))
    state, seconds = fit(step, initial, steps, workdir / name, name=name, checkpoint_every=CHECKPOINT_EVERY)
    return nnx.merge(graphdef, state.params['clip'], texts), seconds


def make_optimiser(steps: int) -> optax.GradientTransformation:
    """Adam with warm-up and cosine decay to nothing: the tower's weights are moved, not sought anew."""
    warmup = max(1, steps // 15)
    schedule = optax.warmup_cosine_decay_schedule(0.0, LEARNING_RATE, warmup, max(steps, warmup + 1))
    return optax.chain(optax.clip_by_global_norm(CLIP_NORM), optax.adam(schedule))


def make_adversarial_step(
    graphdef: Any,
    before: nnx.State,
    texts: nnx.State,
    pool: Pool,
    optimiser: optax.GradientTransformation,
    *,
    batch_size: int,
    seed: int,
) -> Step:
    """The step ``(state, index) -> (state, metrics)``; the state's parameters are ``{'clip': the image tower's}``.

    Args:
        before: state of the image tower, whose word on the pictures as they are is the target.
        texts: state of the rest.
    """

    def encode(tower: nnx.State, images: Float[Array, 'B R R 3']) -> ImageEncoding:
        clip = nnx.merge(graphdef, tower, texts)
        vision = clip.config.vision
        return clip.encode_image(preprocess(images, vision.image_size), range(vision.layers))

    @partial(jax.jit, donate_argnums=0)
    def update(
        state: State, images: Float[Array, 'B R R 3'], key: PRNGKeyArray
    ) -> tuple[State, dict[str, Float[Array, '']]]:
        said, tower = encode(before, images), state.params['clip']
        seen = change_most(lambda changed: total(distances(encode(tower, changed), said)), images, key)

        def loss(params: dict[str, Any]) -> tuple[Array, dict[str, Array]]:
            parts = distances(encode(params['clip'], seen), said)
            return total(parts), parts

        gradients, parts = jax.grad(loss, has_aux=True)(state.params)
        updates, moments = optimiser.update(gradients, state.optimiser, state.params)
        return State(optax.apply_updates(state.params, updates), moments), parts

    def step(state: State, index: Int[Array, '']) -> tuple[State, dict[str, Array]]:
        rng = np.random.default_rng([seed, int(index)])
        images = pool.images[rng.integers(0, pool.images.shape[0], batch_size), draw_styles(batch_size, rng)]
        mirrored = rng.random(batch_size) < 0.5
        images[mirrored] = images[mirrored, :, ::-1]
        key = jax.random.fold_in(jax.random.key(seed), index)
        return update(state, jnp.asarray(images.astype(np.float32) / 127.5 - 1), key)

    return step


def change_most(
    objective: Callable[[Float[Array, 'B R R 3']], Array], images: Float[Array, 'B R R 3'], key: PRNGKeyArray
) -> Float[Array, 'B R R 3']:
    """Pictures in [-1, 1], each changed within its own range such that the objective grows (projected ascent)."""
    range_key, start_key = jax.random.split(key)
    reach = RANGE * jax.random.uniform(range_key, (images.shape[0], 1, 1, 1))
    change = reach * jax.random.uniform(start_key, images.shape, minval=-1.0)
    for _ in range(ASCENTS):
        uphill = jax.grad(objective)(jnp.clip(images + change, -1, 1))
        change = jnp.clip(change + ASCENT * reach * jnp.sign(uphill), -reach, reach)
    return jnp.clip(images + change, -1, 1)


def distances(now: ImageEncoding, said: ImageEncoding) -> dict[str, Float[Array, '']]:
    """How far embeddings and tokens are from what was said, as mean 1 - cos."""
    assert now.embedding is not None
    assert said.embedding is not None
    pairs = zip(now.tokens, said.tokens, strict=True)
    return {
        'embedding': jnp.mean(1 - _cosine(now.embedding, said.embedding)),
        'tokens': jnp.mean(jnp.stack([jnp.mean(1 - _cosine(one, other)) for one, other in pairs])),
    }


def total(parts: dict[str, Float[Array, '']]) -> Float[Array, '']:
    """Their sum."""
    return sum(parts.values(), jnp.zeros(()))


def _cosine(a: Float[Array, '*B C'], b: Float[Array, '*B C']) -> Float[Array, '*B']:
    return jnp.sum(_unit(a) * _unit(b), axis=-1)


def _unit(x: Float[Array, '*B C']) -> Float[Array, '*B C']:
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(square, SHORTEST**2))
