"""The directory of what was downloaded and converted, and conversions that are done once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from convert.engine import Report
from convert.errors import ConversionError, OutputError
from convert.output import WEIGHTS_FILE, remove_leftovers
from convert.sources import SCHEME, Select, fetch

CACHE_VARIABLE = 'ADAPTER3D_CACHE'  # the environment variable that moves the directory
CACHE_NAME = '3d-adapter-jax'
CONVERSION = 2  # to be raised when a converter's output changes: what is in the cache is then converted anew


def cache_directory() -> Path:
    """$ADAPTER3D_CACHE, or else `3d-adapter-jax` in $XDG_CACHE_HOME or `~/.cache`. It need not exist yet."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named)
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / CACHE_NAME


@contextmanager
def locked(key: str) -> Iterator[None]:
    """Inside the block no other process that asks for the same key is inside of it."""
    directory = cache_directory() / 'locks'
    directory.mkdir(parents=True, exist_ok=True)
    with FileLock(directory / f'{key}.lock'):
        yield


def converted(source: str, kind: str, convert: Callable[..., Report], select: Select) -> tuple[Path, Report | None]:
    """The directory of a converted source, which is made unless the same files were converted before; and the report,
    if it was made.

    Args:
      source: see `convert.sources.SYNTAX`.
      kind: of converter, for sources that several could read.
      convert: from a local path, an output directory, and as `name` what the source is called, on which the outcome may
        depend.
      select: as for `fetch`.

    Raises:
      ConversionError: as the converter does.
    """
    path = fetch(source, select)
    if not path.exists():
        raise ConversionError(f'{source}: does not exist.')
    address = source if SCHEME in source else ''  # a local file and its folder are one source
    identity = json.dumps([CONVERSION, kind, address, _identity(path)])
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    output = cache_directory() / 'converted' / f'{path.stem}-{key}'
    with locked(key):
        if (output / WEIGHTS_FILE).is_file():
            return output, None
        output.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(output)
        try:
            return output, convert(path, output, name=source)
        except OutputError as error:
            advice = f'make room, or move the cache with ${CACHE_VARIABLE}.'
            raise ConversionError(f'{source}: {error.problem}; {advice}') from error


def _identity(path: Path) -> list[Any]:
    """What changes when the files do: where they are, their sizes, and when they were written."""
    files = sorted(entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [path]
    return [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
