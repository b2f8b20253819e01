"""Adapters: an adapted generator stored as its difference from the source, a few megabytes.

`adapter.safetensors` holds the adapted leaves (Tri-D and G2 for the method's own phases) in float32 under their
published names; `adapter.json` beside it says which source they belong to, by a hash of its weights and by its config.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from adaptation.config import MINIATURE, flatten
from adaptation.domain_codes import DomainError, chosen_code
from adaptation.domains import domain_leaves, misfitting
from adaptation.errors import AdaptationError, ConfigError
from adaptation.leaves import fingerprint, named_leaves, with_leaves
from adaptation.sources import SourceError, generator_directory
from eg3d_jax import CheckpointError, GeneratorConfig, TriPlaneGenerator, load_generator
from eg3d_jax.files import read_json, replacing, write_json

WEIGHTS_FILE = 'adapter.safetensors'
INFO_FILE = 'adapter.json'
FORMAT = 1
DOMAINS_FORMAT = 2  # of several domains: shared leaves and what each domain adds, see adaptation.domains
FREE_SETTINGS = ('camera.', 'rendering.max_points')  # of a generator's config: others change what is drawn


class AdapterError(AdaptationError):
    """An adapter that is missing, damaged, or of another generator."""


class AdapterDomainError(AdapterError):
    """A domain that an adapter does not hold, or none chosen of several: a flag that is refused."""

    exit_code = ConfigError.exit_code


def load_adapted(
    source: TriPlaneGenerator | str | Path, adapter: str | Path, domain: str | Mapping[str, float] | None = None
) -> TriPlaneGenerator:
    """The adapted generator.

    Args:
        source: the generator that was adapted, what `load_source` takes, or 'miniature'. It is not changed.
        adapter: an `adapter.safetensors` with its `adapter.json` beside it, or the directory of both.
        domain: of an adapter of several domains, a name, or weights of names, in a dictionary or as
            'sketch:0.5,ukiyoe:0.5'.

    Raises:
        AdapterError: the adapter is missing or damaged, was made from another generator, or has no such domain.
        eg3d_jax.CheckpointError: the source directory holds no generator.
    """
    generator = source if isinstance(source, TriPlaneGenerator) else load_source(source)
    return with_leaves(generator, load_leaves(generator, adapter, domain))


def load_leaves(
    generator: TriPlaneGenerator, adapter: str | Path, domain: str | Mapping[str, float] | None = None
) -> dict[str, Array]:
    """The adapted leaves of an adapter, by name.

    Args:
        generator: the source.
        adapter, domain: as for `load_adapted`.

    Raises:
        AdapterError: the adapter is missing or damaged, was made from another generator, or has no such domain.
    """
    leaves, domains = _load(generator, adapter)
    try:
        code = chosen_code(domain, domains)
    except DomainError as error:
        raise AdapterDomainError(f'{adapter_directory(adapter)}: {error}') from None
    return leaves if code is None else domain_leaves(leaves, jnp.asarray(code))


def load_styles(generator: TriPlaneGenerator, adapter: str | Path) -> dict[str, dict[str, Array]]:
    """The adapted leaves of each style that an adapter holds, by domain; those of its only one by ''.

    Raises:
        AdapterError: the adapter is missing or damaged, or was made from another generator.
    """
    leaves, domains = _load(generator, adapter)
    if not domains:
        return {'': leaves}
    return {name: domain_leaves(leaves, code) for name, code in zip(domains, jnp.eye(len(domains)), strict=True)}


def load_domains(generator: TriPlaneGenerator, adapter: str | Path) -> tuple[dict[str, Array], tuple[str, ...]]:
    """The leaves of an adapter of several domains, as `adaptation.domains.domain_leaves` takes them, and their names.

    Raises:
        AdapterError: the adapter is missing or damaged, was made from another generator, or holds one style alone.
    """
    leaves, domains = _load(generator, adapter)
    if not domains:
        raise AdapterDomainError(
            f'{adapter_directory(adapter)} holds one style alone: name an adapter of several domains.'
        )
    return leaves, domains


def adapter_directory(adapter: str | Path) -> Path:
    """The directory of an adapter, which is named by itself or by its weights file."""
    path = Path(adapter)
    return path.parent if path.suffix == '.safetensors' else path


def _load(generator: TriPlaneGenerator, adapter: str | Path) -> tuple[dict[str, Array], tuple[str, ...]]:
    """What the weights file holds, checked, and the names of the domains; none: there is one style."""
    directory = adapter_directory(adapter)
    info = _read_info(directory / INFO_FILE)
    _check_source(directory, info, generator)
    domains = tuple(info['domains']) if info['format'] == DOMAINS_FORMAT else ()
    leaves = _read_leaves(directory / WEIGHTS_FILE, named_leaves(generator), len(domains))
    if missing := sorted(set(info['leaves']) - set(leaves)):
        raise AdapterError(f'{directory / WEIGHTS_FILE} lacks {", ".join(missing)}: copy both files of the run again.')
    if surplus := sorted(set(leaves) - set(info['leaves'])):
        raise AdapterError(f'{directory / INFO_FILE} knows nothing of {", ".join(surplus)}: copy both files again.')
    return leaves, domains


def save_adapter(
    directory: Path,
    source: TriPlaneGenerator,
    adapted: Mapping[str, Array],
    source_hash: str,
    training: Mapping[str, Any],
    domains: Sequence[str] = (),
) -> None:
    """Writes both files, each atomically.

    Args:
        adapted: the adapted leaves by name.
        source_hash: the source's `fingerprint`.
        training: what else the adapter.json is to say, such as the number of steps done.
        domains: of several, their names, in the order of the leaves' first axes.

    Raises:
        AdapterError: the disk is full, or the like; an earlier adapter is left as it was.
    """
    with replacing(directory / WEIGHTS_FILE) as temporary:
        try:
            save_file({name: np.asarray(leaf, np.float32) for name, leaf in adapted.items()}, temporary)
        except SafetensorError as error:
            raise AdapterError(f'cannot write {directory / WEIGHTS_FILE}: {error}. Is the disk full?') from None
    source_info = {'hash': source_hash, 'config': source.config.to_dict()}
    kind = {'format': DOMAINS_FORMAT, 'domains': list(domains)} if domains else {'format': FORMAT}
    write_json(directory / INFO_FILE, {**kind, **training, 'leaves': sorted(adapted), 'source': source_info})


def load_source(source: str | Path) -> TriPlaneGenerator:
    """A generator from its checkpoint directory or from what the converter reads, or the shipped one for 'miniature'.

    Raises:
        eg3d_jax.CheckpointError: there is none, or it is damaged.
    """
    if str(source) != MINIATURE:
        try:
            return load_generator(generator_directory(source))
        except SourceError as error:
            raise CheckpointError(str(error)) from None
    from miniature import weights_directory

    try:
        return load_generator(weights_directory('generator'))
    except FileNotFoundError as error:
        raise CheckpointError(str(error)) from None


def _read_info(path: Path) -> dict[str, Any]:
    try:
        info = read_json(path)
    except OSError as error:
        raise AdapterError(f'cannot read {path}: {error.strerror}') from None
    except ValueError as error:
        raise AdapterError(str(error)) from None
    if not isinstance(info, dict) or info.get('format') not in (FORMAT, DOMAINS_FORMAT) or not _is_complete(info):
        raise AdapterError(f'{path} is no adapter of format {FORMAT} or {DOMAINS_FORMAT}.')
    return info


def _is_complete(info: dict[str, Any]) -> bool:
    source = info.get('source')
    return (
        isinstance(info.get('leaves'), list)
        and bool(info['leaves'])
        and isinstance(source, dict)
        and 'hash' in source
        and isinstance(source.get('config'), dict)
        and (info['format'] == FORMAT or _are_names(info.get('domains')))
    )


def _are_names(domains: Any) -> bool:
    return isinstance(domains, list) and bool(domains) and all(isinstance(name, str) for name in domains)


def _check_source(directory: Path, info: dict[str, Any], generator: TriPlaneGenerator) -> None:
    """Refuses a generator of other weights, or one that draws otherwise."""
    made_from, given = drawing_settings(info['source']['config']), drawing_settings(generator.config.to_dict())
    differing = sorted(name for name in made_from.keys() | given.keys() if made_from.get(name) != given.get(name))
    what = ', '.join(f'{name} {made_from.get(name)} there, {given.get(name)} here' for name in differing)
    if info['source']['hash'] != fingerprint(generator):
        raise AdapterError(
            f'{directory} was adapted from another generator ({what or "of the same config but other weights"}): '
            f'an adapter fits only the source that it was made from.'
        )
    if differing:
        raise AdapterError(
            f'{directory} was adapted from a generator of these weights but another config ({what}): '
            f"put it back in the generator's config.json."
        )


def drawing_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """By dotted name, the fields of a generator's config that decide how it draws: not its cameras, which are free.

    An adapter that is older than a field has its default.
    """
    values = flatten(GeneratorConfig().to_dict()) | flatten(config)
    return {name: value for name, value in values.items() if not name.startswith(FREE_SETTINGS)}


def settings_hash(config: GeneratorConfig) -> str:
    """A hash of those fields, of which a field that has its default is none: it may be newer than the hash."""
    default = drawing_settings({})
    changed = {name: value for name, value in drawing_settings(config.to_dict()).items() if value != default[name]}
    return hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()


def _read_leaves(path: Path, expected: Mapping[str, Array], domains: int) -> dict[str, Array]:
    try:
        leaves = load_file(path)
    except (SafetensorError, OSError) as error:
        raise AdapterError(f'cannot read {path}: it is missing, damaged or cut short ({error}).') from None
    if domains:
        misfits = misfitting(leaves, expected, domains)
    else:
        misfits = [name for name, leaf in leaves.items() if name not in expected or expected[name].shape != leaf.shape]
    if misfits:
        raise AdapterError(f'{path} does not fit the generator: {", ".join(sorted(misfits))}.')
    if broken := sorted(name for name, leaf in leaves.items() if not np.isfinite(leaf).all()):
        raise AdapterError(f'{path} is damaged: {", ".join(broken)} is not finite; copy it again.')
    return {name: jnp.asarray(leaf, jnp.float32) for name, leaf in leaves.items()}
