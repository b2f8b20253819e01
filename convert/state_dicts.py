"""The named arrays of a file of weights, whatever wrote it: safetensors, `torch.save` or TorchScript."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from convert.errors import ConversionError
from convert.safetensors_files import begins_like_safetensors, read_safetensors
from convert.torch_files import START_LENGTH, ScriptModule, Tensor, begins_like_torch, read_torch

STATE_DICT = 'state_dict'  # the key of a training checkpoint under which its weights are
PARALLEL_PREFIX = 'module.'  # what a network that was trained on several devices puts in front of its names


@dataclasses.dataclass(frozen=True)
class Weights:
    """What a file of weights holds.

    Attributes:
      arrays: by name, as read-only views.
      size: bytes of the file.
      beside: names of what else is in the checkpoint that the weights were found in.
      script: whether it is a TorchScript archive.
      parallel: whether the names had the prefix of a network that was trained on several devices.
    """

    arrays: dict[str, np.ndarray]
    size: int
    beside: tuple[str, ...] = ()
    script: bool = False
    parallel: bool = False


def read_weights(path: Path) -> Weights:
    """Reads a safetensors file, a torch archive (TorchScript or not) or an older torch file, told apart by their first
    bytes: a state dict, a checkpoint with one under 'state_dict', or a TorchScript module's tensors.

    Raises:
      ConversionError: none of these, or damaged.
    """
    size = path.stat().st_size
    with path.open('rb') as file:
        start = file.read(START_LENGTH)
        file.seek(0)
        if begins_like_safetensors(start):
            return Weights(read_safetensors(path), size)
        if not begins_like_torch(start) and start[:1] != b'\x80':
            raise ConversionError(f'is neither a safetensors nor a PyTorch file (it begins with {start[:9]!r}).')
        content = read_torch(file)
        if isinstance(content, ScriptModule):
            tensors = _script_tensors(content)
            return Weights({name: tensor.array() for name, tensor in tensors.items()}, size, script=True)
        beside: tuple[str, ...] = ()
        if isinstance(content, Mapping) and isinstance(content.get(STATE_DICT), Mapping):
            beside = tuple(str(key) for key in content if key != STATE_DICT)
            content = content[STATE_DICT]
        arrays = plain_arrays(content)
    plain = without_prefix(arrays)
    return Weights(plain, size, beside, parallel=plain is not arrays)


def plain_arrays(content: Any) -> dict[str, np.ndarray]:
    """The arrays of a state dict, given as tensors or as arrays.

    Raises:
      ConversionError: it is none.
    """
    if not isinstance(content, Mapping):
        raise ConversionError(f'holds a {type(content).__name__}, not a state dict.')
    kinds = Tensor | np.ndarray
    odd = [str(name) for name, value in content.items() if not (isinstance(name, str) and isinstance(value, kinds))]
    if odd or not content:
        raise ConversionError(f'is no state dict: {f"{odd[0]!r} is no tensor" if odd else "it is empty"}.')
    return {name: value.array() if isinstance(value, Tensor) else value for name, value in content.items()}


def without_prefix(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays without PARALLEL_PREFIX where all have it, and as they are where not."""
    if not all(name.startswith(PARALLEL_PREFIX) for name in arrays):
        return arrays
    return {name.removeprefix(PARALLEL_PREFIX): array for name, array in arrays.items()}


def _script_tensors(root: ScriptModule) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    stack = [('', root)]
    seen = {id(root)}
    while stack:
        prefix, module = stack.pop()
        for name, value in module.attributes.items():
            if isinstance(value, Tensor):
                tensors[f'{prefix}{name}'] = value
            elif isinstance(value, ScriptModule):
                if id(value) in seen:
                    raise ConversionError(f'holds the module {prefix}{name} more than once.')
                seen.add(id(value))
                stack.append((f'{prefix}{name}.', value))
    return tensors
