"""Writing a converted model: the whole directory or nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from convert.errors import ConversionError
from convert.safetensors_files import write_safetensors

CONFIG_FILE = 'config.json'
WEIGHTS_FILE = 'weights.safetensors'


def check_output(output: Path, force: bool, known: frozenset[str]) -> None:
    """Refuses an output directory that must not be written, before any work is done.

    Args:
      output: the directory to be made.
      force: whether an existing one may be replaced.
      known: names of the files that a conversion writes; a directory with any other file is never replaced.

    Raises:
      ConversionError: with what to do instead.
    """
    if not output.parent.is_dir():
        raise ConversionError(f'{output.parent} is no directory, so {output.name} cannot be made in it.')
    if not os.path.lexists(output):
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


def write_model(directory: Path, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes `config.json` and `weights.safetensors` into `directory`."""
    (directory / CONFIG_FILE).write_text(json.dumps(config, indent=2) + '\n', encoding='utf-8')
    write_safetensors(directory / WEIGHTS_FILE, arrays)
