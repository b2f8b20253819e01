"""The one error that a conversion raises for a bad input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ConversionError(Exception):
    """The source cannot be converted; the message says which file, and what is wrong with it."""


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Puts `path` in front of the message of any `ConversionError` raised inside."""
    try:
        yield
    except ConversionError as error:
        raise ConversionError(f'{path}: {error}') from error.__cause__
