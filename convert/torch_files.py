"""Reading what `torch.save` and `torch.jit.save` write, without PyTorch and without running any of it.

Two layouts exist. An archive (since 1.6) is a zip file of `NAME/data.pkl`, in which a tensor's storage is a persistent
id, and `NAME/data/KEY`, the raw values. The older stream is five pickles in a row (magic number, protocol version,
machine, object, storage keys), and then each storage's length and raw values. A TorchScript file is an archive whose
pickle holds the modules as objects of classes in `__torch__`; the code of these classes lies beside it and is not
looked at.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections import Counter
from collections.abc import Mapping
from io import BufferedIOBase
from typing import Any

import ml_dtypes
import numpy as np

from convert.errors import ConversionError, shown
from convert.lazy_arrays import LazyArrays, read_exactly
from convert.unpickler import (
    BASIC_NAMES,
    PICKLE_START,
    SETTINGS_NAMES,
    Call,
    FileBytes,
    Inert,
    Lookup,
    Names,
    Opaque,
    from_table,
    raw_bytes,
    read_pickle,
)

STREAM_MAGIC = 0x1950A86A20F9469CFC6C
STREAM_PROTOCOL = 1001
ZIP_START = b'PK\x03\x04'
START_LENGTH = 32  # bytes by which the layouts are told apart
# What zipfile raises for damaged, encrypted, and newer files, and for members that do not exist.
PIECE = 1 << 20  # bytes of a member that are checked at a time
MOST_DIMENSIONS = 32  # of a tensor; those of networks have five at most
UNEVEN = 'is damaged: a storage does not hold whole numbers of its tensor.'
BEYOND = 'is damaged: a tensor reaches beyond its storage.'
ZIP_ERRORS = (zipfile.BadZipFile, EOFError, KeyError, RuntimeError, ValueError, OverflowError, struct.error)

STORAGE_TYPES = {  # names in `torch` -> little-endian types
    'FloatStorage': np.dtype('<f4'),
    'DoubleStorage': np.dtype('<f8'),
    'HalfStorage': np.dtype('<f2'),
    'BFloat16Storage': np.dtype(ml_dtypes.bfloat16),
    'LongStorage': np.dtype('<i8'),
    'IntStorage': np.dtype('<i4'),
    'ShortStorage': np.dtype('<i2'),
    'CharStorage': np.dtype('i1'),
    'ByteStorage': np.dtype('u1'),
    'BoolStorage': np.dtype('?'),
}
SCALAR_TYPES = {  # names of a tensor's type in `torch` -> the same
    'float32': np.dtype('<f4'),
    'float64': np.dtype('<f8'),
    'float16': np.dtype('<f2'),
    'bfloat16': np.dtype(ml_dtypes.bfloat16),
    'int64': np.dtype('<i8'),
    'int32': np.dtype('<i4'),
    'int16': np.dtype('<i2'),
    'int8': np.dtype('i1'),
    'uint8': np.dtype('u1'),
    'bool': np.dtype('?'),
}
BYTES = np.dtype('u1')  # what a storage without a type holds


class StorageType(Inert):
    """Stands in for a class such as `torch.FloatStorage`, and for a type such as `torch.float32`."""

    __slots__ = ('dtype',)

    def __init__(self, dtype: np.dtype):
        self.dtype = dtype


class Storage(Inert):
    """The flat values that tensors are views of."""

    __slots__ = ('start',)

    def __init__(self) -> None:
        self.start: int | None = None  # the first byte of the values in their file, where that is one piece

    def values(self) -> np.ndarray:
        """The values, [numel], read now and not kept."""
        raise NotImplementedError


class PlacedStorage(Storage):
    """A storage whose values lie in a file as they are, so that parts of it can be read."""

    __slots__ = ('_file', '_kind', '_numel')

    def __init__(self, file: BufferedIOBase, kind: StorageType, numel: int):
        super().__init__()
        self._file, self._kind, self._numel = file, kind, numel

    def span(self, first: int, stop: int, dtype: np.dtype | None) -> np.ndarray:
        """The values from `first` to `stop`, counted in `dtype` (None: the storage's own); no others are read.

        Raises:
          ConversionError: they reach beyond the storage, or the file is damaged.
        """
        dtype = dtype or self._kind.dtype
        if self._size % dtype.itemsize:
            raise ConversionError(UNEVEN)
        if stop * dtype.itemsize > self._size:
            raise ConversionError(BEYOND)
        data = read_exactly(self._file, self._place() + first * dtype.itemsize, (stop - first) * dtype.itemsize)
        return np.frombuffer(data, dtype)

    def _place(self) -> int:
        """The first byte of the values in the file, once they are known to be sound."""
        raise NotImplementedError

    @property
    def _size(self) -> int:
        return self._numel * self._kind.dtype.itemsize


class ArchiveStorage(PlacedStorage):
    """A member of an archive."""

    __slots__ = ('_archive', '_checked', '_member')

    def __init__(self, file: BufferedIOBase, archive: zipfile.ZipFile, member: str, kind: StorageType, numel: int):
        super().__init__(file, kind, numel)
        self._archive, self._member, self._checked = archive, member, False

    def values(self) -> np.ndarray:
        """The values, [numel]; the archive's checksum is checked."""
        data = _read_member(self._archive, self._member)
        self._refuse_length(len(data))
        return np.frombuffer(data, self._kind.dtype)

    def _place(self) -> int:
        if not self._checked:
            self._refuse_length(_check_member(self._archive, self._member))
            self._checked = True
        return _member_start(self._file, self._archive, self._member)

    def _refuse_length(self, length: int) -> None:
        if length != self._size:
            raise ConversionError(
                f'is damaged: {self._member} has not the length of {shown(self._numel)} values of {self._kind.dtype}.'
            )


class StreamStorage(PlacedStorage):
    """A storage of the older layout; its values follow the pickles."""

    __slots__ = ()

    def find(self, end: int) -> None:
        """Passes over the values, which begin at the file's position; `end` is where the file ends."""
        numel = int.from_bytes(self._file.read(8), 'little')
        start = self._file.tell()
        if numel != self._numel or self._size > end - start:
            raise ConversionError('is damaged or cut short: a storage does not have the promised length.')
        self.start = start
        self._file.seek(start + self._size)

    def values(self) -> np.ndarray:
        """The values, [numel]."""
        return self.span(0, self._numel, None)

    def _place(self) -> int:
        if self.start is None:
            raise ConversionError('is damaged: a storage has no values.')
        return self.start


class NestedStorage(Storage):
    """A storage that a plain pickle holds as the bytes of a torch file."""

    __slots__ = ('payload',)

    def __init__(self, payload: FileBytes | bytes | str):
        super().__init__()
        if not isinstance(payload, FileBytes | bytes | str):
            raise ConversionError(f'holds a nested torch file that is a {type(payload).__name__} instead of bytes.')
        self.payload = payload.encode('latin1') if isinstance(payload, str) else payload

    def values(self) -> np.ndarray:
        """The values, [numel]."""
        with io.BytesIO(raw_bytes(self.payload)) as file:
            storage = read_torch(file)
            if not isinstance(storage, Storage):
                raise ConversionError('holds a nested torch file that is no storage.')
            values = storage.values()
            self.start = storage.start
            return values


class Tensor(Inert):
    """A strided view of a storage."""

    __slots__ = ('_dtype', '_offset', '_shape', '_strides', 'storage')

    def __init__(
        self,
        storage: Storage,
        offset: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        dtype: np.dtype | None = None,
    ):
        """`dtype` is given where the storage has none of its own."""
        if max(len(shape), len(strides)) > MOST_DIMENSIONS:
            raise ConversionError(f'is damaged: a tensor has {len(shape)} dimensions and {len(strides)} strides.')
        numbers = (offset, *shape, *strides)
        if not isinstance(storage, Storage) or not all(type(n) is int and n >= 0 for n in numbers):
            raise ConversionError('is damaged: a tensor has no storage, or its sizes are not whole numbers.')
        if len(shape) != len(strides):
            raise ConversionError(f'is damaged: a tensor of {len(shape)} dimensions has {len(strides)} strides.')
        self.storage, self._dtype = storage, dtype
        self._offset, self._shape, self._strides = offset, tuple(shape), tuple(strides)

    def array(self) -> np.ndarray:
        """The values, read now, as a read-only view of the whole storage (see `tensor_arrays` for many).

        Raises:
          ConversionError: the tensor reaches beyond its storage.
        """
        return self.view(self.storage.values())

    def view(self, values: np.ndarray) -> np.ndarray:
        """The tensor's view of these values of its storage, writable where they are.

        Raises:
          ConversionError: the tensor reaches beyond its storage.
        """
        if self._dtype is not None:
            if values.nbytes % self._dtype.itemsize:
                raise ConversionError(UNEVEN)
            values = values.view(self._dtype)
        if self._reach >= values.size - self._offset and 0 not in self._shape:
            raise ConversionError(BEYOND)
        return self._strided(values[self._offset :])

    def piece(self) -> np.ndarray:
        """The values, read-only, of a `PlacedStorage`, of which no more is read than lies between them.

        Raises:
          ConversionError: the tensor reaches beyond its storage.
        """
        assert isinstance(self.storage, PlacedStorage)
        first, stop = (0, 0) if 0 in self._shape else (self._offset, self._offset + self._reach + 1)
        return self._strided(self.storage.span(first, stop, self._dtype))

    @property
    def _reach(self) -> int:
        """How far behind the first value the last one lies."""
        return sum((n - 1) * stride for n, stride in zip(self._shape, self._strides, strict=True))

    def _strided(self, values: np.ndarray) -> np.ndarray:
        strides = [stride * values.itemsize for stride in self._strides]
        try:
            if 0 in self._shape:
                return np.empty(self._shape, values.dtype)
            return np.lib.stride_tricks.as_strided(values, self._shape, strides, writeable=values.flags.writeable)
        except (ValueError, OverflowError) as error:  # sizes beyond 64 bits
            raise ConversionError(f'is damaged: a tensor is of an impossible size ({error}).') from error


def tensor_arrays(tensors: Mapping[str, Tensor]) -> LazyArrays:
    """The values of tensors, as read-only views. Of a storage that several share, only each one's part is read; where
    parts cannot be read, the last storage is kept, since those that share one mostly follow each other."""
    sharing = Counter(tensor.storage for tensor in tensors.values())
    last: dict[Storage, np.ndarray] = {}

    def read(name: str) -> np.ndarray:
        storage = tensors[name].storage
        if sharing[storage] > 1 and isinstance(storage, PlacedStorage):
            return tensors[name].piece()
        if storage not in last:
            last.clear()  # before another is read
            last[storage] = storage.values()
        return tensors[name].view(last[storage])

    return LazyArrays(tensors, read)


class ScriptModule(Inert):
    """Stands in for an object of a TorchScript class; holds its attributes."""

    __slots__ = ('attributes',)

    attributes: dict[str, Any]

    def __new__(cls) -> ScriptModule:  # a pickle does not call __init__
        module = super().__new__(cls)
        module.attributes = {}
        return module

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise ConversionError(f'is damaged: the state of a TorchScript module is a {type(state).__name__}.')
        self.attributes = state


class TensorCall(Call):
    """Stands in for a function that makes a tensor."""

    __slots__ = ()


def _parameter(data: Any, *_: object) -> Any:
    return data


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: object) -> Tensor:
    return Tensor(storage, offset, shape, strides)


