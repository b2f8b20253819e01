"""Reading and writing safetensors files with one array in memory at a time.

The safetensors library maps the file when it reads, and copies all arrays before it writes; with transposed views,
twice. A converter's files are large enough for that to matter. The format is the length of a header,
the header (JSON: type, shape and place of each array), and the values.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import ml_dtypes
import numpy as np

from convert.errors import LONGEST_TEXT, ConversionError, shown
from convert.lazy_arrays import LazyArrays, read_exactly

TYPES = {
    'F64': np.dtype('<f8'),
    'F32': np.dtype('<f4'),
    'F16': np.dtype('<f2'),
    'BF16': np.dtype(ml_dtypes.bfloat16),
    'I64': np.dtype('<i8'),
    'I32': np.dtype('<i4'),
    'I16': np.dtype('<i2'),
    'I8': np.dtype('i1'),
    'U8': np.dtype('u1'),
    'BOOL': np.dtype('?'),
}
METADATA = '__metadata__'  # the one name in a header that is no array's


@runtime_checkable
class Writable(Protocol):
    """An array, or what says its type and shape before NumPy (`np.asarray`) makes it one."""

    @property
    def dtype(self) -> np.dtype:
        """Of the values."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""

    def __array__(self, dtype: Any = None) -> np.ndarray:
        """The array."""


def begins_like_safetensors(start: bytes) -> bool:
    """Whether a file with these first bytes (nine or more) has the format's header behind the header's length, which
    may begin like any other format."""
    return start[8:9] == b'{'


def read_safetensors(file: BufferedIOBase) -> LazyArrays:
    """The named arrays of a file, which must stay open while they are read.

    Raises:
      ConversionError: the file is damaged, or has arrays of a type that no weights have.
    """
    end = file.seek(0, io.SEEK_END)
    file.seek(0)
    length = int.from_bytes(file.read(8), 'little')
    values = 8 + length  # where they begin
    if values > end:
        raise ConversionError('is damaged or cut short: it ends inside its header.')
    try:
        header = json.loads(file.read(length))
        places = {name: _place(entry, end - values) for name, entry in header.items() if name != METADATA}
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
        reason = f'{type(error).__name__}: {error}'[:LONGEST_TEXT]
        raise ConversionError(f'is damaged or cut short ({reason}).') from error

    def read(name: str) -> np.ndarray:
        dtype, shape, count, start = places[name]
        data = read_exactly(file, values + start, count * dtype.itemsize)
        try:
            return np.frombuffer(data, dtype).reshape(shape)
        except (ValueError, OverflowError) as error:  # sizes beyond 64 bits, or more of them than NumPy takes
            raise ConversionError(f'is damaged: {shown(name)} is of an impossible size ({error}).') from error

    return LazyArrays(places, read)


def _place(entry: Mapping[str, Any], size: int) -> tuple[np.dtype, tuple[int, ...], int, int]:
    """Type, shape, number of values and first byte of an array in `size` bytes of values."""
    dtype, shape = TYPES[entry['dtype']], tuple(map(int, entry['shape']))
    start, end = map(int, entry['data_offsets'])
    count = math.prod(shape)
    if min((*shape, start), default=0) < 0 or end > size or end - start != count * dtype.itemsize:
        raise ValueError('an array does not lie within the file')
    return dtype, shape, count, start


def write_safetensors(path: Path, arrays: Mapping[str, Writable]) -> None:
    """Writes float16 arrays as they are and all others as float32, one after the other."""
    kinds = {name: 'F16' if array.dtype == np.float16 else 'F32' for name, array in arrays.items()}
    header: dict[str, Any] = {}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + math.prod(array.shape) * TYPES[kinds[name]].itemsize
        header[name] = {'dtype': kinds[name], 'shape': list(array.shape), 'data_offsets': [start, end]}
    text = json.dumps(header, separators=(',', ':')).encode('utf-8')
    text += b' ' * (-len(text) % 8)  # the values start at a multiple of 8
    with path.open('wb') as file:
        file.write(len(text).to_bytes(8, 'little') + text)
        for name, array in arrays.items():
            file.write(np.asarray(array).astype(TYPES[kinds[name]], order='C', copy=False).data)
