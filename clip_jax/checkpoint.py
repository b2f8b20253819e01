"""Checkpoints: a directory with `config.json`, `weights.safetensors` and the tokenizer's files.

A weight's name in the file is the dotted path of its leaf in `nnx.state`: the name that it has in Hugging Face's
`CLIPModel`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from clip_jax.config import ClipConfig
from clip_jax.model import Clip
from clip_jax.tokenizer import TOKENIZER_FILES

CONFIG_FILE = 'config.json'
WEIGHTS_FILE = 'weights.safetensors'


def load_clip(directory: str | Path) -> Clip:
    """Reads a checkpoint. Weights are float32 whatever their type in the file.

    Raises:
      FileNotFoundError: the directory lacks `config.json` or `weights.safetensors`.
      ValueError: the config has unknown or missing fields, or the weights do not fit it; all misfits are named at once.
    """
    directory = Path(directory)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (directory / name).is_file():
            raise FileNotFoundError(
                f'{directory} is no CLIP checkpoint: {name} is missing (python -m convert.clip makes one).'
            )
    try:
        config = ClipConfig.from_dict(json.loads((directory / CONFIG_FILE).read_text(encoding='utf-8')))
    except (ValueError, TypeError) as error:
        raise ValueError(f'{directory / CONFIG_FILE}: {error}') from None
    try:
        weights = load_file(directory / WEIGHTS_FILE)
    except SafetensorError as error:
        raise ValueError(f'{directory / WEIGHTS_FILE}: is damaged or cut short ({error}).') from None
    return from_weights(config, weights, source=str(directory / WEIGHTS_FILE))


def save_clip(
    clip: Clip, directory: str | Path, dtype: Any = None, tokenizer_files: Mapping[str, str | bytes] | None = None
) -> None:
    """Writes a checkpoint; each file is written under a temporary name and renamed when all are whole.

    Args:
      clip: the model.
      directory: made if it does not exist; other files in it stay.
      dtype: of the weights in the file, such as numpy.float16; as they are by default.
      tokenizer_files: contents by file name, such as {'tokenizer.json': '...'}.

    Raises:
      ValueError: a tokenizer file of a name that `load_tokenizer` does not know.
      OSError: the files cannot be written, on a full disk for example; an earlier checkpoint there is left as it was.
    """
    files: dict[str, str | bytes] = dict(tokenizer_files or {})
    for name in files:
        if name not in TOKENIZER_FILES:
            raise ValueError(f'{name!r} is no tokenizer file: expected one of {", ".join(TOKENIZER_FILES)}.')
    files[CONFIG_FILE] = json.dumps(clip.config.to_dict(), indent=2) + '\n'
    files[WEIGHTS_FILE] = save({name: np.asarray(value, dtype) for name, value in named_weights(clip).items()})

    directory = Path(directory)
    staging = directory / f'.writing-{os.getpid()}'
    try:
        staging.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (staging / name).write_bytes(content.encode('utf-8') if isinstance(content, str) else content)
        for name in files:
            (staging / name).replace(directory / name)
    except OSError as error:
        raise OSError(
            f'the CLIP cannot be written to {directory}: {error.strerror or error}; '
            'make room there, or give another directory.'
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def named_weights(clip: Clip) -> dict[str, Any]:
    """Every weight by its dotted name."""
    return {'.'.join(map(str, path)): leaf[...] for path, leaf in nnx.to_flat_state(nnx.state(clip, nnx.Param))}


def from_weights(config: ClipConfig, weights: Mapping[str, np.ndarray], source: str = 'weights') -> Clip:
    """A model of this config with these weights, named as in `named_weights`.

    Raises:
      ValueError: weights that are missing, unknown or of another shape than the config asks for; all named at once.
    """
    graphdef, state = nnx.split(nnx.eval_shape(lambda: Clip(config, rngs=nnx.Rngs(0))))
    expected = {'.'.join(map(str, path)): leaf for path, leaf in nnx.to_flat_state(state)}
    if not any(name.startswith('text_') for name in weights):
        raise ValueError(f'{source}: has no text tower, half of a CLIP is missing: convert it again.')
    problems = [f'{name} is missing' for name in expected.keys() - weights.keys()]
    problems += [f'{name} is unknown' for name in weights.keys() - expected.keys()]
    for name in expected.keys() & weights.keys():
        if expected[name].shape != weights[name].shape:
            problems.append(f'{name} has shape {list(weights[name].shape)}, expected {list(expected[name].shape)}')
    if problems:
        raise ValueError(f'{source}: does not fit the config: {"; ".join(sorted(problems))}.')
    values = [
        (path, leaf.replace(jnp.asarray(weights['.'.join(map(str, path))], jnp.float32)))
        for path, leaf in nnx.to_flat_state(state)
    ]
    return nnx.merge(graphdef, nnx.from_flat_state(values))
