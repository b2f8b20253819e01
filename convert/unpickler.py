"""Reading pickles that nobody vouches for.

A pickle is a program: it names functions of any module and calls them. This unpickler never imports anything. Each
name that a pickle mentions is looked up in a table of stand-ins, all of which only record their arguments, and a name
that is not in the table ends the reading. What comes out are built-in containers, numbers, strings and `Inert` records.
Stand-ins are instances of `Call`, unless the pickle format wants a class there: no record comes to be unchecked.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping, Sized
from io import BufferedIOBase
from typing import Any, ClassVar

import numpy as np

from convert.errors import LONGEST_TEXT, ConversionError, shown
from convert.lazy_arrays import read_exactly

Names = Mapping[tuple[str, str], Any]  # (module, name) as the pickle spells it -> stand-in
Lookup = Callable[[str, str], Any]  # from a module and a name to a stand-in

PICKLE_START = b'\x80'  # the opcode that begins every pickle of protocol 2 or later
OLD_PICKLE_STARTS = (b'(', b'}', b']', b'c')  # of protocols 0 and 1, which were Python 2's: text could begin so as well
PICKLE_END = b'.'


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


class AnnotatedDict(PlainDict):
    """Stands in for `OrderedDict`, to which PyTorch gives an attribute (`_metadata`) that no converter needs."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        pass


class Tuple(tuple[Any, ...], Inert):
    """What a pickle's tuples become. Python looks nested ones up by recursion, which a file can make endless, or so
    deep that the interpreter crashes."""

    __slots__ = ()

    def __hash__(self) -> int:
        if any(isinstance(item, tuple) for item in self):
            raise ConversionError('looks something up by a tuple of tuples, which no checkpoint does; it is refused.')
        return super().__hash__()


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

    def __init__(self, code: Any, *_: object):
        if not isinstance(code, str) or np.dtype(code).kind not in 'biuf':
            raise ConversionError(f'holds a NumPy value of type {shown(code)}, where only numbers are expected.')
        self.dtype = np.dtype(code)

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ('<', '>'):
            self.dtype = self.dtype.newbyteorder(state[1])


class FileBytes(Inert):
    """Stands in for a byte string, which stays in the file that it was met in until it is read."""

    __slots__ = ('_file', '_length', 'start')

    def __init__(self, file: BufferedIOBase, start: int, length: int):
        """`start` is where in the file it begins."""
        self._file, self.start, self._length = file, start, length

    def __len__(self) -> int:
        return self._length

    def read(self) -> bytes:
        """The bytes."""
        return read_exactly(self._file, self.start, self._length)


def raw_bytes(data: FileBytes | bytes | str) -> bytes:
    """Bytes as a pickle holds them; those of Python 2 were strings, and are read as Latin-1."""
    if isinstance(data, FileBytes):
        return data.read()
    return data.encode('latin1') if isinstance(data, str) else data


def _default_dict(*_: object) -> PlainDict:
    return PlainDict()


def _reconstructed(kind: Any, base: Any, state: Any) -> Any:
    """How protocols 0 and 1 make objects: of a class, of its base among the built-in ones, from the base's state."""
    if not (isinstance(kind, type) and issubclass(kind, Inert)):
        raise ConversionError('is damaged: it makes an object of something that is no class.')
    return kind(state) if issubclass(kind, dict) else kind.__new__(kind)


def _scalar(kind: NumericType, data: FileBytes | bytes | str) -> int | float | bool:
    return np.frombuffer(raw_bytes(data), kind.dtype, count=1)[0].item()


def _encode(text: Any, encoding: Any) -> bytes:
    """How protocol 2 writes bytes."""
    if encoding != 'latin1':
        raise ConversionError(f'encodes bytes as {shown(encoding)}, which no checkpoint does.')
    return text.encode('latin1')


