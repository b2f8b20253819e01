"""What PyTorch writes, read without PyTorch."""

from __future__ import annotations

import io
import struct
import zipfile
from collections import OrderedDict
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch

from convert import ConversionError
from convert.state_dicts import read_weights


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    with ExitStack() as files:
        return dict(read_weights(path, files).arrays)


def tensors() -> dict[str, torch.Tensor]:
    numbers = torch.arange(24.0).reshape(4, 6)
    return {
        'matrix': numbers,
        'transposed': numbers.t(),  # shares the storage of the one above
        'slice': numbers[1:, 2:5],
        'every_second': numbers[:, ::2],
        'expanded': torch.ones(3, 1).expand(3, 5),
        'scalar': torch.tensor(7.5),
        'empty': torch.empty(0, 3),
        'parameter': torch.nn.Parameter(torch.randn(2, 2)),
        'half': torch.randn(3).half(),
        'bfloat': torch.randn(3).bfloat16(),
        'double': torch.randn(3).double(),
        'long': torch.tensor([1, -(2**40)]),
        'int': torch.tensor([1, -2], dtype=torch.int32),
        'short': torch.tensor([1, -2], dtype=torch.int16),
        'char': torch.tensor([1, -2], dtype=torch.int8),
        'byte': torch.tensor([1, 250], dtype=torch.uint8),
        'bool': torch.tensor([True, False]),
    }


def assert_equal(read: dict[str, np.ndarray], written: dict[str, torch.Tensor]) -> None:
    assert list(read) == list(written)
    for name, tensor in written.items():
        assert read[name].dtype.name == str(tensor.dtype).removeprefix('torch.')
        assert read[name].shape == tensor.shape
        if tensor.dtype == torch.bfloat16:
            tensor = tensor.float()
        np.testing.assert_array_equal(read[name].astype(tensor.numpy(force=True).dtype), tensor.numpy(force=True))


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / 'it.pt'


@pytest.mark.parametrize('archive', [True, False])
@pytest.mark.parametrize('protocol', [2, 4])
def test_state_dict(path, archive, protocol):
    written = tensors()
    torch.save(written, path, _use_new_zipfile_serialization=archive, pickle_protocol=protocol)
    assert_equal(read_state_dict(path), written)


def test_state_dict_of_a_network_and_in_a_wrapper(path):
    written = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).state_dict()
    torch.save(written, path)
    assert_equal(read_state_dict(path), dict(written))
    torch.save({'state_dict': written, 'epoch': 3}, path)
    assert_equal(read_state_dict(path), dict(written))


def test_tensors_of_another_device(path):
    """Only the pickle says where a tensor was; there need be no such device here."""
    torch.save({'a': torch.arange(3.0)}, path)
    with zipfile.ZipFile(path) as source:
        members = {name: source.read(name) for name in source.namelist()}
    content = members['it/data.pkl']
    assert content.count(b'X\x03\x00\x00\x00cpu') == 1
    members['it/data.pkl'] = content.replace(b'X\x03\x00\x00\x00cpu', b'X\x06\x00\x00\x00cuda:1')
    with zipfile.ZipFile(path, 'w') as target:
        for name, member in members.items():
            target.writestr(name, member)
    assert read_state_dict(path)['a'].tolist() == [0, 1, 2]


def fails(path: Path) -> str:
    with pytest.raises(ConversionError) as caught:
        read_state_dict(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ('content', 'expected'),
    [
        ([torch.ones(2)], 'holds a list, not a state dict'),
        ({'a': torch.ones(2), 'b': 3}, "'b' is no tensor"),
        ({3: torch.ones(2)}, ': 3 is no tensor'),
        ({(1, 2): torch.ones(2)}, 'a Tuple is no tensor'),
        ({}, 'it is empty'),
    ],
)
@pytest.mark.parametrize('archive', [True, False])
def test_other_contents(path, content, expected, archive):
    torch.save(content, path, _use_new_zipfile_serialization=archive)
    assert expected in fails(path)


@pytest.mark.parametrize('archive', [True, False])
@pytest.mark.parametrize('part', [0.02, 0.3, 0.5, 0.95])
def test_cut_short(path, archive, part):
    torch.save(tensors(), path, _use_new_zipfile_serialization=archive)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    assert 'damaged' in fails(path)


