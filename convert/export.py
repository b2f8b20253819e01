"""An adapted generator -> a file for PyTorch: a state dict, or a copy of the pickle that its source came from.

    python -m convert.export --adapter=runs/ffhq512_sketch --source=weights/ffhq --output=adapted.pkl
    python -m convert.export --adapter=runs/ffhq512_sketch --source=weights/ffhq --output=adapted.pt
    python -m convert.export --adapter=runs/ffhq_styles --domain=sketch --source=weights/ffhq --output=sketch.pkl

For `.pt`, `.pth` and `.safetensors` it is the whole network's state dict under the published names. For `.pkl` the
original pickle is copied, and in the copy nothing but the bytes of the adapted arrays (Tri-D and G2) is replaced:
EG3D's own loader reads it as it reads the original. Of a run of several domains, --domain names one, or weights such as
'sketch:0.5,ukiyoe:0.5'. Without --adapter the source is written, as a state dict.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import eg3d_jax
from convert import command
from convert.eg3d_names import DISCRIMINATOR, GENERATOR, RESAMPLE_FILTER, discriminator_filters, generator_filters
from convert.eg3d_sources import NETWORKS
from convert.engine import restore_arrays
from convert.errors import ConversionError, OutputError, naming
from convert.merge import merge
from convert.output import RECORD_FILE, make_parents, writing
from convert.safetensors_files import write_safetensors
from convert.sources import Selection, fetch
from eg3d_jax.files import replacing
from eg3d_jax.hatching import is_strength

PICKLE_ENDINGS = ('.pkl', '.pickle')
TORCH_ENDINGS = ('.pt', '.pth')
SAFETENSORS_ENDING = '.safetensors'
Network = eg3d_jax.TriPlaneGenerator | eg3d_jax.DualDiscriminator
ENDINGS = (*PICKLE_ENDINGS, *TORCH_ENDINGS, SAFETENSORS_ENDING)


@dataclasses.dataclass(frozen=True)
class Exported:
    """What an export did.

    Attributes:
      written: names of the arrays in a state dict, or of the replaced ones in a pickle.
      values: how many numbers these hold.
      original: the pickle that was copied, if one was.
      strokes: whether our pictures show strokes that EG3D's own code, which knows no hatching, will not show.
    """

    written: tuple[str, ...]
    values: int
    original: Path | None = None
    strokes: bool = False

    def __str__(self) -> str:
        if self.original is None:
            what = f'{len(self.written)} arrays written ({self.values:,} values)'
        else:
            what = f'{len(self.written)} arrays replaced ({self.values:,} values)'
            what += f'; all other bytes are those of {self.original}'
        return f"{what}; without its strokes, which EG3D's own code cannot draw" if self.strokes else what


def export(
    adapter: str | Path | None,
    source: str | Path,
    output: str | Path,
    force: bool = False,
    *,
    pickle: str | Path | None = None,
    domain: str | Mapping[str, float] | None = None,
) -> Exported:
    """Writes an adapted generator for PyTorch.

    Args:
      adapter: a run's directory or its `adapter.safetensors`; None: nothing was adapted.
      source: the generator that was adapted: its checkpoint directory, or what `convert.eg3d` reads, or 'miniature'.
      output: the file to be made, with one of ENDINGS; it appears whole or not at all.
      force: replaces `output` if it is there.
      pickle: the original pickle, for a pickle; None: the one that `source` was converted from.
      domain: of an adapter of several domains, as `adaptation.load_adapted` takes it.

    Raises:
      ConversionError: in one sentence, what is wrong with the adapter, the source, the pickle or the output.
    """
    output = Path(output)
    _check(output, force)
    if domain is not None and adapter is None:
        raise ConversionError('--domain: only an adapter has one: give --adapter as well.')
    directory, network, leaves = _load(adapter, source, domain)
    if output.suffix in PICKLE_ENDINGS:
        if adapter is None:
            raise ConversionError('without --adapter, a pickle would be a copy of the original; copy it instead.')
        return _export_pickle(directory, network, leaves, output, pickle)
    if pickle is not None:
        raise ConversionError(f'--pickle is for an --output with the ending {PICKLE_ENDINGS[0]}.')
    arrays = published_arrays(network, leaves)
    with writing(output), replacing(output) as file:
        if output.suffix == SAFETENSORS_ENDING:
            write_safetensors(file, arrays)
        else:
            _save_with_torch(file, arrays, output)
    size = sum(array.size for array in arrays.values())
    return Exported(tuple(arrays), size, strokes=_has_strokes(network, leaves))


def _check(output: Path, force: bool) -> None:
    if output.suffix not in ENDINGS:
        raise ConversionError(f'{output}: expected an --output that ends in {", ".join(ENDINGS)}.')
    if os.path.lexists(output) and not (force and output.is_file() and not output.is_symlink()):
        raise ConversionError(f'{output} exists; choose another --output, or replace a file with --force.')
    make_parents(output)


def _load(
    adapter: str | Path | None, source: str | Path, domain: str | Mapping[str, float] | None
) -> tuple[Path, Network, dict[str, np.ndarray]]:
    """The directory of the source, the source, and the adapted leaves by name, in our layouts."""
    from adaptation.adapter import AdapterError, load_leaves, load_source
    from adaptation.config import MINIATURE
    from adaptation.sources import SourceError, generator_directory

    try:
        if str(source) == MINIATURE:
            generator = load_source(MINIATURE)
            directory = Path(MINIATURE)
        else:
            directory = generator_directory(source)
            if adapter is None and read_record(directory).get('kind') == 'discriminator':
                return directory, eg3d_jax.load_discriminator(directory), {}
            generator = load_source(directory)
        leaves = {} if adapter is None else load_leaves(generator, adapter, domain)
    except (AdapterError, SourceError, eg3d_jax.CheckpointError) as error:
        raise ConversionError(str(error)) from None
    return directory, generator, {name: np.asarray(leaf) for name, leaf in leaves.items()}


def published_arrays(network: Network, leaves: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """The whole state dict of a network under the published names and in PyTorch's layouts, the constant filters
    included.

    Args:
      network: a generator or a discriminator.
      leaves: arrays by name that replace the network's own.
    """
    own = {name: np.asarray(value[...]) for name, value in eg3d_jax.weight_names(network).items()}
    arrays = {**own, **(leaves or {})}
    if isinstance(network, eg3d_jax.DualDiscriminator):
        table, filters = DISCRIMINATOR, discriminator_filters(arrays)
    else:
        doubles = network.config.superresolution.first_block_doubles
        table, filters = GENERATOR, generator_filters(arrays, doubles)
    restored = restore_arrays(arrays, table, arrays)  # the names are the same on both sides
    return dict(sorted({**restored, **dict.fromkeys(filters, RESAMPLE_FILTER)}.items()))


def read_record(directory: Path) -> dict[str, Any]:
    """What `conversion.json` says, or nothing where there is none."""
    try:
        content = json.loads((directory / RECORD_FILE).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _export_pickle(
    directory: Path, network: Network, leaves: Mapping[str, np.ndarray], output: Path, pickle: str | Path | None
) -> Exported:
    record = read_record(directory)
    if pickle is None and 'path' not in record:
        raise ConversionError(f'{directory} does not say what it was converted from; name the pickle with --pickle.')
    original = Path(record['path']) if pickle is None else fetch(pickle, _refuse_directory)
    if not original.is_file():
        raise ConversionError(f'{original}: does not exist any more; name the pickle with --pickle.')
    if output.exists() and output.samefile(original):
        raise ConversionError(f'{output} is the original itself, which is never overwritten.')
    adapted = restore_arrays(leaves, GENERATOR, leaves)
    with writing(output), replacing(output) as file, naming(original):
        shutil.copyfile(original, file)
        merge(file, record.get('network', NETWORKS[0]), published_arrays(network), adapted)
    size = sum(leaf.size for leaf in leaves.values())
    return Exported(tuple(leaves), size, original, _has_strokes(network, leaves))


def _has_strokes(network: Network, leaves: Mapping[str, np.ndarray]) -> bool:
    """Whether hatching is seen in the pictures of G2 with these leaves."""
    if isinstance(network, eg3d_jax.DualDiscriminator) or network.config.superresolution.noise_mode != 'hatching':
        return False
    arrays = {name: np.asarray(value[...]) for name, value in eg3d_jax.weight_names(network).items()} | dict(leaves)
    return any(bool(np.any(array != 0)) for name, array in arrays.items() if is_strength(name))


def _refuse_directory(names: Sequence[str], named: str | None) -> Selection:
    if named is None:
        raise ConversionError('is no file; --pickle names one.')
    return Selection((named,), named)


def _save_with_torch(path: Path, arrays: Mapping[str, np.ndarray], output: Path) -> None:
    try:
        import torch  # only for this: reading never needs it
    except ImportError:
        raise ConversionError(
            f"a {', '.join(TORCH_ENDINGS)} needs PyTorch (pip install '.[convert]'); a {SAFETENSORS_ENDING} does not."
        ) from None
    tensors = {name: torch.from_numpy(np.array(array, order='C')) for name, array in arrays.items()}
    try:
        torch.save(tensors, path)
    except RuntimeError as error:  # how its writer reports a full disk
        raise OutputError(output, 'PyTorch reports a failed write') from error


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('--adapter', metavar='DIR_OR_FILE', help='a run, or its adapter.safetensors')
    parser.add_argument('--domain', metavar='NAME', help='of a run of several domains: a name, or weights of names')
    parser.add_argument('--source', required=True, metavar='DIR', help='the generator that was adapted')
    parser.add_argument('--output', required=True, metavar='FILE', help=f'the file to be made: {", ".join(ENDINGS)}')
    parser.add_argument('--pickle', metavar='S', help='the original, if it is not where it was converted from')
    parser.add_argument('--force', action='store_true', help='replace an existing file')

    def run(options: argparse.Namespace) -> Exported:
        return export(
            options.adapter,
            options.source,
            options.output,
            options.force,
            pickle=options.pickle,
            domain=options.domain,
        )

    command.run(parser, run)


if __name__ == '__main__':
    main()
