"""Finding and reading the weights of a CLIP: a directory of Hugging Face's or OpenCLIP's, or one file."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from clip_jax.tokenizer import TOKENIZER_FILES
from convert.errors import ConversionError, naming, shown
from convert.lazy_arrays import LazyArrays
from convert.sources import Selection
from convert.state_dicts import Weights, read_weights

CONFIG_FILE = 'config.json'
OPEN_CLIP_CONFIG_FILE = 'open_clip_config.json'
INDEX_ENDING = '.index.json'  # of a file that says which shard holds which array
HUGGING_FACE_FILES = ('model.safetensors', 'pytorch_model.bin')
OPEN_CLIP_FILES = ('open_clip_model.safetensors', 'open_clip_pytorch_model.safetensors', 'open_clip_pytorch_model.bin')
WEIGHT_FILES = (
    tuple(f'{name}{ending}' for name in HUGGING_FACE_FILES for ending in ('', INDEX_ENDING)) + OPEN_CLIP_FILES
)
COMPANIONS = (CONFIG_FILE, OPEN_CLIP_CONFIG_FILE, *TOKENIZER_FILES)


@dataclasses.dataclass(frozen=True)
class ClipFiles:
    """What was found.

    Attributes:
      weights: what the file, or all shards together, hold.
      name: of the file of weights.
      folder: where the configs and tokenizer files that belong to it may lie.
    """

    weights: Weights
    name: str
    folder: Path

    def config(self, name: str) -> dict[str, Any] | None:
        """The contents of a config file, or None where there is none.

        Raises:
          ConversionError: it is no JSON object.
        """
        path = self.folder / name
        return read_json(path) if path.is_file() else None

    @property
    def tokenizer(self) -> dict[str, bytes]:
        """The tokenizer files that come with the weights. Beside a file of an unknown name anything may lie."""
        if self.name not in WEIGHT_FILES:
            return {}
        paths = [self.folder / name for name in TOKENIZER_FILES]
        return {path.name: path.read_bytes() for path in paths if path.is_file()}


def select(names: Sequence[str], named: str | None) -> Selection:
    """Of a folder or of a repository: the weights in the first of the known forms, or the named ones, and what belongs
    to them."""
    weights = named or next((name for name in WEIGHT_FILES if name in names), None)
    if weights is None:
        raise ConversionError(f'holds no weights: expected one of {", ".join(WEIGHT_FILES)}.')
    files = [weights, *(name for name in COMPANIONS if name in names)]
    if weights.endswith(INDEX_ENDING):
        stem, dot, ending = weights.removesuffix(INDEX_ENDING).rpartition('.')
        shard = re.escape(stem) + r'-\d+-of-\d+' + re.escape(dot + ending)
        files += [name for name in names if re.fullmatch(shard, name)]
    return Selection(tuple(files), named)


def read_clip(path: Path, files: ExitStack) -> ClipFiles:
    """Reads a directory or a file of weights, sharded or not.

    Args:
      path: of the directory or the file.
      files: closes the files of weights, which must stay open while arrays are read.

    Raises:
      ConversionError: no weights, missing or surplus shards, or a file that cannot be read.
    """
    if not path.exists():
        raise ConversionError('does not exist.')
    folder, name = path.parent, path.name
    if path.is_dir():
        folder, name = path, select([entry.name for entry in path.iterdir() if entry.is_file()], None).files[0]
        with naming(name):
            return ClipFiles(_read(folder, name, files), name, folder)
    return ClipFiles(_read(folder, name, files), name, folder)


def _read(folder: Path, name: str, files: ExitStack) -> Weights:
    if name.endswith(INDEX_ENDING):
        return _read_shards(folder, name, files)
    return read_weights(folder / name, files)


def _read_shards(directory: Path, index: str, files: ExitStack) -> Weights:
    shard_of = read_json(directory / index).get('weight_map')
    if not isinstance(shard_of, dict) or not all(isinstance(shard, str) for shard in shard_of.values()):
        raise ConversionError('has no weight_map from names to files.')
    shards = sorted(set(shard_of.values()))
    for shard in shards:
        if Path(shard).name != shard or '\\' in shard:
            raise ConversionError(f'points outside of its directory: {shown(shard)}.')
    missing = [shard for shard in shards if not (directory / shard).is_file()]
    if missing:
        raise ConversionError(f'names shards that are missing: {", ".join(missing)}.')
    holding: dict[str, Weights] = {}  # by the name of the shard
    for shard in shards:
        with naming(shard):
            holding[shard] = read_weights(directory / shard, files)
        expected = {name for name, where in shard_of.items() if where == shard}
        if holding[shard].arrays.keys() != expected:
            odd = sorted(holding[shard].arrays.keys() ^ expected)
            raise ConversionError(f'does not list what {shard} holds: {", ".join(odd)}.')

    def read(name: str) -> np.ndarray:
        with naming(shard_of[name]):
            return holding[shard_of[name]].arrays[name]

    names = [name for weights in holding.values() for name in weights.arrays]
    return Weights(LazyArrays(names, read), sum(weights.size for weights in holding.values()))


def read_json(path: Path) -> dict[str, Any]:
    """A file with a JSON object.

    Raises:
      ConversionError: there is no such file, or something else is in it.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise ConversionError(f'has no {path.name}.') from None
    except (ValueError, RecursionError) as error:
        raise ConversionError(f'{path.name} is no JSON file ({error}).') from error
    if not isinstance(content, dict):
        raise ConversionError(f'{path.name} holds a {type(content).__name__}, not an object.')
    return content
