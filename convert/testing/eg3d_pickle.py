"""Writes pickles as EG3D's training does.

Pickle stores classes by name, so while it writes, `sys.modules` holds stand-ins of the reference's modules, with
classes of the right names and no behaviour.
"""

from __future__ import annotations

import pickle
import re
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from convert.testing.eg3d_entries import (
    Entries,
    discriminator_arguments,
    discriminator_entries,
    generator_entries,
    random_arrays,
)

PERSISTENCE_VERSION = 6
MODULE_SOURCE = 'raise RuntimeError("the source inside a checkpoint was executed")\n'

STYLEGAN = 'training.networks_stylegan2'
RENDERING = 'training.volumetric_rendering'
# (pattern of a part's dotted name, module, class, whether the reference writes it as a persistent object)
GENERATOR_CLASSES = (
    (r'', 'training.triplane', 'TriPlaneGenerator', True),
    (r'backbone', STYLEGAN, 'Generator', True),
    (r'backbone\.mapping', STYLEGAN, 'MappingNetwork', True),
    (r'backbone\.synthesis', STYLEGAN, 'SynthesisNetwork', True),
    (r'superresolution', 'training.superresolution', 'SuperresolutionHybrid8XDC', True),
    (r'backbone\.synthesis\.b\d+|superresolution\.block\d', STYLEGAN, 'SynthesisBlock', True),
    (r'.*\.conv\d', STYLEGAN, 'SynthesisLayer', True),
    (r'.*\.torgb', STYLEGAN, 'ToRGBLayer', True),
    (r'.*\.(affine|embed|fc\d+)|decoder\.net\.[02]', STYLEGAN, 'FullyConnectedLayer', True),
    (r'decoder', 'training.triplane', 'OSGDecoder', False),
    (r'decoder\.net', 'torch.nn.modules.container', 'Sequential', False),
    (r'decoder\.net\.1', 'torch.nn.modules.activation', 'Softplus', False),
    (r'renderer', f'{RENDERING}.renderer', 'ImportanceRenderer', False),
    (r'renderer\.ray_marcher', f'{RENDERING}.ray_marcher', 'MipRayMarcher2', False),
    (r'ray_sampler', f'{RENDERING}.ray_sampler', 'RaySampler', False),
)
GENERATOR_BARE_PARTS = ('decoder.net.1', 'renderer.ray_marcher', 'ray_sampler')  # parts that hold no arrays
DISCRIMINATOR_CLASSES = (
    (r'', 'training.dual_discriminator', 'DualDiscriminator', True),
    (r'mapping', STYLEGAN, 'MappingNetwork', True),
    (r'mapping\..*|b4\.(fc|out)', STYLEGAN, 'FullyConnectedLayer', True),
    (r'b4', STYLEGAN, 'DiscriminatorEpilogue', True),
    (r'b4\.mbstd', STYLEGAN, 'MinibatchStdLayer', True),
    (r'b\d+', STYLEGAN, 'DiscriminatorBlock', True),
    (r'b\d+\..*', STYLEGAN, 'Conv2dLayer', True),
)
DISCRIMINATOR_BARE_PARTS = ('b4.mbstd',)
Classes = tuple[tuple[str, str, str, bool], ...]


class Python2Pickler(pickle._Pickler):  # the one in Python: its instructions can be changed
    """Writes as Python 2 did: protocol 2, text and bytes both as strings of bytes."""

    def __init__(self, file: Any):
        super().__init__(file, 2)

    def save_string(self, value: str | bytes) -> None:
        """Text, names of attributes and buffers are all the same."""
        content = value.encode('latin1') if isinstance(value, str) else value
        short = len(content) < 256
        opcode, length = (pickle.SHORT_BINSTRING, 1) if short else (pickle.BINSTRING, 4)
        writer: Any = self
        writer.write(opcode + len(content).to_bytes(length, 'little') + content)
        writer.memoize(value)

    dispatch: ClassVar[Any] = pickle._Pickler.dispatch | {str: save_string, bytes: save_string}


class Reference:
    """Defines classes under the reference's names; made by `reference_modules`."""

    def __init__(self) -> None:
        self.replaced: dict[str, types.ModuleType | None] = {}
        self._classes: dict[tuple[str, str], Any] = {}
        self.easy_dict = self.define('dnnlib.util', type('EasyDict', (dict,), {}))
        self.reconstruct = self.define('torch_utils.persistence', _reconstruct_persistent_obj)

    def define(self, module: str, value: Any) -> Any:
        """Makes `module.<name of value>` the name under which pickle stores a class or function."""
        parts = module.split('.')
        for name in ('.'.join(parts[: n + 1]) for n in range(len(parts))):
            if name not in self.replaced:
                self.replaced[name] = sys.modules.get(name)
                sys.modules[name] = types.ModuleType(name)
        value.__module__ = module
        setattr(sys.modules[module], value.__name__, value)
        return value

    def part(self, module: str, name: str, persistent: bool) -> torch.nn.Module:
        """An empty network of that class."""
        if module.startswith('torch.'):
            return getattr(sys.modules[module], name)()
        if (module, name) not in self._classes:
            members = {'__reduce_ex__': self._reduce_persistent()} if persistent else {}
            self._classes[module, name] = self.define(module, type(name, (torch.nn.Module,), members))
        return self._classes[module, name]()

    def _reduce_persistent(self) -> Any:
        def reduce(part: torch.nn.Module, protocol: int) -> tuple[Any, ...]:
            meta = {
                'type': 'class',
                'version': PERSISTENCE_VERSION,
                'module_src': MODULE_SOURCE,
                'class_name': type(part).__name__,
                'state': part.__dict__,
            }
            return self.reconstruct, (meta,)

        return reduce


