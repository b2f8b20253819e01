"""A converter holds one array at a time, and what it reads late is as sound as what it reads early."""

from __future__ import annotations

import io
import json
import weakref
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import convert.conversion
import convert.eg3d
import eg3d_jax
from convert import ConversionError, torch_files
from convert.engine import LINEAR, SAME, Use, convert_arrays
from convert.lazy_arrays import LazyArrays, read_exactly
from convert.safetensors_files import write_safetensors
from convert.testing import eg3d_entries
from convert.torch_files import Storage, Tensor, tensor_arrays

NAMES = tuple(f'{name}{index}' for name in ('flat', 'linear') for index in range(8))
SHAPE = (3, 5)
BYTES = 4 * 3 * 5
TABLE = (Use.one(r'flat\d', SAME), Use.one(r'linear\d', LINEAR))


class Reader:
    """Makes an array for each name, and counts the bytes of those that are still held."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.held = self.most = 0

    def __call__(self, name: str) -> np.ndarray:
        array = np.full(SHAPE, NAMES.index(name), np.float32)
        self.read.append(name)
        self.held += array.nbytes
        self.most = max(self.most, self.held)
        weakref.finalize(array, self._let_go, array.nbytes)
        return array

    def _let_go(self, size: int) -> None:
        self.held -= size


def test_arrays_are_read_when_they_are_asked_for():
    reader = Reader()
    arrays = LazyArrays(NAMES, reader)
    assert tuple(arrays) == NAMES
    assert len(arrays) == len(NAMES)
    assert 'flat3' in arrays
    assert 'flat9' not in arrays
    assert reader.read == []
    assert arrays['flat3'][0, 0] == 3
    assert arrays.get('flat9') is None
    assert reader.read == ['flat3']
    assert reader.held == 0


def test_no_more_than_two_are_held(tmp_path):
    """While one is read, a loop may still hold the one before."""
    reader = Reader()
    shapes = {name: SHAPE if name.startswith('flat') else SHAPE[::-1] for name in reversed(NAMES)}
    arrays, report = convert_arrays(LazyArrays(NAMES, reader), TABLE, shapes)
    assert report.values == 15 * len(NAMES)
    assert set(reader.read) == set(NAMES)
    reader.read.clear()
    write_safetensors(tmp_path / 'it.safetensors', arrays)
    assert set(reader.read) == set(NAMES)
    assert reader.most <= 2 * BYTES
    assert reader.held == 0


def test_the_bytes_of_a_file(tmp_path):
    file = io.BytesIO(bytes(range(10)))
    file.seek(7)
    assert read_exactly(file, 2, 3) == bytes([2, 3, 4])
    assert file.tell() == 7
    with pytest.raises(ConversionError, match='cut short'):
        read_exactly(file, 8, 3)


class Counted(Storage):
    """A storage that counts how often it is read."""

    reads = 0

    def values(self) -> np.ndarray:
        self.reads += 1
        return np.arange(6, dtype=np.float32)


def test_a_storage_is_read_once_for_the_tensors_that_follow_each_other():
    one, other = Counted(), Counted()
    arrays = tensor_arrays(
        {
            'a': Tensor(one, 0, (2,), (1,)),
            'b': Tensor(one, 2, (2, 2), (1, 2)),
            'c': Tensor(other, 0, (6,), (1,)),
        }
    )
    assert arrays['a'].tolist() == [0, 1]
    assert arrays['b'].tolist() == [[2, 4], [3, 5]]
    assert (one.reads, other.reads) == (1, 0)
    assert arrays['c'].tolist() == [0, 1, 2, 3, 4, 5]
    assert arrays['a'].tolist() == [0, 1]
    assert (one.reads, other.reads) == (2, 1)


@pytest.fixture
def write_state(small_arguments: dict[str, Any], tmp_path: Path) -> Callable[[str], Path]:
    """Callable: 'archive', 'stream' or 'safetensors' -> a state dict of the small generator in such a file."""

    def write(kind: str) -> Path:
        arrays = eg3d_entries.random_arrays(eg3d_entries.generator_entries(small_arguments), 0)
        state = {name: torch.from_numpy(array) for name, array in arrays.items()}
        path = tmp_path / 'source' / 'it.pt'
        path.parent.mkdir()
        if kind == 'safetensors':
            save_file(state, path)
        else:
            inside = {'G_ema': state, 'init_kwargs': small_arguments, 'neural_rendering_resolution': 64}
            torch.save(inside, path, _use_new_zipfile_serialization=kind == 'archive')
        return path

    return write


@pytest.fixture
def preset(small_arguments: dict[str, Any], tmp_path: Path) -> str:
    """The small generator's config."""
    path = tmp_path / 'preset.json'
    path.write_text(json.dumps(eg3d_jax.GeneratorConfig.from_init_kwargs(small_arguments, 64).to_dict()))
    return str(path)