def _tensor_of_type(storage: Any, offset: Any, shape: Any, strides: Any, *others: Any) -> Tensor:
    """`others`: whether it is trained, hooks, and the type, for the storage has none."""
    if len(others) < 3 or not isinstance(others[2], StorageType):
        raise ConversionError('is damaged: a tensor of a storage without a type has none either.')
    return Tensor(storage, offset, shape, strides, others[2].dtype)


def _tensor_of_class(function: Any, _: object, arguments: Any, *__: object) -> Any:
    """A tensor with attributes of its own, which are left out."""
    if not isinstance(function, TensorCall) or not isinstance(arguments, tuple):
        raise ConversionError('is damaged: a tensor with attributes has not the expected form.')
    return function(*arguments)


TENSOR_NAMES: Names = {
    ('torch._utils', '_rebuild_tensor'): TensorCall(_tensor),
    ('torch._utils', '_rebuild_tensor_v2'): TensorCall(_tensor),
    ('torch._utils', '_rebuild_tensor_v3'): TensorCall(_tensor_of_type),
    ('torch._utils', '_rebuild_parameter'): Call(_parameter),
    ('torch._utils', '_rebuild_parameter_with_state'): Call(_parameter),
    ('torch._tensor', '_rebuild_from_type_v2'): Call(_tensor_of_class),
    ('torch', 'Tensor'): Opaque(),
    ('torch.nn.parameter', 'Parameter'): Opaque(),
    ('torch', 'device'): Call(Opaque),
    ('torch', 'Size'): Call(Opaque),
    **{('torch', name): StorageType(dtype) for name, dtype in SCALAR_TYPES.items()},
}
# How TorchScript writes lists; no weights are among them.
_LIST_NAMES: Names = {
    ('torch.jit._pickle', name): Call(Opaque)
    for name in ('build_intlist', 'build_doublelist', 'build_boollist', 'build_tensorlist', 'restore_type_tag')
}
_STORAGE_NAMES: Names = {
    **{
        (module, name): StorageType(dtype)
        for name, dtype in STORAGE_TYPES.items()
        for module in ('torch', 'torch.cuda')
    },
    # Without a type, under the names that it has had.
    **{
        (module, name): StorageType(BYTES)
        for module in ('torch', 'torch.storage')
        for name in ('UntypedStorage', '_UntypedStorage')
    },
}
FILE_NAMES: Names = {**BASIC_NAMES, **SETTINGS_NAMES, **TENSOR_NAMES, **_LIST_NAMES, **_STORAGE_NAMES}


