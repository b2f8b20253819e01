"""The arrays of a Flax module by their dotted names, the names that they have in a checkpoint's weights file."""

import hashlib
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from flax import nnx
from jax import Array

Module = TypeVar('Module', bound=nnx.Module)


def named_leaves(module: nnx.Module, kind: type[nnx.Variable] = nnx.Variable) -> dict[str, Array]:
    """Every array of this kind (`nnx.Param`: what can be trained) by name."""
    return {_name(path): leaf[...] for path, leaf in nnx.to_flat_state(nnx.state(module, kind))}


def with_leaves(module: Module, leaves: Mapping[str, Array]) -> Module:
    """A copy of the module in which these leaves are replaced and the others shared; works under `jax.jit`.

    Raises:
        KeyError: a name that the module does not have.
    """
    graphdef, state = nnx.split(module)
    flat = nnx.to_flat_state(state)
    unknown = leaves.keys() - {_name(path) for path, _ in flat}
    if unknown:
        raise KeyError(f'{type(module).__name__} has no leaves {sorted(unknown)}')
    replaced = [(path, leaf.replace(leaves.get(_name(path), leaf[...]))) for path, leaf in flat]
    return nnx.merge(graphdef, nnx.from_flat_state(replaced))


def matching(names: list[str] | tuple[str, ...], prefix: str) -> tuple[str, ...]:
    """The names at or below a dotted path."""
    return tuple(name for name in names if f'{name}.'.startswith(f'{prefix}.'))


def fingerprint(module: nnx.Module) -> str:
    """SHA-256 of a module's arrays as float32: the same for the same network, however it is stored."""
    digest = hashlib.sha256()
    for name, leaf in sorted(named_leaves(module).items()):
        array = np.ascontiguousarray(leaf, np.float32)
        digest.update(f'{name} {array.shape}'.encode())
        digest.update(array.data)
    return digest.hexdigest()


def _name(path: tuple[Any, ...]) -> str:
    return '.'.join(map(str, path))
