"""Train the judge that measures the miniature: styles, sharpness and attributes from pictures of the world.

    python -m miniature.judge_training --output=miniature/weights/judge

Resumable: Ctrl-C, then the same command. At the end the quality on held-out heads is written beside the weights. About
five minutes of pictures and ten to twenty of training on one core.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from miniature.judge import STYLES, Judge, JudgeConfig, load_judge, save_judge
from miniature.judge_data import Batch, Pool, draw_batch, make_pool, shows_colour
from miniature.optimisers import is_matrix, muon
from miniature.training import claim, fit, write_recipe

SEED = 40_000  # no other network of the miniature is trained or tested on it
HELD_OUT_SEED = 41_000
HEADS, DRAWN_HEADS = 3072, 1024  # training photos, and how many of their heads are drawn in every style
HELD_OUT_HEADS = 256
HELD_OUT_BATCHES = 32
BATCH = 64
STEPS = 1500
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.02
AMOUNT_WEIGHT = 6.0  # of the continuous attributes' squared errors, which are small numbers beside cross entropies


class State(NamedTuple):
    """What a step changes."""

    params: Any
    optimiser: Any


def losses(judge: Judge, batch: Batch) -> tuple[Array, dict[str, Array]]:
    """Returns the total loss, and its parts averaged over the pictures that show what is asked for."""
    read = judge.read(judge.embed(batch.images))
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels
    style = jnp.mean(cross_entropy(read['style'], batch.style))
    parts = [
        _mean(cross_entropy(read[name], index), batch.colour if shows_colour(name) else batch.shape)
        for name, index in batch.classes.items()
    ]
    classes = sum(parts[1:], parts[0]) / len(parts)
    amounts = _mean(jnp.mean(jnp.square(read['amounts'] - batch.amounts), axis=-1), batch.shape)
    total = style + classes + AMOUNT_WEIGHT * amounts
    return total, {'style': style, 'classes': classes, 'amounts': amounts}


def _mean(values: Array, weights: Array) -> Array:
    return jnp.sum(values * weights) / jnp.maximum(jnp.sum(weights), 1.0)


def make_step(
    graphdef: Any, pool: Pool, optimiser: optax.GradientTransformation, seed: int
) -> Callable[[State, Array], tuple[State, dict[str, Array]]]:
    """Returns the training step for `fit`; its batch is a function of the seed and the step's index."""

    @jax.jit
    def update(state: State, batch: Batch) -> tuple[State, dict[str, Array]]:
        def objective(params: Any) -> tuple[Array, dict[str, Array]]:
            return losses(nnx.merge(graphdef, params), batch)

        gradient, metrics = jax.grad(objective, has_aux=True)(state.params)
        updates, optimiser_state = optimiser.update(gradient, state.optimiser, state.params)
        return State(optax.apply_updates(state.params, updates), optimiser_state), metrics

    def step(state: State, index: Array) -> tuple[State, dict[str, Array]]:
        return update(state, draw_batch(pool, BATCH, np.random.default_rng([seed, int(index)])))

    return step


def measure(judge: Judge, pool: Pool) -> dict[str, Any]:
    """Returns accuracies in [0, 1] on held-out pictures, and the correlation of the amounts read with the true ones."""

    @jax.jit
    def read(judge: Judge, images: Array) -> dict[str, Array]:
        return judge.read(judge.embed(images))

    style, truth, guesses = [], [], []
    classes: dict[str, list[np.ndarray]] = {name: [] for name in pool.classes}
    confusion = np.zeros((len(STYLES), 2))
    for index in range(HELD_OUT_BATCHES):
        batch = draw_batch(pool, BATCH, np.random.default_rng([HELD_OUT_SEED, index]))
        answers = jax.device_get(read(judge, jnp.asarray(batch.images)))
        right = answers['style'].argmax(-1) == batch.style
        style.append(right)
        np.add.at(confusion, batch.style, np.stack([right, np.ones(BATCH)], axis=-1))
        photos = batch.style == STYLES.index('photo')
        for name, label in batch.classes.items():
            classes[name].append((answers[name].argmax(-1) == label)[photos])
        truth.append(batch.amounts[photos])
        guesses.append(answers['amounts'][photos])
    told, guessed = np.concatenate(truth), np.concatenate(guesses)
    correlation = [float(np.corrcoef(told[:, k], guessed[:, k])[0, 1]) for k in range(told.shape[1])]
    return {
        'style_accuracy': round(float(np.mean(style)), 4),
        'accuracy_by_style': {
            name: round(float(right / count), 3) for name, (right, count) in zip(STYLES, confusion, strict=True)
        },
        'photo_class_accuracy': {name: round(float(np.mean(np.concatenate(v))), 3) for name, v in classes.items()},
        'photo_amount_correlation': {
            name: round(value, 3) for name, value in zip(judge.config.amounts, correlation, strict=True)
        },
    }


def train(steps: int, heads: int, drawn: int, workdir: Path, seed: int) -> tuple[Judge, float]:
    """Returns the trained judge and the seconds of training."""
    pool = make_pool(workdir, heads, drawn, seed)
    graphdef, params = nnx.split(Judge(JudgeConfig(), rngs=nnx.Rngs(seed)))
    schedule = optax.warmup_cosine_decay_schedule(0.0, LEARNING_RATE, max(1, steps // 20), steps)
    kinds = {
        'matrix': optax.chain(muon(), optax.add_decayed_weights(WEIGHT_DECAY)),
        'other': optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam()),
    }
    labels = jax.tree.map(lambda leaf: 'matrix' if is_matrix(leaf) else 'other', params)
    optimiser = optax.chain(optax.partition(kinds, labels), optax.scale_by_learning_rate(schedule))
    step = make_step(graphdef, pool, optimiser, seed)
    state, seconds = fit(
        step, State(params, optimiser.init(params)), steps, workdir / 'steps', name='judge', checkpoint_every=100
    )
    return nnx.merge(graphdef, state.params), seconds


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog='python -m miniature.judge_training', description=(__doc__ or '').split('\n')[0]
    )
    parser.add_argument('--output', type=Path, required=True, help='directory of the finished weights')
    parser.add_argument('--workdir', type=Path, default=Path('runs/miniature_judge'), help='pictures and checkpoints')
    parser.add_argument('--seed', type=int, default=SEED)
    parser.add_argument('--steps', type=int, default=STEPS)
    parser.add_argument('--heads', type=int, default=HEADS, help='photographed')
    parser.add_argument('--drawn', type=int, default=DRAWN_HEADS, help='of them, in every other style too')
    options = parser.parse_args(arguments)
    settings = {
        'seed': options.seed,
        'steps': options.steps,
        'batch': BATCH,
        'heads': options.heads,
        'drawn_heads': options.drawn,
    }
    try:
        claim(options.workdir, 'judge', settings, None, ['steps'])
    except ValueError as error:
        parser.error(str(error))
    try:
        judge, seconds = train(options.steps, options.heads, options.drawn, options.workdir, options.seed)
    except KeyboardInterrupt:
        return 130
    save_judge(judge, options.output)
    held_out = make_pool(options.workdir, HELD_OUT_HEADS, HELD_OUT_HEADS, HELD_OUT_SEED)
    write_recipe(
        options.output,
        command='python -m miniature.judge_training ' + ' '.join(sys.argv[1:] if arguments is None else arguments),
        seconds=seconds,
        settings={**settings, 'parameters': sum(leaf.size for leaf in jax.tree.leaves(nnx.state(judge)))},
        quality=measure(load_judge(options.output), held_out),
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
