"""A measuring network on disk: `config.json` and `weights.safetensors`, named by the module's paths."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from eg3d_jax.files import replacing

CONFIG_FILE = 'config.json'
WEIGHTS_FILE = 'weights.safetensors'
NETWORK = 'network'  # the field of `config.json` that says what the weights are of


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Sizes of a network: whole numbers, or several of them."""

    network: ClassVar[str]  # its name in `config.json`
    converter: ClassVar[str]  # the command that makes its checkpoints

    def to_dict(self) -> dict[str, Any]:
        """What `config.json` holds."""
        return {NETWORK: self.network, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, values: Any) -> Any:
        """The inverse of `to_dict`, of what JSON makes of it too.

        Raises:
          ValueError: it is of another network, a field is unknown, missing or of a wrong type, or the sizes do not fit
            together.
        """
        if not isinstance(values, dict) or values.get(NETWORK) != cls.network:
            found = values.get(NETWORK) if isinstance(values, dict) else values
            raise ValueError(f'is of the network {found!r}, expected {cls.network!r} ({cls.converter} makes one).')
        fields = {field.name: field.default for field in dataclasses.fields(cls)}
        values = {name: value for name, value in values.items() if name != NETWORK}
        problems = [f'unknown field {name!r}' for name in sorted(values.keys() - fields.keys())]
        problems += [f'missing field {name!r}' for name in sorted(fields.keys() - values.keys())]
        for name in sorted(fields.keys() & values.keys()):
            numbers = values[name] if isinstance(fields[name], tuple) else [values[name]]
            if not isinstance(numbers, list | tuple) or not all(type(number) is int for number in numbers):
                kind = 'whole numbers' if isinstance(fields[name], tuple) else 'a whole number'
                problems.append(f'{name} must be {kind}, got {values[name]!r}')
        if problems:
            raise ValueError(f'{", ".join(problems)}.')
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


@runtime_checkable
class Network(Protocol):
    """A module that knows its sizes."""

    config: NetworkConfig


Config = TypeVar('Config', bound=NetworkConfig)
Module = TypeVar('Module', bound=nnx.Module)


def load_network(directory: str | Path, config_type: type[Config], build: Callable[[Config], Module]) -> Module:
    """Reads a checkpoint. Weights are float32 whatever their type in the file.

    Args:
      directory: of the checkpoint.
      config_type: of the network that is expected.
      build: makes a network of a config; only its shapes are computed.

    Raises:
      FileNotFoundError: the directory lacks `config.json` or `weights.safetensors`.
      ValueError: it is of another network, the config has unknown or missing fields, or the weights do not fit it; all
        misfits are named at once.
    """
    directory = Path(directory)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (directory / name).is_file():
            raise FileNotFoundError(
                f'{directory} is no checkpoint of {config_type.network}: {name} is missing '
                f'({config_type.converter} makes one).'
            )
    try:
        config = config_type.from_dict(json.loads((directory / CONFIG_FILE).read_text(encoding='utf-8')))
    except ValueError as error:
        raise ValueError(f'{directory / CONFIG_FILE}: {error}') from None
    try:
        weights = load_file(directory / WEIGHTS_FILE)
    except SafetensorError as error:
        raise ValueError(f'{directory / WEIGHTS_FILE}: is damaged or cut short ({error}).') from None
    try:
        return with_weights(lambda: build(config), weights)
    except ValueError as error:
        raise ValueError(f'{directory / WEIGHTS_FILE}: {error}') from None


def with_weights(build: Callable[[], Module], weights: Mapping[str, np.ndarray]) -> Module:
    """The module that `build` makes, with these weights in place of its own.

    Args:
      build: makes the module; only its shapes are computed.
      weights: by the dotted paths of the module's leaves.

    Raises:
      ValueError: weights that are missing, unknown or of another shape; all are named at once.
    """
    graphdef, state = nnx.split(nnx.eval_shape(build))
    leaves = {'.'.join(map(str, path)): (path, leaf) for path, leaf in nnx.to_flat_state(state)}
    problems = [f'{name} is missing' for name in leaves.keys() - weights.keys()]
    problems += [f'{name} is unknown' for name in weights.keys() - leaves.keys()]
    for name in leaves.keys() & weights.keys():
        expected, found = leaves[name][1].shape, weights[name].shape
        if expected != found:
            problems.append(f'{name} has shape {list(found)}, expected {list(expected)}')
    if problems:
        raise ValueError(f'does not fit the config: {"; ".join(sorted(problems))}.')
    values = [(path, leaf.replace(jnp.asarray(weights[name], jnp.float32))) for name, (path, leaf) in leaves.items()]
    return nnx.merge(graphdef, nnx.from_flat_state(values))


def save_network(network: Network, directory: str | Path) -> None:
    """Writes a checkpoint; both files are written under temporary names and renamed when they are whole.

    Args:
      network: an `nnx.Module` with its config.
      directory: made if it does not exist; other files in it stay.

    Raises:
      OSError: the files cannot be written.
    """
    directory = Path(directory)
    flat = nnx.to_flat_state(nnx.state(network))
    arrays = {'.'.join(map(str, path)): np.asarray(variable[...]) for path, variable in flat}
    with replacing(directory / CONFIG_FILE) as config_file, replacing(directory / WEIGHTS_FILE) as weights_file:
        config_file.write_text(json.dumps(network.config.to_dict(), indent=2) + '\n', encoding='utf-8')
        save_file(arrays, weights_file)