BASIC_NAMES: dict[tuple[str, str], Any] = {
    ('collections', 'OrderedDict'): AnnotatedDict,
    ('collections', 'defaultdict'): Call(_default_dict),
    ('_codecs', 'encode'): Call(_encode),
    ('numpy', 'dtype'): Call(NumericType),
    ('numpy', 'ndarray'): Opaque(),
}
for _builtins in ('builtins', '__builtin__'):  # Python 3 and 2
    BASIC_NAMES[_builtins, 'object'] = Opaque()
    BASIC_NAMES[_builtins, 'set'] = set
    BASIC_NAMES[_builtins, 'frozenset'] = set  # which cannot be looked up by, and so not be nested
    BASIC_NAMES[_builtins, 'complex'] = Call(Opaque)
    BASIC_NAMES[_builtins, 'bytearray'] = Call(Opaque)
    BASIC_NAMES[_builtins, 'slice'] = Call(Opaque)
    BASIC_NAMES[_builtins, 'range'] = Call(Opaque)
    BASIC_NAMES[_builtins, 'dict'] = PlainDict  # only as the factory of a defaultdict, or called without arguments
    BASIC_NAMES[_builtins, 'list'] = Call(Opaque)
    BASIC_NAMES[_builtins, 'int'] = Call(Opaque)
    BASIC_NAMES[_builtins, 'float'] = Call(Opaque)
for _copying in ('copyreg', 'copy_reg'):
    BASIC_NAMES[_copying, '_reconstructor'] = Call(_reconstructed)
for _numpy_core in ('numpy.core', 'numpy._core'):  # before and since NumPy 2
    BASIC_NAMES[f'{_numpy_core}.multiarray', 'scalar'] = Call(_scalar)
    BASIC_NAMES[f'{_numpy_core}.multiarray', '_reconstruct'] = Call(Opaque)
    BASIC_NAMES[f'{_numpy_core}.numeric', '_frombuffer'] = Call(Opaque)

# What people keep beside their networks: settings, paths, dates. None of it is looked at.
SETTINGS_NAMES: Names = {
    ('argparse', 'Namespace'): Opaque,
    ('types', 'SimpleNamespace'): Opaque,
    ('datetime', 'datetime'): Call(Opaque),
    ('datetime', 'date'): Call(Opaque),
    ('datetime', 'timedelta'): Call(Opaque),
    **{
        (module, name): Call(Opaque)
        for module in ('pathlib', 'pathlib._local')  # before and since Python 3.13
        for name in ('Path', 'PosixPath', 'WindowsPath', 'PurePosixPath', 'PureWindowsPath')
    },
}


COPIES = 4  # of a whole file, which may be copied by calls: text to bytes, bytes to arrays
SPARE = 1_000_000  # values more, for small files


def _length(file: BufferedIOBase) -> int:
    position = file.tell()
    length = file.seek(0, io.SEEK_END)
    file.seek(position)
    return length


class _Unpickler(pickle._Unpickler):  # in Python: the one in C can be made to fill the memory, or to crash
    def __init__(
        self,
        file: BufferedIOBase,
        lookup: Callable[[str, str], Any],
        persistent: Callable[[Any], Any] | None,
    ):
        super().__init__(file, encoding='latin1')  # the strings of Python 2, which may be bytes
        self._file = file
        self._lookup = lookup
        self._persistent = persistent
        self._length = _length(file)
        self._allowance = COPIES * self._length + SPARE

    def find_class(self, module: str, name: str) -> Any:
        return self._lookup(module, name)

    def persistent_load(self, identifier: Any) -> Any:
        if self._persistent is None:
            raise ConversionError('refers to data outside of the pickle, which is not expected here.')
        return self._persistent(identifier)

    def pass_over(self, length: int) -> FileBytes:
        """The next bytes, left in the file."""
        frame = self._unframer.current_frame  # type: ignore[attr-defined]
        ahead = 0 if frame is None else len(frame.getbuffer()) - frame.tell()
        start = self._file.tell() - ahead
        if ahead:
            self.read(length)  # type: ignore[attr-defined]  # the frame was read whole, and is short
        elif start + length > self._length:
            raise EOFError('a byte string ends behind the file')
        else:
            self._file.seek(start + length)
        return FileBytes(self._file, start, length)

    def spend(self, arguments: Any) -> None:
        """Counts what a call may copy. A list that is read once and copied a thousand times would fill the memory."""
        self._allowance -= sum(len(argument) for argument in arguments if isinstance(argument, Sized))
        if self._allowance < 0:
            raise ConversionError('copies its contents over and over, which no checkpoint does; it is refused.')

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)


