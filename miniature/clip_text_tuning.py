"""A stage of CLIP training, after both towers: the text tower alone, on batches of hundreds of captions.

A picture costs many times what a caption does, and contrast wants large batches: more captions at a time, against the
pictures' embeddings, which are computed once. The image tower is left as it is, and with it all that guides by
pictures.

Letters: B batch, N heads, S styles, L tokens of a caption, D of the embedding, G groups of prompts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int

from clip_jax import Clip
from clip_jax.tokenizer import Tokenizer
from miniature.clip_training_data import Pool, make_pool, make_tokenizer
from miniature.clip_training_quality import encode_pool
from miniature.clip_training_step import (
    NAMED_WEIGHT,
    Prompts,
    State,
    contrastive,
    descend,
    draw_styles,
    make_optimiser,
    make_prompts,
    name_prompts,
    naming,
)
from miniature.training import fit

STEPS = 600
BATCH = 384
LEARNING_RATE = 1e-3
CHECKPOINT_EVERY = 100  # steps
TEXT_PARTS = ('text_model', 'text_projection', 'logit_scale')  # of the model: what is tuned


class Captions(NamedTuple):
    """What a step is given."""

    pictures: Array  # [B, D], their embeddings
    ids: Array  # [B, L] int32
    named: Array  # [B, G] int32


def tune(clip: Clip, steps: int, heads: int, workdir: Path, name: str, seed: int) -> tuple[Clip, float]:
    """Returns the model with its text tower trained further, and the seconds that its steps took.

    Args:
        clip: of the miniature, with its tokenizer.
        heads: in the pool of this seed, whose pictures are kept in `workdir`.
        name: of the folder of `workdir` for checkpoints, and shown at the progress bar.
    """
    tokenize = Tokenizer(make_tokenizer(), clip.config.text.context_length)
    pool = make_pool(workdir, heads, seed, tokenize)
    graphdef, texts, rest = split_texts(clip)
    optimiser = make_optimiser(steps, LEARNING_RATE)
    step = make_text_step(
        graphdef,
        rest,
        pool,
        encode_pool(clip, pool),
        name_prompts(pool),
        make_prompts(tokenize),
        optimiser,
        batch_size=BATCH,
        seed=seed,
    )
    params = {'clip': jax.tree.map(jnp.copy, texts)}  # the step takes its memory, and `clip` stays whole
    initial = State(params, optimiser.init(params))
    state, seconds = fit(step, initial, steps, workdir / name, name=name, checkpoint_every=CHECKPOINT_EVERY)
    return nnx.merge(graphdef, state.params['clip'], rest), seconds


def split_texts(clip: Clip) -> tuple[Any, nnx.State, nnx.State]:
    """The model's definition, the state of `TEXT_PARTS`, and the rest, which stays."""
    graphdef, *states = nnx.split(clip, lambda path, _: path[0] in TEXT_PARTS, ...)
    texts, rest = states
    return graphdef, texts, rest


def make_text_step(
    graphdef: Any,
    rest: nnx.State,
    pool: Pool,
    pictures: Float[np.ndarray, 'N S D'],
    named: Int[np.ndarray, 'N S G'],
    prompts: Prompts,
    optimiser: optax.GradientTransformation,
    *,
    batch_size: int,
    seed: int,
) -> Callable[[State, Int[Array, '']], tuple[State, dict[str, Array]]]:
    """The step ``(state, index) -> (state, metrics)``; the state's parameters are ``{'clip': state of TEXT_PARTS}``."""

    def losses(params: dict[str, Any], batch: Captions) -> tuple[Array, dict[str, Array]]:
        clip = nnx.merge(graphdef, params['clip'], rest)
        scale = clip.logit_scale[...]
        prompted = clip.encode_text(jnp.asarray(prompts.ids))
        parts = {
            'contrastive': contrastive(batch.pictures, clip.encode_text(batch.ids), scale),
            'named': naming(batch.pictures, prompted, scale, prompts.sizes, batch.named),
        }
        return parts['contrastive'] + NAMED_WEIGHT * parts['named'], parts

    @partial(jax.jit, donate_argnums=0)
    def update(state: State, batch: Captions) -> tuple[State, dict[str, Array]]:
        gradients, metrics = jax.grad(losses, has_aux=True)(state.params, batch)
        return descend(state, gradients, optimiser), metrics

    def step(state: State, index: Int[Array, '']) -> tuple[State, dict[str, Array]]:
        rng = np.random.default_rng([seed, int(index)])
        heads, texts = (rng.integers(0, count, batch_size) for count in (pool.ids.shape[0], pool.ids.shape[2]))
        styles = draw_styles(batch_size, rng)
        captions = Captions(
            jnp.asarray(pictures[heads, styles]),
            jnp.asarray(pool.ids[heads, styles, texts]),
            jnp.asarray(named[heads, styles]),
        )
        return update(state, captions)

    return step
