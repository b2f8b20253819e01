"""What the converters of the measuring networks share: each is one file with a state dict, whose sizes are known."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from flax import nnx

from adaptation.evaluation.network_files import NetworkConfig
from convert.conversion import Source, write
from convert.engine import Report, Table
from convert.errors import ConversionError
from convert.lazy_arrays import Arrays
from convert.output import MODEL_FILES, check_output
from convert.recognition import describe
from convert.sources import Selection, fetch, only_one, reading
from convert.state_dicts import read_weights

ENDINGS = ('.pth', '.pt', '.bin', '.ckpt', '.safetensors')


@dataclasses.dataclass(frozen=True)
class Kind:
    """A network that a converter makes.

    Attributes:
      name: in `conversion.json` and in the cache.
      title: in messages, with its article.
      table: from PyTorch's names to ours.
      examine: from the source's arrays to notes on it; raises a `ConversionError` for a network that has such names and
        is another one.
    """

    name: str
    title: str
    table: Table
    examine: Callable[[Arrays], tuple[str, ...]]


def select(names: Sequence[str], named: str | None) -> Selection:
    """The one file of a folder with weights."""
    main = named or only_one(
        [name for name in names if name.endswith(ENDINGS)], f'file of weights ({", ".join(ENDINGS)})'
    )
    return Selection((main,), main)


def convert_state_dict(
    kind: Kind,
    config: NetworkConfig,
    build: Callable[[], nnx.Module],
    source: str | Path,
    output: str | Path,
    force: bool,
    check: bool,
    name: str | None = None,
) -> Report:
    """Converts a state dict into a network of a known size.

    Args:
      kind: of network.
      config: its sizes.
      build: makes a network of these.
      source: see `convert.sources`.
      output: the directory to be made; it appears whole or not at all.
      force: replaces `output` if an earlier conversion wrote it.
      check: reads the output back and compares it with the source, array by array.
      name: what messages and the record call the source; None: `source`.

    Raises:
      ConversionError: in one sentence, what is wrong with the source or the output; nothing was executed or written.
    """
    output = Path(output)
    check_output(output, force, MODEL_FILES)
    path = fetch(source, select)
    name = str(source) if name is None else name
    with reading(name, path), ExitStack() as files:
        if not path.is_file():
            raise ConversionError('is no file.' if path.exists() else 'does not exist.')
        weights = read_weights(path, files)
        notes = _examine(kind, weights.arrays)
        described = Source(name, path, weights.size, kind.name, config, build, weights.arrays, kind.table, notes=notes)
        return write(described, output, check)


def _examine(kind: Kind, arrays: Arrays) -> tuple[str, ...]:
    if not any(re.fullmatch(rule.pattern, name) for rule in kind.table for name in arrays):
        raise ConversionError(f'is not {kind.title}: {describe(arrays)}.')
    return kind.examine(arrays)
