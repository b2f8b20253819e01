"""Reading pickles that nobody vouches for.

A pickle is a program: it names functions of any module and calls them. This unpickler never imports anything. Each
name that a pickle mentions is looked up in a table of stand-ins, all of which only record their arguments, and a name
that is not in the table ends the reading. What comes out are built-in containers, numbers, strings and `Inert` records.
Stand-ins are instances of `Call`, unless the pickle format wants a class there: no record comes to be unchecked.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from io import BufferedIOBase
from typing import Any

import numpy as np

from convert.errors import ConversionError

Names = Mapping[tuple[str, str], Any]  # (module, name) as the pickle spells it -> stand-in

PICKLE_START = b'\x80'  # the opcode that begins every pickle of protocol 2 or later


class Inert:
    """Base of the records that stand in for objects. A pickle's BUILD instruction cannot change one that is made."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise ConversionError(f'sets the state of a {type(self).__name__}, which no checkpoint does.')


class Call(Inert):
    """Stands in for a function: a callable that, unlike a Python function, a pickle cannot set attributes of."""

    __slots__ = ('_function',)

    def __init__(self, function: Callable[..., Any]):
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)


class PlainDict(dict[Any, Any], Inert):
    """Stands in for subclasses of `dict`."""

    __slots__ = ()


class Opaque(Inert):
    """Stands in for an object whose contents no converter needs."""

    __slots__ = ()

    def __init__(self, *_: object):
        pass

    def __setstate__(self, state: object) -> None:
        pass


class NumericType(Inert):
    """Stands in for `numpy.dtype` of a number; its state holds the byte order."""

    __slots__ = ('dtype',)

    def __init__(self, code: str, *_: object):
        self.dtype = np.dtype(code)
        if self.dtype.kind not in 'biuf':
            raise ConversionError(f'holds a NumPy value of type {code!r}, where only numbers are expected.')

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ('<', '>'):
            self.dtype = self.dtype.newbyteorder(state[1])


def _scalar(kind: NumericType, data: bytes) -> int | float | bool:
    return np.frombuffer(data, kind.dtype, count=1)[0].item()


def _encode(text: str, encoding: str) -> bytes:
    """How protocol 2 writes bytes."""
    if encoding != 'latin1':
        raise ConversionError(f'encodes bytes as {encoding!r}, which no checkpoint does.')
    return text.encode('latin1')


BASIC_NAMES: dict[tuple[str, str], Any] = {
    ('collections', 'OrderedDict'): OrderedDict,
    ('builtins', 'set'): set,
    ('__builtin__', 'set'): set,
    ('_codecs', 'encode'): Call(_encode),
    ('numpy', 'dtype'): Call(NumericType),
    ('numpy', 'ndarray'): Opaque(),
}
for _numpy_core in ('numpy.core', 'numpy._core'):  # before and since NumPy 2
    BASIC_NAMES[f'{_numpy_core}.multiarray', 'scalar'] = Call(_scalar)
    BASIC_NAMES[f'{_numpy_core}.multiarray', '_reconstruct'] = Call(Opaque)
    BASIC_NAMES[f'{_numpy_core}.numeric', '_frombuffer'] = Call(Opaque)


class _Unpickler(pickle._Unpickler):  # in Python: the one in C can be made to fill the memory, or to crash
    def __init__(
        self,
        file: BufferedIOBase,
        lookup: Callable[[str, str], Any],
        persistent: Callable[[Any], Any] | None,
    ):
        super().__init__(file)
        self._lookup = lookup
        self._persistent = persistent

    def find_class(self, module: str, name: str) -> Any:
        return self._lookup(module, name)

    def persistent_load(self, identifier: Any) -> Any:
        if self._persistent is None:
            raise ConversionError('refers to data outside of the pickle, which is not expected here.')
        return self._persistent(identifier)


def refuse(module: str, name: str) -> None:
    """Ends the reading of a pickle that asks for this name."""
    name = f'{module}.{name}'
    raise ConversionError(f'asks for {name!r}, which no known checkpoint needs; it is refused, and nothing was run.')


def from_table(names: Names) -> Callable[[str, str], Any]:
    """A lookup that refuses every name that is not in the table."""

    def lookup(module: str, name: str) -> Any:
        if (module, name) not in names:
            refuse(module, name)
        return names[module, name]

    return lookup


def read_pickle(
    file: BufferedIOBase,
    lookup: Callable[[str, str], Any],
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Reads one pickle from the file's position on.

    Args:
      file: opened for binary reading.
      lookup: from (module, name) to a stand-in; raises for names that it does not know.
      persistent: from a persistent id to a stand-in; none are accepted by default.

    Raises:
      ConversionError: a name that is not known, a damaged pickle, or no pickle at all.
    """
    try:
        return _Unpickler(file, lookup, persistent).load()
    except (ConversionError, OSError):
        raise
    except Exception as error:  # a damaged pickle can make any instruction fail in any way
        raise ConversionError(f'is damaged or cut short ({type(error).__name__}: {error}).') from error