def _passing_over(size: int) -> Callable[[Any], None]:
    def load(unpickler: Any) -> None:
        """An instruction of a byte string, whose length is its first `size` bytes."""
        unpickler.append(unpickler.pass_over(int.from_bytes(unpickler.read(size), 'little')))

    return load


def _set_of_marked(unpickler: Any) -> None:
    """An instruction of a frozen set, which becomes a plain one."""
    items = unpickler.pop_mark()  # before `append`, which it changes
    unpickler.append(set(items))


def _tuple_of_marked(unpickler: Any) -> None:
    """An instruction of a tuple of all that follows the mark."""
    items = unpickler.pop_mark()
    unpickler.append(Tuple(items))


def _tuple_of(size: int) -> Callable[[Any], None]:
    def load(unpickler: Any) -> None:
        """An instruction of a tuple of the last `size` values."""
        items = [unpickler.stack.pop() for _ in range(size)]
        unpickler.append(Tuple(reversed(items)))

    return load


def _spending(instruction: Callable[[Any], None], arguments: Callable[[list[Any]], Any]) -> Callable[[Any], None]:
    def load(unpickler: Any) -> None:
        unpickler.spend(arguments(unpickler.stack))
        instruction(unpickler)

    return load


# Where each instruction that calls something has its arguments: on top of the stack, below the keyword arguments, or
# all that follow the mark.
_ARGUMENTS: dict[bytes, Callable[[list[Any]], Any]] = {
    pickle.REDUCE: lambda stack: stack[-1],
    pickle.NEWOBJ: lambda stack: stack[-1],
    pickle.NEWOBJ_EX: lambda stack: stack[-2],
    pickle.OBJ: lambda stack: stack,
    pickle.INST: lambda stack: stack,
}
for _code, _arguments in _ARGUMENTS.items():
    _Unpickler.dispatch[_code[0]] = _spending(_Unpickler.dispatch[_code[0]], _arguments)
_BYTES = {pickle.SHORT_BINBYTES: 1, pickle.BINBYTES: 4, pickle.BINBYTES8: 8, pickle.BYTEARRAY8: 8}
for _code, _size in _BYTES.items():
    _Unpickler.dispatch[_code[0]] = _passing_over(_size)
for _size, _code in enumerate((pickle.EMPTY_TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3)):
    _Unpickler.dispatch[_code[0]] = _tuple_of(_size)
_Unpickler.dispatch[pickle.TUPLE[0]] = _tuple_of_marked
_Unpickler.dispatch[pickle.FROZENSET[0]] = _set_of_marked


def begins_like_pickle(file: BufferedIOBase) -> bool:
    """Whether a file may be a pickle; its position is where it was."""
    position = file.tell()
    start = file.read(1)
    file.seek(max(position, file.seek(0, io.SEEK_END) - 1))
    end = file.read(1)
    file.seek(position)
    return start == PICKLE_START or (start in OLD_PICKLE_STARTS and end == PICKLE_END)


def refuse(module: str, name: str) -> None:
    """Ends the reading of a pickle that asks for this name."""
    name = shown(f'{module}.{name}')
    raise ConversionError(f'asks for {name}, which no known checkpoint needs; it is refused, and nothing was run.')


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
      file: opened for binary reading; it must stay open while byte strings are read, which come as `FileBytes`.
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
        reason = f'{type(error).__name__}: {error}'[:LONGEST_TEXT]
        raise ConversionError(f'is damaged or cut short ({reason}).') from error
