"""Arrays that stay in their file until they are asked for, so that a converter holds one at a time.

A converter's files are as large as a machine's memory may be. `LazyArrays` is used like a dictionary of arrays, but
each is read from the file whenever it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from io import BufferedIOBase
from typing import TYPE_CHECKING

import numpy as np

from convert.errors import ConversionError

if TYPE_CHECKING:
    Base = Mapping[str, np.ndarray]
else:
    Base = Mapping  # one that checks types as it runs would read an array to look at its type


class LazyArrays(Base):
    """Arrays by name, each read anew whenever it is asked for, and not kept here."""

    def __init__(self, names: Iterable[str], read: Callable[[str], np.ndarray]):
        """`read` gives the array of one of the names; what it reads from must stay open."""
        self._names = dict.fromkeys(names)  # in their order
        self._read = read

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        return self._read(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


Arrays = LazyArrays | Mapping[str, np.ndarray]  # arrays by name, wherever they are


def read_exactly(file: BufferedIOBase, start: int, size: int) -> bytes:
    """`size` bytes of a file from the byte `start` on. The file's position is where it was.

    Raises:
      ConversionError: the file ends before.
    """
    position = file.tell()
    try:
        file.seek(start)
        data = file.read(size)
    except OverflowError:  # more than any file has
        data = b''
    file.seek(position)
    if len(data) != size:
        raise ConversionError('is damaged or cut short: it ends where an array should go on.')
    return data
