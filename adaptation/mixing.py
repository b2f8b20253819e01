"""Several adapters in one: each is a difference from the source, and differences can be weighted and added.

The mix is source + sum_i weight_i (adapted_i - source), leaf by leaf. Weights are free: 0.5 and 0.5 is the middle, 1
and 1 adds both changes up, and a negative weight leads away from a style.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from adaptation.adapter import (
    INFO_FILE,
    WEIGHTS_FILE,
    AdapterError,
    adapter_directory,
    load_leaves,
    load_source,
    save_adapter,
)
from adaptation.errors import ConfigError
from adaptation.leaves import fingerprint, named_leaves
from adaptation.provenance import CAMERA, adapter_info, camera_overrides, domains_of, generator_of
from eg3d_jax import TriPlaneGenerator

PREVIEW_FILE = 'preview.png'
MIXED_FROM = 'mixed_from'  # the field of a mix's adapter.json that says what it was mixed from
FILES = (WEIGHTS_FILE, INFO_FILE, PREVIEW_FILE)  # of a mix: a directory that holds anything else is no earlier one


def mix_adapters(
    adapters: Sequence[str | Path],
    weights: Sequence[float],
    output: str | Path,
    source: TriPlaneGenerator | str | Path | None = None,
    domain: Mapping[str, float] | None = None,
) -> Path:
    """Mixes adapters of one source into a new adapter, which serves wherever an adapter does.

    Args:
        adapters: runs' directories, or what else `load_adapted` takes; one of them alone is weakened or strengthened.
        weights: one for each, finite. A leaf that an adapter does not have counts as unchanged in it.
        output: the directory to be made. An earlier mix in it is replaced, anything else refused.
        source: the generator that was adapted; None: the one that the first adapter's run names.
        domain: of those adapters that hold several domains, weights by domain.

    Returns:
        The absolute path of the mix's `adapter.safetensors`. Its adapter.json says what was mixed, and how.

    Raises:
        ConfigError: counts that differ, weights that are not finite, or an output that must not be written to.
        AdapterError: adapters that are missing, damaged, or of different sources; or a mix that is not finite.
        eg3d_jax.CheckpointError: the source holds no generator.
        OSError: the output cannot be written.
    """
    directories = [adapter_directory(adapter) for adapter in adapters]
    output = Path(output).resolve()  # what is looked at is what is written, whatever '..' is in it
    check_request(directories, weights, output)
    _refuse_different_sources(directories)
    named = generator_of(directories[0]) if source is None else source
    generator = named if isinstance(named, TriPlaneGenerator) else load_source(named)
    chosen = chosen_domains(directories, domain)
    loaded = [load_leaves(generator, directory, of) for directory, of in zip(directories, chosen, strict=True)]
    mixed = mixed_leaves(named_leaves(generator), loaded, weights)
    record: dict[str, Any] = {
        MIXED_FROM: [
            {
                'adapter': str(directory),
                'weight': weight,
                'sha256': _sha256(directory / WEIGHTS_FILE),
                **({} if of is None else {'domain': dict(of)}),
            }
            for directory, weight, of in zip(directories, weights, chosen, strict=True)
        ],
        CAMERA: vars(camera_overrides(directories[0])),
    }
    if not isinstance(named, TriPlaneGenerator):
        record['generator'] = str(named)
    (output / PREVIEW_FILE).unlink(missing_ok=True)  # of an earlier mix
    save_adapter(output, generator, mixed, fingerprint(generator), record)
    return output / WEIGHTS_FILE


def chosen_domains(
    adapters: Sequence[str | Path], domain: Mapping[str, float] | None
) -> list[Mapping[str, float] | None]:
    """For each adapter the domain, where it holds several; None elsewhere.

    Raises:
        ConfigError: a domain, and no adapter that holds several.
        AdapterError: an adapter that is missing or damaged.
    """
    chosen = [domain if domains_of(adapter) else None for adapter in adapters]
    if domain is not None and not any(chosen):
        raise ConfigError(['--domain: each of the adapters holds one style alone; leave it out'])
    return chosen


def mixed_leaves(
    source: Mapping[str, Array], adapted: Sequence[Mapping[str, Array]], weights: Sequence[float]
) -> dict[str, Array]:
    """source + sum_i weight_i (adapted_i - source), for every leaf that any of them has, in float32.

    Args:
        source: the source's leaves by name.
        adapted: the leaves of each adapter; those that it lacks are the source's.
        weights: one for each adapter.

    Raises:
        AdapterError: a leaf of the mix is not finite.
    """
    mixed = {}
    for name in sorted({name for leaves in adapted for name in leaves}):
        origin = np.asarray(source[name], np.float64)
        total = origin.copy()
        with np.errstate(over='ignore', invalid='ignore'):  # said below
            for leaves, weight in zip(adapted, weights, strict=True):
                if name in leaves:
                    total += weight * (np.asarray(leaves[name], np.float64) - origin)
        if not np.abs(total).max(initial=0) <= np.finfo(np.float32).max:
            raise AdapterError(f'the mix is not finite in {name}: give smaller weights, or check the adapters.')
        mixed[name] = jnp.asarray(total, jnp.float32)
    return mixed


def check_request(adapters: Sequence[Path], weights: Sequence[float], output: Path) -> None:
    """Refuses what can be seen to be wrong before anything is loaded; `output` is a resolved path.

    Raises:
        ConfigError: counts that differ, weights that are not finite, or an output that must not be written to.
    """
    problems = []
    if not adapters:
        problems.append('--adapters: there is none to mix')
    if len(adapters) != len(weights):
        problems.append(f'--weights: there are {len(weights)} for {len(adapters)} adapters; give one for each')
    problems += [f'--weights: {weight} is not finite' for weight in weights if not math.isfinite(weight)]
    if any(output == adapter.resolve() for adapter in adapters):
        problems.append(f'--output: {output} is one of the adapters that are mixed; give another directory')
    elif output.is_dir() and not _is_mix(output):
        problems.append(f'--output: {output} holds {_first(output)!r}, so it is no earlier mix; give a new directory')
    elif output.exists() and not output.is_dir():
        problems.append(f'--output: {output} is no directory; give a new one')
    if problems:
        raise ConfigError(problems)


def _is_mix(directory: Path) -> bool:
    """Whether a directory is empty, or holds an earlier mix and nothing besides."""
    names = {path.name for path in directory.iterdir()}
    if not names:
        return True
    try:
        return names <= set(FILES) and MIXED_FROM in adapter_info(directory)
    except AdapterError:
        return False


def _first(directory: Path) -> str:
    """A name in a directory, of what is no part of a mix if there is such."""
    names = sorted(path.name for path in directory.iterdir())
    return next((name for name in names if name not in FILES), names[0])


def _refuse_different_sources(directories: Sequence[Path]) -> None:
    first, *others = ((directory, _source_hash(directory)) for directory in directories)
    for directory, source in others:
        if source != first[1]:
            raise AdapterError(
                f'{first[0]} and {directory} were adapted from different generators: only adapters of one source mix.'
            )


def _source_hash(directory: Path) -> object:
    """The hash of an adapter's source; `load_leaves` says what else is wrong."""
    source = adapter_info(directory).get('source')
    return source.get('hash') if isinstance(source, dict) else None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