def _reconstruct_persistent_obj(meta: dict[str, Any]) -> None:
    """Only its name is ever used."""


@contextmanager
def reference_modules() -> Iterator[Reference]:
    """Inside the block, networks with the reference's class names can be made and pickled."""
    reference = Reference()
    try:
        yield reference
    finally:
        for name, module in reference.replaced.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def generator(
    reference: Reference, arguments: Mapping[str, Any], arrays: Mapping[str, np.ndarray], neural_resolution: int
) -> torch.nn.Module:
    """A generator with these constructor arguments and arrays."""
    entries = generator_entries(arguments)
    network = _network(reference, GENERATOR_CLASSES, GENERATOR_BARE_PARTS, entries, arrays)
    state: Any = network
    state._init_args = ()
    state._init_kwargs = reference.easy_dict(arguments)
    state.rendering_kwargs = reference.easy_dict(arguments['rendering_kwargs'])
    state.neural_rendering_resolution = neural_resolution
    layers = state.decoder.net
    state.decoder.net = torch.nn.Sequential(*(layers.get_submodule(name) for name in '012'))  # in their order
    state.renderer.plane_axes = torch.eye(3)  # not part of the state dict
    return network


def discriminator(
    reference: Reference, arguments: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> torch.nn.Module:
    """The dual discriminator of a generator with these constructor arguments, with these arrays."""
    entries = discriminator_entries(arguments)
    network = _network(reference, DISCRIMINATOR_CLASSES, DISCRIMINATOR_BARE_PARTS, entries, arrays)
    state: Any = network
    state._init_args, state._init_kwargs = (), reference.easy_dict(discriminator_arguments(arguments))
    return network


def _network(
    reference: Reference,
    classes: Classes,
    bare_parts: tuple[str, ...],
    entries: Entries,
    arrays: Mapping[str, np.ndarray],
) -> torch.nn.Module:
    parts: dict[str, torch.nn.Module] = {}

    def part(path: str) -> torch.nn.Module:
        if path not in parts:
            _, module, name, persistent = next(row for row in classes if re.fullmatch(row[0], path))
            parts[path] = reference.part(module, name, persistent)
            if name == 'FullyConnectedLayer':
                parts[path].weight_gain = np.sqrt(np.float64(0.5))
            if path:
                parent, _, child = path.rpartition('.')
                part(parent).add_module(child, parts[path])
        return parts[path]

    for name, entry in entries.items():
        path, _, leaf = name.rpartition('.')
        tensor = torch.from_numpy(arrays[name])
        if entry.kind == 'parameter':
            part(path).register_parameter(leaf, torch.nn.Parameter(tensor, requires_grad=False))
        else:
            part(path).register_buffer(leaf, tensor)
    for path in bare_parts:
        part(path)
    return part('').eval()


def write_pickle(
    path: Path,
    arguments: Mapping[str, Any],
    *,
    neural_resolution: int = 128,
    seed: int = 0,
    whole: bool = True,
    protocol: int = 4,
) -> dict[str, np.ndarray]:
    """Writes a random published pickle, and returns the arrays of its `G_ema`, in PyTorch's layout.

    Args:
      path: of the pickle.
      arguments: the generator's constructor arguments.
      neural_resolution: side of the rendered feature image.
      seed: of the `G_ema`; the other networks have following ones.
      whole: with `G` and `D`, as the published files are; a third of the size without.
      protocol: of the pickle. The published files have Python 3.8's, 4.
    """
    arrays = random_arrays(generator_entries(arguments), seed)
    with reference_modules() as reference:
        content: dict[str, Any] = {'training_set_kwargs': reference.easy_dict(class_name='dataset', resolution=512)}
        if whole:
            other = random_arrays(generator_entries(arguments), seed + 1)
            content['G'] = generator(reference, arguments, other, neural_resolution)
            content['D'] = discriminator(
                reference, arguments, random_arrays(discriminator_entries(arguments), seed + 2)
            )
        content['augment_pipe'] = None
        content['G_ema'] = generator(reference, arguments, arrays, neural_resolution)
        with path.open('wb') as file:
            pickle.dump(content, file, protocol)
    return arrays
