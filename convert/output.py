"""Writing a converted model: the whole directory or nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from convert.errors import ConversionError
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
            f'{output} holds {foreign[0]!r}, which no conversion wrote, so --force does not replace it.'
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
def whole_directory(output: Path) -> Iterator[Path]:
    """Yields an empty directory beside `output` that takes its name when the block ends, and is deleted if it fails."""
    staging = output.with_name(f'.{output.name}.writing-{os.getpid()}')
    staging.mkdir()
    try:
        yield staging
        if output.exists():
            replaced = output.with_name(f'.{output.name}.replaced-{os.getpid()}')
            output.rename(replaced)
            staging.rename(output)
            shutil.rmtree(replaced)
        else:
            staging.rename(output)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_model(
    directory: Path, config: Mapping[str, Any], arrays: Mapping[str, Writable], record: Mapping[str, Any]
) -> None:
    """Writes `config.json`, `conversion.json` and `weights.safetensors` into `directory`."""
    for name, content in ((CONFIG_FILE, config), (RECORD_FILE, record)):
        (directory / name).write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
    write_safetensors(directory / WEIGHTS_FILE, arrays)
