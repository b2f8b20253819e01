"""The named arrays of a file of weights, whatever wrote it: safetensors, `torch.save` or TorchScript."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from convert.errors import ConversionError, shown
from convert.lazy_arrays import Arrays, LazyArrays
from convert.safetensors_files import begins_like_safetensors, read_safetensors
from convert.torch_files import START_LENGTH, ScriptModule, Tensor, begins_like_torch, read_torch, tensor_arrays

STATE_DICT = 'state_dict'  # the key of a training checkpoint under which its weights are
PARALLEL_PREFIX = 'module.'  # what a network that was trained on several devices puts in front of its names


@dataclasses.dataclass(frozen=True)
class Weights:
    """What a file of weights holds.

    Attributes:
      arrays: by name, as read-only views; each is read when it is asked for.
      size: bytes of the file.
      beside: names of what else is in the checkpoint that the weights were found in.
      script: whether it is a TorchScript archive.
      parallel: whether the names had the prefix of a network that was trained on several devices.
    """

    arrays: Arrays
    size: int
    beside: tuple[str, ...] = ()
    script: bool = False
    parallel: bool = False


def read_weights(path: Path, files: ExitStack) -> Weights:
    """Reads a safetensors file, a torch archive (TorchScript or not) or an older torch file, told apart by their first
    bytes: a state dict, a checkpoint with one under 'state_dict', or a TorchScript module's tensors.

    Args:
      path: of the file.
      files: closes the file, which must stay open while arrays are read.

    Raises:
      ConversionError: none of these, or damaged.
    """
    size = path.stat().st_size
    file = files.enter_context(path.open('rb'))
    start = file.read(START_LENGTH)
    file.seek(0)
    if begins_like_safetensors(start):
        return Weights(read_safetensors(file), size)
    if not begins_like_torch(start) and start[:1] != b'\x80':
        raise ConversionError(f'is neither a safetensors nor a PyTorch file (it begins with {start[:9]!r}).')
    content = read_torch(file)
    if isinstance(content, ScriptModule):
        return Weights(tensor_arrays(_script_tensors(content)), size, script=True)
    beside: tuple[str, ...] = ()
    if isinstance(content, Mapping) and isinstance(content.get(STATE_DICT), Mapping):
        beside = tuple(key for key in content if isinstance(key, str) and key != STATE_DICT)
        content = content[STATE_DICT]
    arrays = plain_arrays(content)
    plain = without_prefix(arrays)
    return Weights(plain, size, beside, parallel=plain is not arrays)


def plain_arrays(content: Any) -> LazyArrays:
    """The arrays of a state dict, given as tensors or as they are in a safetensors file.

    Raises:
      ConversionError: it is none.
    """
    if not isinstance(content, Mapping):
        raise ConversionError(f'holds a {type(content).__name__}, not a state dict.')
    if not content:
        raise ConversionError('is no state dict: it is empty.')
    if isinstance(content, LazyArrays):
        return content
    odd = [name for name, value in content.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
    if odd:
        raise ConversionError(f'is no state dict: {shown(odd[0])} is no tensor.')
    return tensor_arrays(content)


def without_prefix(arrays: LazyArrays) -> LazyArrays:
    """The arrays without PARALLEL_PREFIX where all have it, and as they are where not."""
    if not all(name.startswith(PARALLEL_PREFIX) for name in arrays):
        return arrays
    names = [name.removeprefix(PARALLEL_PREFIX) for name in arrays]
    return LazyArrays(names, lambda name: arrays[f'{PARALLEL_PREFIX}{name}'])


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
