"""Train one of the miniature's CLIPs on the procedural world.

    python -m miniature.clip_training --encoder=patch8 --output=miniature/weights/clip_patch8
    python -m miniature.clip_training --encoder=patch16 --output=miniature/weights/clip_patch16

Pictures of heads in all styles are rendered once and kept in the working directory. Both towers are trained together,
then, of patch 8, the image tower alone, against pictures that are changed to fool it: pixel by pixel
(`miniature.clip_adversarial_tuning`), and by filters (`miniature.clip_filter_tuning`); and last the text tower alone
(`miniature.clip_text_tuning`). With --initial=DIR all but the first, from weights there.
Resumable: Ctrl-C, then the same command. At the end the quality is measured on held-out heads and written beside the
weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx

from clip_jax import PRESETS, Clip, ClipConfig, load_clip, save_clip
from clip_jax.tokenizer import Tokenizer
from miniature import clip_adversarial_tuning, clip_filter_tuning, clip_text_tuning
from miniature.clip_training_data import make_pool, make_tokenizer, part_shares
from miniature.clip_training_quality import measure
from miniature.clip_training_step import State, initial_params, make_optimiser, make_prompts, make_step, make_targets
from miniature.training import claim, fit, read_recipe, trained_weights, write_recipe


class Recipe(NamedTuple):
    """What differs between the two encoders."""

    preset: str  # of clip_jax
    steps: int
    keep: float  # share of the patches that all but the last steps see
    adversarial_steps: int  # of the image tower alone, against changed pixels
    filter_steps: int  # and against filters


RECIPES = {
    'patch8': Recipe('miniature', steps=2600, keep=0.5, adversarial_steps=600, filter_steps=300),
    # Without both: by changed pixels it forgot styles; by filters nothing, but what it guided got no better.
    'patch16': Recipe('miniature/16', steps=3200, keep=1.0, adversarial_steps=0, filter_steps=0),
}
HEADS = 4096
BATCH = 48
LEARNING_RATE = 2e-3
CHECKPOINT_EVERY = 200  # steps
ADVERSARIAL_STAGE, FILTER_STAGE, TEXT_STAGE = '_adversarial', '_filter', '_text'  # after the encoder's name
WHOLE_SHARE = 0.15  # of the steps, the last ones, see all patches


def configure(preset: str, vocabulary: int) -> ClipConfig:
    """The preset with a text tower for this many words; the end of the text is the last of them."""
    config = PRESETS[preset]
    return dataclasses.replace(
        config, text=dataclasses.replace(config.text, vocab_size=vocabulary, eos_token_id=vocabulary - 1)
    )


def train(encoder: str, steps: int, heads: int, workdir: Path, seed: int) -> tuple[Clip, float]:
    """Returns the trained model and the seconds of training; `encoder` is a key of `RECIPES`."""
    recipe = RECIPES[encoder]
    backend = make_tokenizer()
    config = configure(recipe.preset, backend.get_vocab_size())
    tokenize = Tokenizer(backend, config.text.context_length)
    pool = make_pool(workdir, heads, seed, tokenize)
    targets = make_targets(pool, part_shares(workdir, heads, seed, config.vision.grid))
    clip = Clip(config, rngs=nnx.Rngs(seed))
    params, graphdef = initial_params(clip, targets), nnx.graphdef(clip)
    optimiser = make_optimiser(steps, LEARNING_RATE)
    step = make_step(
        graphdef,
        pool,
        targets,
        make_prompts(tokenize),
        optimiser,
        batch_size=BATCH,
        keep=recipe.keep,
        whole_from=round(steps * (1 - WHOLE_SHARE)),
        seed=seed,
    )
    initial = State(params, optimiser.init(params))
    state, seconds = fit(step, initial, steps, workdir / encoder, name=encoder, checkpoint_every=CHECKPOINT_EVERY)
    return nnx.merge(graphdef, state.params['clip']), seconds


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog='python -m miniature.clip_training', description=(__doc__ or '').split('\n')[0]
    )
    parser.add_argument('--encoder', choices=sorted(RECIPES), required=True)
    parser.add_argument('--output', type=Path, required=True, help='directory of the finished weights')
    parser.add_argument('--workdir', type=Path, default=Path('runs/miniature_clip'), help='pictures and checkpoints')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--steps', type=int, help='by default what the encoder needs')
    parser.add_argument('--adversarial-steps', type=int, help='of the image tower alone; by default what it needs')
    parser.add_argument('--filter-steps', type=int, help='of the image tower alone; by default what it needs')
    parser.add_argument('--text-steps', type=int, default=clip_text_tuning.STEPS, help='of the text tower alone')
    parser.add_argument('--heads', type=int, default=HEADS, help='in the training pictures')
    parser.add_argument(
        '--initial', type=trained_weights, help='directory of weights whose towers are trained further, one by one'
    )
    options = parser.parse_args(arguments)
    steps = 0 if options.initial else options.steps or RECIPES[options.encoder].steps
    initial = read_recipe(options.initial) if options.initial else None
    heads, workdir, seed = options.heads, options.workdir, options.seed
    adversarial_steps = options.adversarial_steps
    if adversarial_steps is None:
        adversarial_steps = RECIPES[options.encoder].adversarial_steps
    filter_steps = options.filter_steps
    if filter_steps is None:
        filter_steps = RECIPES[options.encoder].filter_steps
    settings = {
        'seed': seed,
        'steps': steps,
        'batch': BATCH,
        'text_steps': options.text_steps,
        'text_batch': clip_text_tuning.BATCH,
        'adversarial_steps': adversarial_steps,
        'adversarial_batch': clip_adversarial_tuning.BATCH,
        'adversarial_range': clip_adversarial_tuning.RANGE,
        'filter_steps': filter_steps,
        'filter_batch': clip_filter_tuning.GROUPS * clip_filter_tuning.EACH,
        'filter_pace': list(clip_filter_tuning.PACE),
        'filter_clean_weight': clip_filter_tuning.CLEAN_WEIGHT,
        'heads': heads,
    }
    stages = [options.encoder + stage for stage in ('', ADVERSARIAL_STAGE, FILTER_STAGE, TEXT_STAGE)]
    try:
        claim(workdir, options.encoder, settings, options.initial, stages)
    except ValueError as error:
        parser.error(str(error))
    try:
        if options.initial:
            clip, seconds = load_clip(options.initial), 0.0
        else:
            clip, seconds = train(options.encoder, steps, heads, workdir, seed)
        for stage, tuning, count in (
            (ADVERSARIAL_STAGE, clip_adversarial_tuning, adversarial_steps),
            (FILTER_STAGE, clip_filter_tuning, filter_steps),
            (TEXT_STAGE, clip_text_tuning, options.text_steps),
        ):
            if count:
                clip, more = tuning.tune(clip, count, heads, workdir, options.encoder + stage, seed)
                seconds += more
    except KeyboardInterrupt:
        return 130
    save_clip(clip, options.output, np.float16, {'tokenizer.json': make_tokenizer().to_str(pretty=True)})
    write_recipe(
        options.output,
        command='python -m miniature.clip_training ' + ' '.join(sys.argv[1:] if arguments is None else arguments),
        seconds=seconds,
        settings={**settings, 'parameters': sum(leaf.size for leaf in jax.tree.leaves(nnx.state(clip)))},
        quality=measure(options.output, workdir),
        initial=initial,
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