def test_a_damaged_member_is_found_before_anything_is_written(write_state, tmp_path, monkeypatch):
    source = write_state('archive')
    with zipfile.ZipFile(source) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    content = bytearray(source.read_bytes())
    content[largest.header_offset + largest.file_size // 2] ^= 1
    source.write_bytes(content)
    monkeypatch.setattr(convert.conversion, 'whole_directory', lambda output: pytest.fail('was about to write'))
    with pytest.raises(ConversionError, match=rf'it\.pt: is damaged: {largest.filename} cannot be read \(Bad CRC'):
        convert.eg3d.convert(source, tmp_path / 'out')


@pytest.mark.parametrize('kind', ['archive', 'stream', 'safetensors', 'pickle'])
def test_a_file_that_is_cut_off_while_it_is_converted(kind, write_state, small_pickle, preset, tmp_path, monkeypatch):
    """Between the check of all arrays and their writing: the error is the same, and nothing is left behind."""
    source = write_state('safetensors' if kind == 'pickle' else kind)
    if kind == 'pickle':
        source.write_bytes(small_pickle.read_bytes())
    write_model = convert.conversion.write_model

    def cut_off_and_write(*arguments):
        with source.open('r+b') as file:
            file.truncate(source.stat().st_size // 2)
        write_model(*arguments)

    monkeypatch.setattr(convert.conversion, 'write_model', cut_off_and_write)
    with pytest.raises(ConversionError, match=r'it\.pt: is damaged'):
        convert.eg3d.convert(source, tmp_path / 'out', preset=preset if kind == 'safetensors' else None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['preset.json', 'source']


@pytest.mark.parametrize('kind', ['archive', 'stream'])
def test_of_a_shared_storage_only_the_tensors_part_is_read(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    flat = torch.arange(3000, dtype=torch.float32)
    state = {'a': flat[:1000].view(10, 100), 'b': flat[1000:3000].view(40, 50).t(), 'none': flat[:0]}
    path = tmp_path / 'it.pt'
    torch.save(state, path, _use_new_zipfile_serialization=kind == 'archive')
    sizes: list[int] = []

    def counted(file: io.BufferedIOBase, start: int, size: int) -> bytes:
        sizes.append(size)
        return read_exactly(file, start, size)

    monkeypatch.setattr(torch_files, 'read_exactly', counted)
    with path.open('rb') as file:
        arrays = tensor_arrays(torch_files.read_torch(file))
        for name, tensor in state.items():
            np.testing.assert_array_equal(arrays[name], tensor.numpy())
    assert max(sizes) == 8000
    if kind == 'archive':
        damaged = bytearray(path.read_bytes())
        place = damaged.find(flat[2000:2010].numpy().tobytes())
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with path.open('rb') as file:  # the checksum is the whole storage's, wherever the damage is
            arrays = tensor_arrays(torch_files.read_torch(file))
            with pytest.raises(ConversionError, match='cannot be read'):
                arrays['a']


def test_a_tensor_beyond_its_shared_storage_is_refused(tmp_path: Path):
    path = tmp_path / 'it.pt'
    torch.save({'a': torch.zeros(8)[:4]}, path)
    with path.open('rb') as file:
        (tensor,) = torch_files.read_torch(file).values()
        for reaching in (Tensor(tensor.storage, 5, (4,), (1,)), Tensor(tensor.storage, 0, (3, 3), (4, 1))):
            arrays = tensor_arrays({'a': reaching, 'b': tensor})
            with pytest.raises(ConversionError, match='beyond its storage'):
                arrays['a']
