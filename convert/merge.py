"""Replacing arrays inside a published pickle, and not one byte beside them.

In the pickle a tensor's values are the end of a nested torch file, which is a byte string. Neither shape nor type of an
array changes, so its new values take exactly the place of the old ones: where each byte string lies, the reader of the
pickle says, and the values are written over in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from convert.eg3d_sources import find_module
from convert.engine import differing_bits
from convert.errors import ConversionError
from convert.persistence import Module, named_tensors, read_modules
from convert.torch_files import NestedStorage, Storage, Tensor
from convert.unpickler import FileBytes, begins_like_pickle

Patches = dict[Storage, tuple[int, np.ndarray]]  # a storage -> its values' place in the file, its new values


def merge(path: Path, network: str, source: Mapping[str, np.ndarray], adapted: Mapping[str, np.ndarray]) -> None:
    """Replaces arrays of one network of a pickle, in place.

    Args:
      path: of the pickle, a copy of the user's.
      network: the name of the network in it.
      source: all arrays that it must hold now, by their published names and in PyTorch's layouts.
      adapted: those of them that are replaced, with their new values.

    Raises:
      ConversionError: the pickle is of another network, or holds these arrays in a way that leaves them no place of
        their own; nothing but `path` was written.
    """
    with path.open('rb') as file:
        if not begins_like_pickle(file):
            raise ConversionError('is no pickle; export a state dict (--output=NAME.pt) instead.')
        patches = _patches(read_modules(file), network, source, adapted)
    with path.open('r+b') as file:
        for place, values in patches.values():
            file.seek(place)
            file.write(values.data)
    _verify(path, network, adapted)


def _patches(
    content: Any, network: str, source: Mapping[str, np.ndarray], adapted: Mapping[str, np.ndarray]
) -> Patches:
    """What is to be written over."""
    tensors = named_tensors(find_module(content, network))
    _check_same(tensors, source, adapted)
    patches: Patches = {}
    for name, values in adapted.items():
        storage = tensors[name].storage
        if storage not in patches:
            patches[storage] = (_place(name, storage), storage.values().copy())
        tensors[name].view(patches[storage][1])[...] = values
    _refuse_side_effects(content, network, adapted, patches)
    _refuse_overwriting(tensors, adapted, patches)
    return patches


def _check_same(
    tensors: Mapping[str, Tensor], source: Mapping[str, np.ndarray], adapted: Mapping[str, np.ndarray]
) -> None:
    """Whether this is the pickle that the source came from."""
    names = {name for name in tensors if not name.endswith('resample_filter')}
    expected = {name for name in source if not name.endswith('resample_filter')}
    differing = sorted(names ^ expected)
    differing += sorted(
        name for name in names & expected if differing_bits(_float32(tensors[name].array()), _float32(source[name]))
    )
    if differing:
        raise ConversionError(
            f'is not the pickle that the source was converted from: {len(differing)} arrays differ '
            f'({", ".join(differing[:3])}{", ..." if len(differing) > 3 else ""}).'
        )
    narrow = sorted(name for name in adapted if tensors[name].array().dtype != np.float32)
    if narrow:
        raise ConversionError(
            f'holds {narrow[0]} as {tensors[narrow[0]].array().dtype}, which cannot hold the adapted values exactly; '
            f'export a state dict (--output=NAME.pt) instead.'
        )


def _float32(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32)


def _place(name: str, storage: Storage) -> int:
    """Where in the pickle the values of a storage begin, which were read before."""
    if isinstance(storage, NestedStorage) and isinstance(storage.payload, FileBytes) and storage.start is not None:
        return storage.payload.start + storage.start
    raise ConversionError(
        f'does not hold the bytes of {name} in one piece (it was written by an older pickle protocol, or not by EG3D); '
        f'export a state dict (--output=NAME.pt) instead.'
    )


def _refuse_side_effects(content: Any, network: str, adapted: Mapping[str, np.ndarray], patches: Patches) -> None:
    """No other tensor, of any network, may change with the adapted ones because it shares their values."""
    replaced = {f'{network}.{name}' for name in adapted}
    for name, tensor in _all_tensors(content):
        if tensor.storage in patches and name not in replaced:
            after = tensor.view(patches[tensor.storage][1])
            if differing_bits(tensor.array(), after):
                raise ConversionError(f'shares values of the adapted arrays with {name}, which would change as well.')


def _refuse_overwriting(tensors: Mapping[str, Tensor], adapted: Mapping[str, np.ndarray], patches: Patches) -> None:
    """No adapted array may lie where another one does."""
    for name, values in adapted.items():
        if differing_bits(tensors[name].view(patches[tensors[name].storage][1]), values):
            raise ConversionError(f'holds {name} in a storage that other adapted arrays overwrite.')


def _all_tensors(content: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """The tensors of all networks of a pickle."""
    for network, module in content.items():
        if isinstance(module, Module):
            for name, tensor in named_tensors(module).items():
                yield f'{network}.{name}', tensor


def _verify(path: Path, network: str, adapted: Mapping[str, np.ndarray]) -> None:
    """Reads the written pickle once more."""
    with path.open('rb') as file:
        tensors = named_tensors(find_module(read_modules(file), network))
        wrong = sorted(name for name, values in adapted.items() if differing_bits(tensors[name].array(), values))
    if wrong:
        raise ConversionError(f'was not written as it should be ({", ".join(wrong)}); nothing was kept.')
