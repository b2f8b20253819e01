"""Checkpoints of a run: Orbax directories named by the number of steps done, of which the last two are kept."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PRNGKeyArray

from adaptation.errors import AdaptationError
from adaptation.step import TrainState

KEPT = 2


class Checkpoints:
    """The checkpoints in a directory; a context manager."""

    def __init__(self, directory: Path):
        # Written synchronously: the next step reuses the memory of the state that is being saved.
        options = ocp.CheckpointManagerOptions(max_to_keep=KEPT, enable_async_checkpointing=False)
        self.directory = directory
        self._manager = ocp.CheckpointManager(directory.absolute(), options=options)

    def __enter__(self) -> 'Checkpoints':
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    @property
    def last(self) -> int | None:
        """Number of steps done at the last whole checkpoint; None: there is none."""
        return self._manager.latest_step()

    def save(self, state: TrainState, key: PRNGKeyArray) -> None:
        """Saves a state, unless the last checkpoint is already of its step.

        Raises:
            AdaptationError: it cannot be written, on a full disk for example.
        """
        step = int(state.step)
        if step == self.last:
            return
        try:
            self._manager.save(step, args=ocp.args.StandardSave(_stored(state, key)))
        except Exception as error:  # Orbax and the storage below it raise errors of many kinds
            raise AdaptationError(
                f'the checkpoint of step {step} cannot be written to {self.directory}: {_reason(error)}'
            ) from error

    def restore(self, step: int, like: TrainState, key: PRNGKeyArray) -> tuple[TrainState, PRNGKeyArray]:
        """The state and the key saved at a step, given others of the same structure.

        Raises:
            AdaptationError: the checkpoint is damaged.
        """
        expected = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), _stored(like, key))
        try:
            restored = self._manager.restore(step, args=ocp.args.StandardRestore(expected))
        except Exception as error:  # as above
            raise AdaptationError(
                f'{self.directory / str(step)} is damaged ({_reason(error)}): '
                f'delete it to resume from the checkpoint before.'
            ) from error
        # Plain arrays, not bound to a device: the very programs of an uninterrupted run take them.
        restored = jax.tree.map(jnp.asarray, restored)
        return restored['state'], jax.random.wrap_key_data(restored['key'])


def _stored(state: TrainState, key: PRNGKeyArray) -> dict[str, Any]:
    return {'state': state, 'key': jax.random.key_data(key)}


def _reason(error: Exception) -> str:
    """The last line of an error's message, where the storage says what happened."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
