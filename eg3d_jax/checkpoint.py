"""A generator or discriminator on disk: `config.json` and `weights.safetensors`, named by the module's paths."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from eg3d_jax.config import DiscriminatorConfig, GeneratorConfig
from eg3d_jax.discriminator import DualDiscriminator
from eg3d_jax.files import replacing
from eg3d_jax.generator import TriPlaneGenerator

CONFIG_FILE = 'config.json'
WEIGHTS_FILE = 'weights.safetensors'
STORED_DTYPES = ('float32', 'float16')


Config = TypeVar('Config', GeneratorConfig, DiscriminatorConfig)
Network = TypeVar('Network', TriPlaneGenerator, DualDiscriminator)


class CheckpointError(Exception):
    """A network's files are missing, damaged, or do not fit each other."""


def weight_names(network: TriPlaneGenerator | DualDiscriminator) -> dict[str, nnx.Variable]:
    """Every stored array of the network by its dotted path, the name that it has in the weights file."""
    flat = nnx.to_flat_state(nnx.state(network))
    return {'.'.join(map(str, path)): variable for path, variable in flat}


def save_generator(generator: TriPlaneGenerator, directory: str | Path, dtype: str | None = None) -> None:
    """Write the generator into a directory, made if needed.

    Each file is written under a temporary name and renamed when both are whole.

    Args:
        dtype: 'float32' or 'float16' on disk; None: float32.

    Raises:
        ValueError: another dtype.
        OSError: the files cannot be written, on a full disk for example; an earlier generator there is left as it was.
    """
    dtype = 'float32' if dtype is None else dtype
    if dtype not in STORED_DTYPES:
        raise ValueError(f'dtype must be one of {STORED_DTYPES}, got {dtype!r}')
    directory = Path(directory)
    arrays = {name: np.asarray(value[...], dtype) for name, value in weight_names(generator).items()}
    config = json.dumps(generator.config.to_dict(), indent=2) + '\n'
    try:
        with replacing(directory / CONFIG_FILE) as config_file, replacing(directory / WEIGHTS_FILE) as weights_file:
            save_file(arrays, weights_file)
            config_file.write_text(config)
    except (OSError, SafetensorError) as error:  # safetensors tells of a full disk by an error of its own
        reason = getattr(error, 'strerror', None) or error
        raise OSError(
            f'the generator cannot be written to {directory}: {reason}; make room there, or give another directory.'
        ) from error


def load_generator(directory: str | Path) -> TriPlaneGenerator:
    """Read a generator that `save_generator` or the converter wrote. Weights are float32 in memory.

    Raises:
        CheckpointError: a file is missing or damaged, the config is wrong, or weights and config do not fit; the
            message names the file and every offending entry.
    """
    config = _load_config(Path(directory) / CONFIG_FILE, GeneratorConfig)
    return _load_network(Path(directory), lambda: TriPlaneGenerator(config, rngs=nnx.Rngs(0)))


def load_discriminator(directory: str | Path) -> DualDiscriminator:
    """Read a discriminator that the converter wrote (`--network=D`). Weights are float32 in memory.

    Raises:
        CheckpointError: as `load_generator` does.
    """
    config = _load_config(Path(directory) / CONFIG_FILE, DiscriminatorConfig)
    return _load_network(Path(directory), lambda: DualDiscriminator(config, rngs=nnx.Rngs(0)))


def _load_network(directory: Path, build: Callable[[], Network]) -> Network:
    arrays = _load_arrays(directory / WEIGHTS_FILE)
    network = nnx.eval_shape(build)
    variables = weight_names(network)
    _check_fit(directory / WEIGHTS_FILE, {name: value.shape for name, value in variables.items()}, arrays)
    state = nnx.state(network)
    for path, variable in nnx.to_flat_state(state):
        variable.set_value(jnp.asarray(arrays['.'.join(map(str, path))], jnp.float32))
    nnx.update(network, state)
    return network


def _load_config(path: Path, kind: type[Config]) -> Config:
    try:
        return kind.from_dict(json.loads(path.read_text()))
    except OSError as error:
        raise CheckpointError(f'cannot read {path}: {error.strerror}') from error
    except ValueError as error:  # JSON errors are ValueErrors as well
        what = kind.__name__.removesuffix('Config').lower()
        raise CheckpointError(f'{path} is no config of a {what}: {error}') from error


def _load_arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise CheckpointError(f'cannot read {path}: no such file')
    try:
        return load_file(path)
    except (SafetensorError, OSError, KeyError) as error:
        raise CheckpointError(f'{path} is damaged or no safetensors file: {error}') from error


def _check_fit(path: Path, expected: dict[str, tuple[int, ...]], arrays: dict[str, np.ndarray]) -> None:
    problems = [f'{name} is missing' for name in expected if name not in arrays]
    problems += [f'{name} is not part of this network' for name in arrays if name not in expected]
    for name in sorted(set(expected) & set(arrays)):
        if arrays[name].shape != expected[name]:
            problems.append(f'{name} has shape {arrays[name].shape}, expected {expected[name]}')
        elif not np.issubdtype(arrays[name].dtype, np.floating):
            problems.append(f'{name} is of type {arrays[name].dtype}, expected a floating-point type')
    if problems:
        raise CheckpointError(f'{path} does not fit its {CONFIG_FILE}:\n  ' + '\n  '.join(problems))
