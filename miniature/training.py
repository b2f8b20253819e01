"""What every training command of the miniature shares: a resumable loop with a progress bar, and a record of the run.

A run is a pure step ``(state, index) -> (state, metrics)`` over a pytree; its randomness comes from the index, so a
resumed run gives the numbers of an uninterrupted one.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from tqdm import tqdm

from eg3d_jax.files import read_json, write_json
from eg3d_jax.interrupts import StandardError, StopRequest
from eg3d_jax.machine import machine

State = TypeVar('State')
Metrics = Mapping[str, Any]

RECIPE = 'recipe.json'
PROGRESS_EVERY = 20  # steps between updates of the numbers beside the bar


def claim(workdir: Path, name: str, settings: Metrics, initial: Path | None, made: Iterable[str]) -> None:
    """Makes what a training leaves in its working directory its own, or checks that it is.

    The checkpoints of another training would be gone on with, or where they are all done be taken for the result.

    Args:
        workdir: made if needed; NAME.json in it tells what the training is.
        settings: all that its numbers follow from, of JSON types.
        initial: directory of the weights that it begins with, if it begins with any.
        made: the names of what depends on the settings: folders of checkpoints, and pools of pictures.

    Raises:
        ValueError: they are another training's.
    """
    path = workdir / f'{name}.json'
    now = {**settings, 'initial': None if initial is None else _hash(initial)}
    advice = 'give another --workdir, or delete it'
    if path.exists():
        before = read_json(path)
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                what = f'{key} was {before.get(key)} and is {now.get(key)}'
                what = 'the weights of --initial have changed since' if key == 'initial' else what
                raise ValueError(f'{workdir} holds the steps of another training ({what}); {advice}')
    elif held := [entry for entry in made if (workdir / entry).exists()]:
        raise ValueError(f'{workdir} holds {held[0]!r} of a training that no {path.name} tells of; {advice}')
    write_json(path, now)


def _hash(directory: Path) -> str:
    """Of the weights in a directory."""
    digest = hashlib.sha256()
    for path in sorted(directory.glob('*.safetensors')):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def fit(
    step: Callable[[State, jax.Array], tuple[State, Metrics]],
    state: State,
    steps: int,
    directory: Path,
    *,
    name: str,
    checkpoint_every: int = 500,
    preview: Callable[[State, int], None] | None = None,
) -> tuple[State, float]:
    """Run `step` for indices 0 .. steps - 1, from the last checkpoint in `directory` if there is one.

    Args:
        step: jitted; takes the state and the index as an int32 scalar.
        state: where a fresh run begins.
        directory: made if needed; holds the checkpoints of this loop alone.
        name: shown at the bar.
        checkpoint_every: steps between checkpoints and calls of `preview`.
        preview: called with the state and the number of steps done.

    Returns:
        The final state and the seconds that all of its steps took, those before an interruption included.

    Raises:
        KeyboardInterrupt: on Ctrl-C, once the step is done and a checkpoint is written; on a second one, at once.
        FloatingPointError: a metric is not finite; the last checkpoint is left as it was.
    """
    with ocp.CheckpointManager(directory.absolute(), options=ocp.CheckpointManagerOptions(max_to_keep=2)) as manager:
        done, seconds = 0, 0.0
        if (latest := manager.latest_step()) is not None:
            template = {'state': state, 'seconds': 0.0}
            restored = manager.restore(latest, args=ocp.args.StandardRestore(template))
            done, state, seconds = latest, restored['state'], float(restored['seconds'])

        def save() -> None:
            manager.save(done, args=ocp.args.StandardSave({'state': state, 'seconds': seconds}), force=True)
            manager.wait_until_finished()

        bar = tqdm(total=steps, initial=done, desc=name, unit='step', smoothing=0.1, file=StandardError())
        with StopRequest() as stop, bar:
            while done < steps and not stop.requested:
                started = time.monotonic()
                state, metrics = step(state, jnp.int32(done))
                jax.block_until_ready(metrics)
                done, seconds = done + 1, seconds + time.monotonic() - started
                bar.update()
                if done % PROGRESS_EVERY == 0 or done == steps or stop.requested:
                    _show(bar, metrics, name, done)
                if done % checkpoint_every == 0 or done == steps or stop.requested:
                    save()
                    if preview is not None and not stop.requested:
                        preview(state, done)
        if stop.requested:
            print(f'\n{name}: interrupted after step {done}; the same command goes on from there.')
            raise KeyboardInterrupt
    return state, seconds


def _show(bar: tqdm, metrics: Metrics, name: str, done: int) -> None:
    values = {key: float(value) for key, value in metrics.items()}
    broken = [key for key, value in values.items() if not jnp.isfinite(value)]
    if broken:
        raise FloatingPointError(f'{name}: {", ".join(broken)} not finite at step {done}')
    bar.set_postfix({key: f'{value:.3g}' for key, value in values.items()})


def write_recipe(
    directory: Path,
    *,
    command: str,
    seconds: float,
    settings: Metrics,
    quality: Metrics,
    initial: Metrics | None = None,
) -> None:
    """Write recipe.json beside the weights: how they were made, on what, in what time, and how good they are.

    Args:
        initial: the recipe of the weights that training began with, if it began with any.
    """
    recipe = {
        'command': command,
        'settings': dict(settings),
        'training_minutes': round(seconds / 60, 1),
        'machine': machine(),
        'quality': dict(quality),
    }
    if initial is not None:
        recipe['initial'] = dict(initial)
    (directory / RECIPE).write_text(json.dumps(recipe, indent=2) + '\n')


def trained_weights(directory: str) -> Path:
    """An argument of a command: a directory of weights that training can begin with.

    Raises:
        argparse.ArgumentTypeError: it has no recipe, or there is no such directory.
    """
    path = Path(directory)
    if not (path / RECIPE).is_file():
        raise argparse.ArgumentTypeError(f'{path} has no {RECIPE}; give a directory that a training command wrote')
    return path


def read_recipe(directory: Path) -> Metrics:
    """The recipe beside weights."""
    recipe = json.loads((directory / RECIPE).read_text())
    assert isinstance(recipe, dict)
    return recipe
