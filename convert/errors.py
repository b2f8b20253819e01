"""The one error that a conversion raises for a bad input, and for an output that cannot be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST_TEXT = 200  # characters of a file's text that a message shows
LARGEST_NUMBER = 1 << 64  # that a message shows: Python refuses to write out a much larger one


class ConversionError(Exception):
    """The source cannot be converted; the message says which file, and what is wrong with it."""


class OutputError(ConversionError):
    """The output cannot be written: nothing is wrong with the source, which the message leaves out."""

    def __init__(self, output: Path, reason: object):
        self.problem = f'{output} cannot be written: {reason}'
        super().__init__(f'{self.problem}; make room or choose another --output.')


def shown(value: object) -> str:
    """A value of a file, as a message shows it: containers by their type alone, for a small file can hold one that is
    endless when it is written out."""
    if isinstance(value, str | bytes):
        return repr(value[:LONGEST_TEXT]) + ('...' if len(value) > LONGEST_TEXT else '')
    if value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < LARGEST_NUMBER):
        return repr(value)
    return f'a {type(value).__name__}'


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Puts `path` in front of the message of any `ConversionError` raised inside that is about the source."""
    try:
        yield
    except OutputError:
        raise
    except ConversionError as error:
        raise ConversionError(f'{path}: {error}') from error.__cause__