_plain_lookup = from_table(FILE_NAMES)


def _lookup(module: str, name: str) -> Any:
    if module == '__torch__' or module.startswith('__torch__.'):
        return ScriptModule
    return _plain_lookup(module, name)


def begins_like_torch(start: bytes) -> bool:
    """Whether a file with these first bytes (START_LENGTH of them) is of one of the two layouts."""
    return start.startswith(ZIP_START) or STREAM_MAGIC.to_bytes(10, 'little') in start


def read_torch(file: BufferedIOBase, lookup: Lookup = _lookup) -> Any:
    """The object that a torch file holds, with `Tensor`, `Storage` and `ScriptModule` records; `file` must stay open
    while tensors are read.

    Args:
      file: opened for binary reading.
      lookup: of the names that its pickle may ask for.

    Raises:
      ConversionError: neither of the two layouts, a name that is not known, or a damaged file.
    """
    start = file.read(len(ZIP_START))
    file.seek(0)
    if start == ZIP_START:
        return _read_archive(file, lookup)
    if start.startswith(PICKLE_START):
        return _read_stream(file, lookup)
    raise ConversionError(f'is no PyTorch file (it begins with {start!r}).')


def _read_archive(file: BufferedIOBase, lookup: Lookup) -> Any:
    try:
        archive = zipfile.ZipFile(file)
    except ZIP_ERRORS as error:
        raise ConversionError(f'is damaged or cut short ({error}).') from error
    pickles = [name for name in archive.namelist() if name.count('/') == 1 and name.endswith('/data.pkl')]
    if len(pickles) != 1:
        raise ConversionError(f'is a zip file, but no PyTorch archive (it has {len(pickles)} members named data.pkl).')
    root = pickles[0].removesuffix('/data.pkl')
    _refuse_bomb(archive, file)
    if f'{root}/byteorder' in archive.namelist() and _read_member(archive, f'{root}/byteorder') != b'little':
        raise ConversionError('was written on a big-endian machine, which is not supported.')

    storages: dict[str, ArchiveStorage] = {}

    def persistent(identifier: Any) -> Storage:
        kind, key, numel = _storage_identifier(identifier)
        return storages.setdefault(key, ArchiveStorage(file, archive, f'{root}/data/{key}', kind, numel))

    return read_pickle(io.BytesIO(_read_member(archive, pickles[0])), lookup, persistent)


