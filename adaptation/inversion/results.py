"""What a fit leaves: the head's w vectors, its camera, and the tuned leaves of the backbone, in one file.

L number of w vectors, D channels of w.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from adaptation.errors import AdaptationError
from adaptation.leaves import fingerprint, named_leaves, with_leaves
from eg3d_jax import TriPlaneGenerator
from eg3d_jax.files import replacing

FORMAT = '1'
WS, CAMERA, POSE = 'ws', 'camera', 'pose'


class InversionError(AdaptationError):
    """An inversion that is missing, damaged, or of another generator."""


@dataclass(frozen=True)
class Inversion:
    """A head that was found.

    Attributes:
        ws: its w vectors.
        camera: that sees it as the photograph does.
        pose: the camera's `poses.NAMES`.
        changes: what the tuning added to leaves of the backbone, by name; empty where nothing was tuned.
        numbers: how near the reconstruction is; see `measure`.
    """

    ws: Float[Array, '1 L D']
    camera: Float[Array, '1 25']
    pose: Float[np.ndarray, '6']
    changes: dict[str, Array]
    numbers: dict[str, Any]

    def tuned(self, generator: TriPlaneGenerator) -> TriPlaneGenerator:
        """The generator, source or adapted, with the head's changes of the backbone."""
        leaves = named_leaves(generator)
        return with_leaves(generator, {name: leaves[name] + change for name, change in self.changes.items()})


def save_inversion(path: Path, found: Inversion, source: TriPlaneGenerator) -> None:
    """Writes it as `.safetensors`, atomically.

    Raises:
        InversionError: the disk is full, or the like.
    """
    arrays = {WS: found.ws, CAMERA: found.camera, POSE: found.pose, **found.changes}
    metadata = {'format': FORMAT, 'source': fingerprint(source), 'numbers': json.dumps(found.numbers)}
    with replacing(path) as temporary:
        try:
            save_file({name: np.asarray(array, np.float32) for name, array in arrays.items()}, temporary, metadata)
        except SafetensorError as error:
            raise InversionError(f'cannot write {path}: {error}. Is the disk full?') from None


def load_inversion(path: str | Path, source: TriPlaneGenerator) -> Inversion:
    """Reads what `save_inversion` wrote.

    Raises:
        InversionError: the file is missing or damaged, or the head was found in another generator.
    """
    try:
        with safe_open(path, 'numpy') as file:
            metadata: Mapping[str, str] = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise InversionError(f'cannot read {path}: it is missing, damaged or cut short ({error}).') from None
    if metadata.get('format') != FORMAT or not {WS, CAMERA, POSE} <= set(arrays):
        raise InversionError(f'{path} holds no inversion of format {FORMAT}: adaptation.invert writes one.')
    if metadata['source'] != fingerprint(source):
        raise InversionError(f'{path} was found in another generator: a head fits only the source it was found in.')
    ws, camera, pose = (arrays.pop(name) for name in (WS, CAMERA, POSE))
    changes = {name: jnp.asarray(array) for name, array in arrays.items()}
    return Inversion(jnp.asarray(ws), jnp.asarray(camera), pose, changes, json.loads(metadata['numbers']))
