"""Writing a converted model: the whole directory or nothing."""

from __future__ import annotations

import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from convert.errors import ConversionError, OutputError, shown
from convert.safetensors_files import Writable, write_safetensors

CONFIG_FILE = 'config.json'
WEIGHTS_FILE = 'weights.safetensors'
RECORD_FILE = 'conversion.json'  # what was converted, and what became of each entry; `convert.export` reads it
MODEL_FILES = frozenset({CONFIG_FILE, WEIGHTS_FILE, RECORD_FILE})


def check_output(output: Path, force: bool, known: frozenset[str]) -> None:
    """Refuses an output directory that must not be written, before any work is done; makes those that it lies in.

    Args:
      output: the directory to be made.
      force: whether an existing one may be replaced.
      known: names of the files that a conversion writes; a directory with any other file is never replaced.

    Raises:
      ConversionError: with what to do instead.
    """
    if not os.path.lexists(output):
        make_parents(output)
        return
    if not force:
        raise ConversionError(f'{output} exists; choose another --output, or replace it with --force.')
    if output.is_symlink() or not output.is_dir():
        raise ConversionError(f'{output} is no directory, so --force does not replace it.')
    foreign = sorted(path.name for path in output.iterdir() if path.name not in known)
    if foreign:
        raise ConversionError(
            f'{output} holds {shown(foreign[0])}, which no conversion wrote, so --force does not replace it.'
        )


def make_parents(output: Path) -> None:
    """Makes the directories that an output is to lie in.

    Raises:
      ConversionError: one of them cannot be made.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConversionError(f'{output.parent} cannot be made: {error.strerror}; choose another --output.') from None


@contextmanager
def writing(output: Path) -> Iterator[None]:
    """Says of which output it is that the system cannot write something inside the block.

    Raises:
      OutputError: with what to do.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(output, error.strerror or error) from error


@contextmanager
def whole_directory(output: Path) -> Iterator[Path]:
    """Yields an empty directory near `output` that takes its name when the block ends, and is deleted if it fails.

    Raises:
      OutputError: something cannot be written; what `output` was before is there.
    """
    with writing(output):
        around = Path(tempfile.mkdtemp(prefix=_staging_prefix(output), dir=output.parent))  # for its owner alone
        staging, replaced = around / 'new', around / 'replaced'
        try:
            staging.mkdir()
            yield staging
            _exchange(staging, output, replaced)
            shutil.rmtree(replaced, ignore_errors=True)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            with suppress(OSError):  # a replaced output that could not be put back stays where it is
                around.rmdir()


def _staging_prefix(output: Path) -> str:
    return f'.{output.name}.writing-'


def _exchange(staging: Path, output: Path, replaced: Path) -> None:
    """Gives `staging` the name `output`, and what had it the name `replaced`, if anything did."""
    if not output.exists():
        staging.rename(output)
        return
    output.rename(replaced)
    try:
        staging.rename(output)
    except BaseException:
        replaced.rename(output)
        raise


def remove_leftovers(output: Path) -> None:
    """Removes what killed conversions to `output` left beside it; none may be under way."""
    for path in output.parent.glob(f'{glob.escape(_staging_prefix(output))}*'):
        shutil.rmtree(path, ignore_errors=True)


def write_model(
    directory: Path, config: Mapping[str, Any], arrays: Mapping[str, Writable], record: Mapping[str, Any]
) -> None:
    """Writes `config.json`, `conversion.json` and `weights.safetensors` into `directory`."""
    for name, content in ((CONFIG_FILE, config), (RECORD_FILE, record)):
        (directory / name).write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
    write_safetensors(directory / WEIGHTS_FILE, arrays)