def _refuse_bomb(archive: zipfile.ZipFile, file: BufferedIOBase) -> None:
    """Members that overlap could fill the memory from a small file, as packed ones could, which are never unpacked."""
    stored = [info for info in archive.infolist() if info.compress_type == zipfile.ZIP_STORED]
    if sum(info.file_size for info in stored) > file.seek(0, io.SEEK_END):
        largest = max(stored, key=lambda info: info.file_size).filename
        raise ConversionError(f'is no archive that PyTorch wrote: {largest} and others hold more than the whole file.')


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
            raise ConversionError(f'is no archive that PyTorch wrote: {name} is compressed.')
        return archive.read(name)
    except ZIP_ERRORS as error:
        raise ConversionError(f'is damaged: {name} cannot be read ({error}).') from error


def _check_member(archive: zipfile.ZipFile, name: str) -> int:
    """The length of a member, which is read and checked piece by piece and not kept."""
    length = 0
    try:
        with archive.open(name) as member:
            while piece := member.read(PIECE):
                length += len(piece)
    except ZIP_ERRORS as error:
        raise ConversionError(f'is damaged: {name} cannot be read ({error}).') from error
    return length


def _member_start(file: BufferedIOBase, archive: zipfile.ZipFile, name: str) -> int:
    """Where in the file a member's values begin: behind a header of 30 bytes, the member's name and extra fields."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED:
        raise ConversionError(f'is no archive that PyTorch wrote: {name} is compressed.')
    header = read_exactly(file, info.header_offset, 30)
    return info.header_offset + 30 + sum(struct.unpack('<HH', header[26:]))


def _read_stream(file: BufferedIOBase, lookup: Lookup) -> Any:
    storages: dict[str, StreamStorage] = {}

    def persistent(identifier: Any) -> Any:
        if isinstance(identifier, tuple) and len(identifier) == 4 and identifier[0] == 'module':
            return identifier[1]  # a class, with the file and the source that it was defined in
        kind, key, numel = _storage_identifier(identifier)
        return storages.setdefault(key, StreamStorage(file, kind, numel))

    if read_pickle(file, lookup) != STREAM_MAGIC:
        raise ConversionError('is a pickle, but no PyTorch file.')
    if read_pickle(file, lookup) != STREAM_PROTOCOL:
        raise ConversionError('is a PyTorch file of an unknown protocol.')
    machine = read_pickle(file, lookup)
    if not isinstance(machine, dict) or machine.get('little_endian') is not True:
        raise ConversionError('was not written on a little-endian machine, which is not supported.')
    result = read_pickle(file, lookup, persistent)
    keys = read_pickle(file, lookup)
    named = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not named or sorted(storages) != sorted(keys):
        raise ConversionError('is damaged: its list of storages does not fit its tensors.')
    position = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(position)
    for key in keys:
        storages[key].find(end)
    return result


def _storage_identifier(identifier: Any) -> tuple[StorageType, str, int]:
    """('storage', type, key, device, numel[, view]) -> type, key, numel. The device does not matter here."""
    try:
        tag, kind, key, _, numel, *view = identifier
    except (TypeError, ValueError):
        tag, kind, key, numel, view = None, None, None, None, []
    sound = tag == 'storage' and isinstance(kind, StorageType) and isinstance(key, str) and type(numel) is int
    if not sound or numel < 0 or view not in ([], [None]):
        raise ConversionError('is damaged: a reference to a storage has not the expected form.')
    return kind, key, numel
