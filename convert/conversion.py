"""What every converter does with a source that it has read: fit it to the model, write it, check what was written."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from flax import nnx
from safetensors import safe_open

from convert.engine import Part, Report, Table, convert_arrays, differing_bits, model_shapes, restore_arrays
from convert.errors import ConversionError
from convert.lazy_arrays import Arrays, LazyArrays
from convert.output import CONFIG_FILE, WEIGHTS_FILE, whole_directory, write_model

RECORD_FORMAT = 1
# A source's arrays may share their bytes, or repeat them by strides of zero. A model that is larger than this many
# times its file is no checkpoint but a file that wants to fill the disk. (bfloat16, written as float32, doubles.)
LARGEST_EXPANSION = 4


@runtime_checkable
class Config(Protocol):
    """The config of one of our models."""

    def to_dict(self) -> dict[str, Any]:
        """What `config.json` holds."""

    @classmethod
    def from_dict(cls, values: Any) -> Any:
        """The inverse."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A source that was read.

    Attributes:
      name: as the user gave it.
      path: the file or directory that it is.
      size: bytes of the files with its weights.
      kind: of model: 'generator', 'discriminator', 'clip', 'inception' or 'arcface'.
      config: of the model.
      build: makes the model.
      arrays: by their names in the source; each may be read when it is asked for.
      table: from these to the model's.
      record: what `conversion.json` is to say besides.
      notes: what a user should know.
      files: further files of the output by name, such as a tokenizer's.
    """

    name: str
    path: Path
    size: int
    kind: str
    config: Config
    build: Callable[[], nnx.Module]
    arrays: Arrays
    table: Table
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)


def write(source: Source, output: Path, check: bool) -> Report:
    """Converts and writes; the output appears whole or not at all.

    Args:
      source: what was read.
      output: the directory to be made.
      check: reads what was written and compares it with the source, array by array, before it takes its name.

    Raises:
      ConversionError: the arrays are damaged, or do not fit the model (all misfits at once), both before anything is
        written; or the comparison failed.
    """
    arrays, report = convert_arrays(source.arrays, source.table, model_shapes(source.build))
    _refuse_expansion(source, arrays)
    report = dataclasses.replace(report, notes=source.notes)
    with whole_directory(output) as directory:
        write_model(directory, source.config.to_dict(), arrays, _record(source, report))
        for name, content in source.files.items():
            (directory / name).write_bytes(content)
        if check:
            report = dataclasses.replace(report, compared=_compare(source, report, directory))
    return report


def _refuse_expansion(source: Source, arrays: Mapping[str, Part]) -> None:
    bytes_written = sum(array.size * array.dtype.itemsize for array in arrays.values())
    if bytes_written > LARGEST_EXPANSION * source.size:
        raise ConversionError(
            f'would make {bytes_written:,} bytes of weights from a file of {source.size:,}; it is refused.'
        )


def _record(source: Source, report: Report) -> dict[str, Any]:
    return {
        'format': RECORD_FORMAT,
        'kind': source.kind,
        'source': source.name,
        'path': str(source.path.resolve()),
        **source.record,
        'used': len(report.used),
        'ignored': {reason: list(names) for reason, names in report.ignored.items()},
        'filled': len(report.filled),
        'notes': list(report.notes),
    }


def _compare(source: Source, report: Report, directory: Path) -> int:
    """How many entries were compared, all of the used ones."""
    config = type(source.config).from_dict(json.loads((directory / CONFIG_FILE).read_text(encoding='utf-8')))
    if config != source.config:
        raise ConversionError('was written with another config than it was read with; nothing was kept.')
    weights = _written_arrays(directory / WEIGHTS_FILE, report.filled)
    differing = [name for name in report.used if _differs(name, source, weights)]
    if differing:
        raise ConversionError(f'was not written as it was read ({", ".join(differing)}); nothing was kept.')
    return len(report.used)


def _differs(name: str, source: Source, weights: LazyArrays) -> bool:
    expected = source.arrays[name]
    if expected.dtype != np.float16:
        expected = expected.astype(np.float32, copy=False)
    return differing_bits(expected, restore_arrays(weights, source.table, [name])[name])


def _written_arrays(path: Path, names: Iterable[str]) -> LazyArrays:
    """The arrays of a safetensors file, read by its own library, which maps the whole file into memory; it is let go
    after each array."""

    def read(name: str) -> np.ndarray:
        with safe_open(path, framework='numpy') as file:
            return file.get_tensor(name)

    return LazyArrays(names, read)