def test_tensor_that_reaches_beyond_its_storage(path):
    torch.save({'a': torch.arange(60.0).reshape(30, 2)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert content.count(b'K\x1eK\x02\x86') == 1  # the shape (30, 2)
    path.write_bytes(content.replace(b'K\x1eK\x02\x86', b'K\x1fK\x02\x86'))
    assert 'reaches beyond its storage' in fails(path)


@pytest.mark.parametrize(
    ('shape', 'strides'),
    [
        ((1,), (2**70,)),
        ((2**40, 2**40), (0, 0)),
        ((2**70,), (0,)),
        ((0, 2**70), (1, 1)),
        ((-1,), (1,)),
        ((2,), (1, 1)),
        ((1.5,), (1,)),
        ((1,) * 70, (1,) * 70),
    ],
)
def test_tensor_of_impossible_size(path, shape, strides):
    class Tensor:
        def __reduce__(self):
            storage = torch.ones(3)._typed_storage()
            return torch._utils._rebuild_tensor_v2, (storage, 0, shape, strides, False, OrderedDict())

    torch.save({'a': Tensor()}, path)
    assert 'is damaged' in fails(path)


def test_attributes_of_an_ordered_dictionary_are_left_out(path):
    written = OrderedDict(a=torch.ones(2))
    written.itemx = 5
    torch.save(written, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert content.count(b'itemx') == 1
    path.write_bytes(content.replace(b'itemx', b'items'))
    assert read_state_dict(path)['a'].tolist() == [1, 1]


def test_storage_of_endless_length(path):
    """A number that Python refuses to write out, in the message as well."""

    class Tensor:
        def __reduce__(self):
            storage = torch.ones(3)._typed_storage()
            return torch._utils._rebuild_tensor_v2, (storage, 0, (3,), (1,), False, OrderedDict())

    torch.save({'a': Tensor()}, path)
    with zipfile.ZipFile(path) as source:
        members = {name: source.read(name) for name in source.namelist()}
    assert members['it/data.pkl'].count(b'K\x03tq') == 1
    endless = b'\x8b' + struct.pack('<i', 5000) + b'\x01' * 5000
    members['it/data.pkl'] = members['it/data.pkl'].replace(b'K\x03tq', endless + b'tq')
    with zipfile.ZipFile(path, 'w') as target:
        for name, member in members.items():
            target.writestr(name, member)
    assert 'has not the length of a int values' in fails(path)


def test_storage_of_another_length(path):
    torch.save({'a': torch.arange(3.0)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    place = content.rindex(struct.pack('<q', 3))
    path.write_bytes(content[:place] + struct.pack('<q', 2**61) + content[place + 8 :])
    assert 'promised length' in fails(path)


def test_other_zip_files_and_byte_orders(path):
    with zipfile.ZipFile(path, 'w') as file:
        file.writestr('readme.txt', 'nothing')
    assert 'no PyTorch archive' in fails(path)
    with zipfile.ZipFile(path, 'w') as file:
        file.writestr('it/data.pkl', b'\x80\x02}.')
        file.writestr('it/byteorder', 'big')
    assert 'big-endian' in fails(path)
    path.write_bytes(b'neither')
    assert 'is neither a safetensors nor a PyTorch file' in fails(path)
    path.write_bytes(b'\x80\x02K\x01.')
    assert 'is a pickle, but no PyTorch file' in fails(path)


class Inner(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(3, 2).half())
        self.register_buffer('count', torch.tensor(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.count


class Outer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = torch.nn.Sequential(Inner(), Inner())
        self.scale = torch.nn.Parameter(torch.tensor(2.0))
        self.steps = [1, 2]
        self.mode = 'plain'

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(x) * self.scale * self.steps[0] + len(self.mode)


@pytest.mark.filterwarnings('ignore:.*deprecated:DeprecationWarning')
@pytest.mark.parametrize('compile_it', [torch.jit.script, lambda module: torch.jit.trace(module, torch.ones(2))])
def test_torchscript(path, compile_it):
    module = Outer()
    torch.jit.save(compile_it(module), path)
    read = read_state_dict(path)
    written = module.state_dict()
    assert set(read) == set(written)
    assert_equal({name: read[name] for name in written}, dict(written))


@pytest.mark.filterwarnings('ignore:.*deprecated:DeprecationWarning')
def test_code_of_torchscript_is_not_looked_at(path):
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(Outer()), buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, 'w') as target:
        for name in source.namelist():
            target.writestr(name, b'not code' if '/code/' in name else source.read(name))
    with pytest.raises(RuntimeError):
        torch.jit.load(path)
    assert 'blocks.0.weight' in read_state_dict(path)
