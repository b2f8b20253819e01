"""Finding and reading the weights of a CLIP: a Hugging Face directory, or one file of any of the known kinds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from convert.errors import ConversionError, naming
from convert.safetensors_files import read_safetensors
from convert.torch_files import ZIP_START, read_state_dict
from convert.unpickler import PICKLE_START

CONFIG_FILE = 'config.json'
INDEX_ENDING = '.index.json'
WEIGHT_FILES = ('model.safetensors', 'pytorch_model.bin')  # and the same names with INDEX_ENDING, for sharded weights


def read_config(directory: Path) -> dict[str, Any]:
    """The directory's `config.json`.

    Raises:
      ConversionError: it is missing or no JSON object.
    """
    return _read_json(directory / CONFIG_FILE)


def read_directory(directory: Path) -> dict[str, np.ndarray]:
    """The named arrays of a Hugging Face directory, sharded or not.

    Raises:
      ConversionError: no weights, missing or surplus shards, or a file that cannot be read.
    """
    for name in WEIGHT_FILES:
        if (directory / name).is_file():
            with naming(Path(name)):
                return read_file(directory / name)
        if (directory / f'{name}{INDEX_ENDING}').is_file():
            with naming(Path(f'{name}{INDEX_ENDING}')):
                return _read_shards(directory, f'{name}{INDEX_ENDING}')
    expected = ', '.join(f'{name}, {name}{INDEX_ENDING}' for name in WEIGHT_FILES)
    raise ConversionError(f'holds no weights: expected one of {expected}.')


def read_file(path: Path) -> dict[str, np.ndarray]:
    """The named arrays of a safetensors file, a torch archive (TorchScript or not) or an older torch file, told
    apart by their first bytes.

    Raises:
      ConversionError: none of these, or damaged.
    """
    with path.open('rb') as file:
        start = file.read(9)
    if start[8:] == b'{':  # behind a length, which may begin like any other format
        return read_safetensors(path)
    if start.startswith((ZIP_START, PICKLE_START)):
        return read_state_dict(path)
    raise ConversionError(f'is neither a safetensors nor a PyTorch file (it begins with {start!r}).')


def _read_shards(directory: Path, index: str) -> dict[str, np.ndarray]:
    shard_of = _read_json(directory / index).get('weight_map')
    if not isinstance(shard_of, dict) or not all(isinstance(shard, str) for shard in shard_of.values()):
        raise ConversionError('has no weight_map from names to files.')
    shards = sorted(set(shard_of.values()))
    for shard in shards:
        if Path(shard).name != shard:
            raise ConversionError(f'points outside of its directory: {shard!r}.')
    missing = [shard for shard in shards if not (directory / shard).is_file()]
    if missing:
        raise ConversionError(f'names shards that are missing: {", ".join(missing)}.')
    arrays: dict[str, np.ndarray] = {}
    for shard in shards:
        with naming(Path(shard)):
            content = read_file(directory / shard)
        expected = {name for name, where in shard_of.items() if where == shard}
        if content.keys() != expected:
            odd = sorted(content.keys() ^ expected)
            raise ConversionError(f'does not list what {shard} holds: {", ".join(odd)}.')
        arrays.update(content)
    return arrays


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise ConversionError(f'has no {path.name}.') from None
    except (ValueError, RecursionError) as error:
        raise ConversionError(f'{path.name} is no JSON file ({error}).') from error
    if not isinstance(content, dict):
        raise ConversionError(f'{path.name} holds a {type(content).__name__}, not an object.')
    return content
