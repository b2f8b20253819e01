"""The modules inside a published EG3D pickle, as inert records.

Most are written by `torch_utils.persistence`: a dictionary of their class's name, the Python source of its module, and
their `__dict__`. The source is never compiled (see `convert.embedded_source`). Others are written as plain objects of
classes with known names.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BufferedIOBase
from typing import Any

from convert.embedded_source import refuse_planted
from convert.errors import ConversionError, shown
from convert.lazy_arrays import LazyArrays
from convert.torch_files import FILE_NAMES, NestedStorage, Tensor, tensor_arrays
from convert.unpickler import Call, Inert, Names, PlainDict, from_table, read_pickle

PERSISTENCE_VERSIONS = range(1, 7)  # of the dictionary that stands for a persistent object; 6 since 2020
PLAIN_CLASSES = (
    ('training.triplane', 'OSGDecoder'),
    ('training.volumetric_rendering.renderer', 'ImportanceRenderer'),
    ('training.volumetric_rendering.ray_marcher', 'MipRayMarcher2'),
    ('training.volumetric_rendering.ray_sampler', 'RaySampler'),
)
TORCH_MODULES = 'torch.nn.modules.'  # its classes are written plainly: Sequential and Softplus in the published files


class Module(Inert):
    """A module: the name of its class, and its `__dict__`."""

    __slots__ = ('state',)

    class_name = ''
    state: Mapping[str, Any]

    def __new__(cls) -> Module:  # a pickle does not call __init__
        module = super().__new__(cls)
        module.state = {}
        return module

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise ConversionError(f'is damaged: the state of a {self.class_name} is a {type(state).__name__}.')
        self.state = state


def _module_class(name: str) -> type[Module]:
    return type(name, (Module,), {'__slots__': (), 'class_name': name})


def _persistent_module(meta: Any) -> Module:
    """What the published files call `torch_utils.persistence._reconstruct_persistent_obj` for."""
    if not isinstance(meta, dict) or meta.get('type') != 'class':
        raise ConversionError('is damaged: a persistent object has not the expected form.')
    if meta.get('version') not in PERSISTENCE_VERSIONS:
        raise ConversionError(
            f'holds persistent objects of version {shown(meta.get("version"))}; known are versions up to '
            f'{PERSISTENCE_VERSIONS[-1]}.'
        )
    name = meta.get('class_name')
    if not isinstance(name, str):
        raise ConversionError('is damaged: a persistent object has no class name.')
    source = meta.get('module_src')
    if isinstance(source, str):
        refuse_planted(source, name)
    elif source is not None:  # bytes, which EG3D's own loader would run as well
        raise ConversionError(f'holds a source that is no text (class {name}); it is refused, and nothing was run.')
    module = _module_class(name)()
    module.__setstate__(meta.get('state'))
    return module


NAMES: Names = {
    **FILE_NAMES,
    **{(module, name): _module_class(name) for module, name in PLAIN_CLASSES},
    ('dnnlib.util', 'EasyDict'): PlainDict,
    ('torch.storage', '_load_from_bytes'): Call(NestedStorage),
    ('torch_utils.persistence', '_reconstruct_persistent_obj'): Call(_persistent_module),
}


def read_modules(file: BufferedIOBase) -> Any:
    """The content of a pickle, its modules as `Module` records and its tensors as `Tensor` records.

    Args:
      file: opened for binary reading; it must stay open while tensors are read.

    Raises:
      ConversionError: a name that no published file needs, or a damaged pickle.
    """
    return read_pickle(file, lookup)


def lookup(module: str, name: str) -> Any:
    """The stand-in for a name in a pickle of modules."""
    return _module_class(name) if module.startswith(TORCH_MODULES) else _lookup(module, name)


_lookup = from_table(NAMES)


def state_dict(root: Module) -> LazyArrays:
    """The values of `named_tensors`."""
    return tensor_arrays(named_tensors(root))


def named_tensors(root: Module) -> dict[str, Tensor]:
    """The parameters and buffers of a module and of all below it, by dotted name, as PyTorch's `state_dict` has them.

    Raises:
      ConversionError: a module that contains itself, or members that are no tensors and no modules.
    """
    tensors: dict[str, Tensor] = {}
    stack = [('', root)]
    seen = {id(root)}
    while stack:
        prefix, module = stack.pop()
        left_out = module.state.get('_non_persistent_buffers_set', set())
        if not isinstance(left_out, set):
            raise ConversionError(f'is damaged: the buffers of a {module.class_name} that do not persist are no set.')
        members = {**_members(module, '_parameters'), **_members(module, '_buffers')}
        for name, tensor in members.items():
            if tensor is None or name in left_out:
                continue
            if not isinstance(tensor, Tensor):
                raise ConversionError(f'is damaged: {prefix}{name} is no tensor.')
            tensors[f'{prefix}{name}'] = tensor
        for name, child in _members(module, '_modules').items():
            if child is None:
                continue
            if not isinstance(child, Module) or id(child) in seen:
                raise ConversionError(f'is damaged: {prefix}{name} is no module, or one that was met before.')
            seen.add(id(child))
            stack.append((f'{prefix}{name}.', child))
    return tensors


def _members(module: Module, kind: str) -> Mapping[str, Any]:
    members = module.state.get(kind, {})
    if not isinstance(members, dict) or not all(isinstance(name, str) for name in members):
        raise ConversionError(f'is damaged: the {kind} of a {module.class_name} are no dictionary.')
    return members
