"""Reading an EG3D network from whatever it was saved as: the published pickle, or a state dict.

The files are told apart by their first bytes, not by their names.
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import eg3d_jax
from convert.eg3d_names import DISCRIMINATOR_MARK
from convert.errors import LONGEST_TEXT, ConversionError, shown
from convert.lazy_arrays import Arrays
from convert.persistence import Module, lookup, read_modules, state_dict
from convert.safetensors_files import begins_like_safetensors, read_safetensors
from convert.state_dicts import plain_arrays, without_prefix
from convert.torch_files import START_LENGTH, begins_like_torch, read_torch
from convert.unpickler import begins_like_pickle

NETWORKS = ('G_ema', 'G', 'D')  # the generator's moving average, which is what one uses; the generator; its opponent
PUBLISHED = {  # names of the published files -> our presets
    'ffhq512-64': 'ffhq512_64',
    'ffhq512-128': 'ffhq512_128',
    'ffhqrebalanced512-64': 'ffhqrebalanced512_64',
    'ffhqrebalanced512-128': 'ffhqrebalanced512_128',
    'afhqcats512-128': 'afhq512_128',
    'shapenetcars128-64': 'shapenetcars128_64',
}
ARGUMENTS, RENDERING_ARGUMENTS, NEURAL_RESOLUTION = 'init_kwargs', 'rendering_kwargs', 'neural_rendering_resolution'
STATE_DICT = 'state_dict'
MOST_ARGUMENTS = 500  # values in constructor arguments, with those in their lists and dictionaries

EG3DConfig = eg3d_jax.GeneratorConfig | eg3d_jax.DiscriminatorConfig


@dataclasses.dataclass(frozen=True)
class Network:
    """A network of a source: its arrays in PyTorch's layouts, each read when it is asked for, its config, and notes on
    what is not taken over."""

    arrays: Arrays
    config: EG3DConfig
    notes: tuple[str, ...] = ()


def read_network(path: Path, network: str, preset: str | None, files: ExitStack) -> Network:
    """Reads one network of a file.

    Args:
      path: a pickle, a PyTorch file or a safetensors file.
      network: one of NETWORKS.
      preset: the name of a published network or of a preset, or the path of a `config.json` of ours, for files without
        constructor arguments.
      files: closes the file, which must stay open while arrays are read.

    Raises:
      ConversionError: what is wrong with the file, the network or the preset.
    """
    if not path.is_file():
        raise ConversionError('is no file.' if path.exists() else 'does not exist.')
    file = files.enter_context(path.open('rb'))
    start = file.read(START_LENGTH)
    file.seek(0)
    if begins_like_safetensors(start):
        return _from_state_dict(read_safetensors(file), network, preset)
    if begins_like_torch(start):
        content = read_torch(file, lookup)
        chosen = content.get(network) if isinstance(content, Mapping) else None
        if not isinstance(chosen, Module):
            return _from_state_dict(content, network, preset)
    elif begins_like_pickle(file):
        content = read_modules(file)
    else:
        raise ConversionError(f'is no pickle, and so no published EG3D file (it begins with {start[:8]!r}).')
    return _from_modules(content, network, preset)


def _from_modules(content: Any, network: str, preset: str | None) -> Network:
    """A network of a published pickle."""
    module = find_module(content, network)
    arguments = module.state.get('_init_kwargs')
    if isinstance(arguments, dict):
        if preset is not None:
            raise ConversionError('says itself what its network was made with, so it takes no --preset.')
        if network != 'D':
            # The attribute counts where it differs from the argument: it is what the network ran with last.
            arguments = {**arguments, RENDERING_ARGUMENTS: module.state[RENDERING_ARGUMENTS]}
        config, notes = _config(network, arguments, module.state.get(NEURAL_RESOLUTION))
        return Network(state_dict(module), config, notes)
    if preset is None:
        raise ConversionError(
            f'does not say what its {network} was made with (_init_kwargs); name it with --preset ({_known()}).'
        )
    return Network(state_dict(module), preset_config(preset, network))


def find_module(content: Any, network: str) -> Module:
    """A network of a pickle's content.

    Raises:
      ConversionError: there is no such network, or it is one of another kind.
    """
    if not isinstance(content, Mapping) or network not in content:
        raise ConversionError(f'has no {network}, as published EG3D files do; it holds {_contents(content)}.')
    module = content[network]
    if not isinstance(module, Module):
        raise ConversionError(f'is damaged: its {network} is a {type(module).__name__}, not a network.')
    renders = {RENDERING_ARGUMENTS, NEURAL_RESOLUTION} <= module.state.keys()
    if network == 'D' and module.class_name != 'DualDiscriminator':
        raise ConversionError(f'holds a {shown(module.class_name)} as its D, which is no dual discriminator.')
    if network != 'D' and not renders:
        raise ConversionError(
            f'holds a {shown(module.class_name)} as its {network}: without a volume renderer, it is no EG3D generator.'
        )
    return module


def _contents(content: object) -> str:
    """What is inside instead of a network, in few words."""
    if not isinstance(content, Mapping):
        return f'a {type(content).__name__}'
    names = [_plainly_shown(name) for name in list(content)[:5]]
    return ', '.join(names) + (f' and {len(content) - 5} more' if len(content) > 5 else '') or 'nothing'


def _plainly_shown(name: object) -> str:
    """A name without quotes, if it is one that a message can hold."""
    return name if isinstance(name, str) and len(name) <= LONGEST_TEXT else shown(name)


def _from_state_dict(content: Any, network: str, preset: str | None) -> Network:
    """A state dict: the content itself, or under the network's name or under 'state_dict'; with or without the
    constructor arguments beside it."""
    outer: Mapping[str, Any] = content if isinstance(content, Mapping) else {}
    inner = next((outer[key] for key in (network, STATE_DICT) if isinstance(outer.get(key), Mapping)), content)
    arrays = without_prefix(plain_arrays(inner))
    if (DISCRIMINATOR_MARK in arrays) != (network == 'D'):
        found = '--network=D' if network != 'D' else '--network=G_ema'
        raise ConversionError(f'does not hold a {network}; convert it with {found}.')
    arguments = outer.get(ARGUMENTS)
    if isinstance(arguments, Mapping) and preset is None:
        if RENDERING_ARGUMENTS in outer:
            arguments = {**arguments, RENDERING_ARGUMENTS: outer[RENDERING_ARGUMENTS]}
        config, notes = _config(network, arguments, outer.get(NEURAL_RESOLUTION))
        return Network(arrays, config, notes)
    if preset is None:
        raise ConversionError(
            f'is a state dict, which does not say what network it is of; name it with --preset ({_known()}).'
        )
    return Network(arrays, preset_config(preset, network))


def _config(network: str, arguments: Mapping[str, Any], resolution: Any) -> tuple[EG3DConfig, tuple[str, ...]]:
    """The config from constructor arguments, and notes on what it does not take over."""
    _refuse_endless(arguments)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        try:
            config: EG3DConfig
            if network == 'D':
                config = eg3d_jax.DiscriminatorConfig.from_init_kwargs(arguments)
            else:
                config = eg3d_jax.GeneratorConfig.from_init_kwargs(arguments, resolution)
        except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
            raise ConversionError(f'holds a network that is not supported: {error}.') from error
    return config, tuple(str(warning.message) for warning in caught)


def _refuse_endless(arguments: Mapping[str, Any]) -> None:
    """What is wrong with arguments is told with their values, and a small file can hold some that are endless to write
    out: lists of the same lists."""
    left = MOST_ARGUMENTS
    waiting: list[Any] = [arguments]
    while waiting:
        value = waiting.pop()
        items = value if isinstance(value, Mapping | list | tuple | set) else ()
        left -= len(items)
        if left < 0:
            raise ConversionError(f'holds a network that was made with more than {MOST_ARGUMENTS} values; none is.')
        waiting += items.values() if isinstance(items, Mapping) else items


def preset_config(preset: str, network: str) -> EG3DConfig:
    """The config that `--preset` names.

    Raises:
      ConversionError: there is no such preset or file, or it is no config of such a network.
    """
    if preset.endswith('.json'):
        kind = eg3d_jax.DiscriminatorConfig if network == 'D' else eg3d_jax.GeneratorConfig
        try:
            return kind.from_dict(json.loads(Path(preset).read_text(encoding='utf-8')))
        except (OSError, ValueError) as error:
            raise ConversionError(f'--preset={preset} is no config of such a network: {error}.') from error
    try:
        config = eg3d_jax.preset(PUBLISHED.get(preset, preset))
    except ValueError:
        raise ConversionError(f'--preset={preset} is unknown; known are {_known()}.') from None
    return eg3d_jax.DiscriminatorConfig(image_resolution=config.image_resolution) if network == 'D' else config


def _known() -> str:
    return f'{", ".join(PUBLISHED)}, or a config.json of ours'
