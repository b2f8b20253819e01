"""Where an adapter comes from: the run that made it, or the mix."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from adaptation.adapter import INFO_FILE, AdapterError, adapter_directory
from adaptation.config import AdaptationConfig, CameraOverrides, read_config
from adaptation.errors import ConfigError
from adaptation.workdir import Workdir
from eg3d_jax import CameraConfig
from eg3d_jax.files import read_json

CAMERA = 'camera'  # of an adapter.json that no run's config lies beside: what is changed of the generator's cameras
PLACEHOLDER = {'reference': {'image': 'none'}}  # a config has to have one


def run_config(adapter: str | Path) -> AdaptationConfig | None:
    """The settings of the run that made an adapter; None: no run's config lies beside it.

    Raises:
        AdapterError: the config is damaged.
    """
    path = Workdir(adapter_directory(adapter)).config
    if not path.exists():
        return None
    try:
        return read_config(read_json(path))
    except (ValueError, ConfigError, AttributeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise AdapterError(f'{path} is damaged, or of a newer version ({reason}): copy the run again.') from None


def camera_overrides(adapter: str | Path) -> CameraOverrides:
    """What the run that an adapter comes from changes of the generator's cameras, also of a mix (those of its first
    adapter) or of what was taken out of several domains.

    Raises:
        AdapterError: the config or the adapter.json beside it is damaged.
    """
    if (config := run_config(adapter)) is not None:
        return config.camera
    directory = adapter_directory(adapter)
    try:
        return read_config({**PLACEHOLDER, 'camera': adapter_info(directory).get(CAMERA, {})}).camera
    except ConfigError as error:
        raise AdapterError(f'{directory / INFO_FILE} is damaged ({error.problems[0]}): copy it again.') from None


def with_overrides(overrides: CameraOverrides, own: CameraConfig) -> CameraConfig:
    """The generator's own cameras, with what a run changes of them."""
    return replace(own, **{name: value for name, value in vars(overrides).items() if value is not None})


def generator_of(adapter: str | Path, flag: str = '--source') -> str:
    """What the generator that an adapter belongs to is called, as in `config.generator`.

    Args:
        adapter: a run, a mix, or what was taken out of several domains.
        flag: by which it can be named instead.

    Raises:
        AdapterError: there is no adapter, nothing beside it says so, or the config there is damaged.
    """
    if (config := run_config(adapter)) is not None:
        return config.generator
    directory = adapter_directory(adapter)
    info = adapter_info(directory)
    if not isinstance(info.get('generator'), str):
        raise AdapterError(f'{directory} does not say which generator it was made from: name it with {flag}.')
    return info['generator']


def domains_of(adapter: str | Path) -> tuple[str, ...]:
    """The domains that an adapter holds; none: it holds one style.

    Raises:
        AdapterError: there is no adapter, or it is damaged.
    """
    names = adapter_info(adapter_directory(adapter)).get('domains', ())
    return tuple(map(str, names)) if isinstance(names, list) else ()


def adapter_info(directory: Path) -> dict[str, Any]:
    """What an adapter.json says.

    Raises:
        AdapterError: there is none, or it is damaged.
    """
    try:
        info = read_json(directory / INFO_FILE)
    except OSError as error:
        raise AdapterError(f'cannot read {directory / INFO_FILE}: {error.strerror}') from None
    except ValueError as error:
        raise AdapterError(str(error)) from None
    return info if isinstance(info, dict) else {}
