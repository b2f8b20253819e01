"""Malicious files: refused with the name of what they ask for, nothing run, nothing written."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import convert.clip
import convert.eg3d
from convert import ConversionError
from convert.eg3d_names import RESAMPLE_FILTER
from convert.merge import merge
from convert.persistence import Module, read_modules
from convert.testing import eg3d_entries, eg3d_pickle
from convert.torch_files import STREAM_MAGIC, STREAM_PROTOCOL, read_torch
from convert.unpickler import Opaque

SYSTEM = f'{os.system.__module__}.system'  # posix.system on Linux
GETATTR = 'builtins.getattr'
ATTACKS = (SYSTEM, 'builtins.eval', 'builtins.exec', GETATTR)
CARRIERS = ('pickle', 'nested', 'archive', 'stream')


class Calling:
    """Pickled as a call of `function` with `args`."""

    def __init__(self, function: Any, *args: Any):
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.args


@pytest.fixture
def canary(tmp_path) -> Path:
    """A file that appears only if something in a checkpoint was run."""
    return tmp_path / 'canary'


def attack(name: str, canary: Path) -> bytes:
    """A pickle that makes the canary when Python's own loader reads it; `name` is what it asks for first."""
    code = f'open({str(canary)!r}, "w").close()'
    if name == GETATTR:  # getattr(__import__('os'), 'system')(...): a chain of calls that never names os.system
        command = f'touch {canary}'.encode()
        module = b'cbuiltins\n__import__\n\x8c\x02os\x85R'
        function = b'cbuiltins\ngetattr\n' + module + b'\x8c\x06system\x86R'
        return b'\x80\x04' + function + b'X' + len(command).to_bytes(4, 'little') + command + b'\x85R.'
    call = {
        SYSTEM: Calling(os.system, f'touch {canary}'),
        'builtins.eval': Calling(eval, code),
        'builtins.exec': Calling(exec, code),
    }
    return pickle.dumps(call[name])


def stream(content: bytes) -> bytes:
    """A torch file of the older layout with this pickle as its object."""
    machine = {'protocol_version': STREAM_PROTOCOL, 'little_endian': True, 'type_sizes': {}}
    head = b''.join(pickle.dumps(part, 2) for part in (STREAM_MAGIC, STREAM_PROTOCOL, machine))
    return head + content + pickle.dumps([], 2)


def archive(content: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A torch archive with this pickle as its object."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', compression) as members:
        members.writestr('it/data.pkl', content)
    return file.getvalue()


def nested(content: bytes) -> bytes:
    """A published EG3D file, reduced to one buffer, whose nested torch file has this pickle as its object."""
    return nested_in_generator(stream(content))


def nested_in_generator(file: bytes) -> bytes:
    """A published EG3D file, reduced to one buffer, with this nested torch file."""
    arguments = eg3d_entries.arguments(128)
    storage = Calling(torch.storage._load_from_bytes, file)
    tensor = Calling(torch._utils._rebuild_tensor_v2, storage, 0, (1,), (1,), False, {})
    state = {
        'rendering_kwargs': arguments['rendering_kwargs'],
        'neural_rendering_resolution': 64,
        '_init_kwargs': arguments,
        '_buffers': {'x': tensor},
    }
    meta = {'type': 'class', 'version': 6, 'class_name': 'TriPlaneGenerator', 'state': state}
    with eg3d_pickle.reference_modules() as reference:
        return pickle.dumps({'G_ema': Calling(reference.reconstruct, meta)})


def refused(convert_it: Callable[[Path, Path], Any], content: bytes, directory: Path) -> str:
    """The message with which a converter refuses a file of this content; nothing may be left of the output."""
    (directory / 'source').write_bytes(content)
    with pytest.raises(ConversionError) as caught:
        convert_it(directory / 'source', directory / 'out')
    assert [path.name for path in directory.iterdir()] == ['source']
    return str(caught.value)


@pytest.mark.parametrize('name', ATTACKS)
def test_attacks_work_on_pickle(canary, name):
    """Or else the tests below would prove nothing."""
    pickle.loads(attack(name, canary))
    assert canary.exists()


@pytest.mark.parametrize('carrier', CARRIERS)
@pytest.mark.parametrize('name', ATTACKS)
def test_attacks_are_refused(canary, tmp_path, name, carrier):
    content = attack(name, canary)
    if carrier in ('pickle', 'nested'):
        message = refused(convert.eg3d.convert, content if carrier == 'pickle' else nested(content), tmp_path)
    else:
        wrapped = archive(content) if carrier == 'archive' else stream(content)
        message = refused(convert.clip.convert, wrapped, tmp_path)
        assert refused(convert.eg3d.convert, wrapped, tmp_path) == message
    assert f"asks for '{name}', which no known checkpoint needs" in message


def _write_with_source(path, arguments, source, monkeypatch):
    monkeypatch.setattr(eg3d_pickle, 'MODULE_SOURCE', source)
    eg3d_pickle.write_pickle(path, arguments, whole=False)
    assert source.encode() in path.read_bytes()


@pytest.mark.parametrize(
    ('source', 'name'),
    [
        ('open({canary!r}, "w").close()\n', 'open'),
        ('import os\nos.system("touch {canary}")\n', 'os.system'),
        ('import os as system\nsystem.system("touch {canary}")\n', 'os.system'),
        ('from os import system as run\nrun("touch {canary}")\n', 'os.system'),
        ('__import__("os").system("touch {canary}")\n', '__import__'),
        ('exec("import os; os.mknod({canary!r})")\n', 'exec'),
        ('class Network:\n    size = __import__("pathlib").Path({canary!r}).touch()\n', '__import__'),
        ('def f(x=open({canary!r}, "w").close()):\n    pass\n', 'open'),
        ('def f():\n    open({canary!r}, "w").close()\nif True:\n    f()\n', 'open'),
        ('import os\nos.mknod({canary!r})\n@os.system\ndef f():\n    pass\n', 'os.mknod'),
    ],
)
def test_planted_source_is_refused(canary, tmp_path, small_arguments, monkeypatch, source, name):
    source = source.format(canary=str(canary))
    with contextlib.suppress(TypeError):
        exec(compile(source, 'module_src', 'exec'), {})
    canary.unlink()  # so much would have happened
    (tmp_path / 'made').mkdir()
    _write_with_source(tmp_path / 'made' / 'it.pkl', small_arguments, source, monkeypatch)
    (tmp_path / 'read').mkdir()
    message = refused(convert.eg3d.convert, (tmp_path / 'made' / 'it.pkl').read_bytes(), tmp_path / 'read')
    assert repr(name) in message
    assert 'when it is loaded (class ' in message
    assert not canary.exists()


@pytest.mark.parametrize(
    'source',
    [
        'raise RuntimeError("executed")\n',
        'this is not Python (\n',
        'import os, math, torch\nfrom torch_utils import misc, persistence\nsize = math.log2(4)\n'
        'path = os.path.join("a", "b")\nweights = torch.zeros([2])\n'
        '@persistence.persistent_class\nclass Network(torch.nn.Module):\n'
        '    @torch.no_grad()\n    def load(self, path):\n        return open(path), os.system, eval\n',
    ],
)
def test_a_source_without_calls_into_the_system_is_text(canary, tmp_path, small_arguments, monkeypatch, source):
    _write_with_source(tmp_path / 'it.pkl', small_arguments, source, monkeypatch)
    convert.eg3d.convert(tmp_path / 'it.pkl', tmp_path / 'out')
    assert not canary.exists()


@pytest.mark.parametrize(
    ('instructions', 'expected'),
    [
        (b'ccollections\nOrderedDict.fromkeys\n', 'OrderedDict.fromkeys'),  # an attribute of an allowed name
        (b'\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93', 'OrderedDict.fromkeys'),
        (b'ctorch._utils\n_rebuild_parameter\n}\x8c\x01xK\x01sb', 'sets the state of a Call'),
        (b'ctorch._utils\n_rebuild_parameter\n)\x81', 'damaged'),  # a new object of what is no class
        (b'ctraining.triplane\nOSGDecoder\n}b', 'damaged'),  # the state of a class
        (b'cdnnlib.util\nEasyDict\n)\x81}b', 'sets the state of a PlainDict'),
        (b'cnumpy\ndtype\n\x8c\x01O\x85R', "NumPy value of type 'O'"),
        (b'Pidentifier\n', 'refers to data outside'),
        (b'\x8e' + (1 << 62).to_bytes(8, 'little'), 'damaged'),  # 4 EiB of bytes are said to follow
        (b'\x95' + (1 << 62).to_bytes(8, 'little'), 'damaged'),
        (b'K\x01r\xff\xff\xff\x7f', 'has no G_ema'),  # a memo of two thousand million entries
        (b'(' * 100_000, 'damaged'),
    ],
)
def test_odd_instructions(instructions, expected, tmp_path):
    assert expected in refused(convert.eg3d.convert, b'\x80\x04' + instructions + b'.', tmp_path)


def test_compressed_archive_is_refused_before_it_is_unpacked(tmp_path):
    bomb = archive(bytes(200_000_000), zipfile.ZIP_DEFLATED)
    assert len(bomb) < 1_000_000
    assert 'is compressed' in refused(convert.clip.convert, bomb, tmp_path)


def test_archive_whose_members_overlap_is_refused(tmp_path):
    """A thousand members that are all the same bytes: PyTorch would make a thousand arrays of them."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as members:
        members.writestr('it/data.pkl', pickle.dumps({}))
        members.writestr('it/data/0', bytes(100_000))
        for index in range(1, 1000):
            copy_of_entry(members, 'it/data/0', f'it/data/{index}')
    assert len(file.getvalue()) < 300_000
    for convert_it in (convert.clip.convert, convert.eg3d.convert):
        assert 'it/data/0 and others hold more than the whole file' in refused(convert_it, file.getvalue(), tmp_path)


def text(content: str) -> bytes:
    return b'X' + len(content).to_bytes(4, 'little') + content.encode()


def pairs(depth: int, instruction: bytes) -> bytes:
    """Instructions of a pair of the same pair of ...: 2^depth values when they are counted one by one."""
    content = b'N\x85q\x00'
    for index in range(depth):
        content += b'0' + (b'(h' + bytes([index])) + b'h' + bytes([index]) + instruction + b'q' + bytes([index + 1])
    return content


@pytest.mark.parametrize(
    'key',
    [
        b'N' + b'\x85' * 200_000,  # a tuple of a tuple of ...
        b'N' + b'\x85' * 5000,
        pairs(60, b't'),
        pairs(60, b'\x91'),  # of frozen sets
        b')\x85',
    ],
)
@pytest.mark.parametrize('place', [b'}%bNs', b'\x8f(%b\x90', b'(%b\x91', b'cbuiltins\nset\n(%bl\x85R'])
def test_nested_keys_are_refused(key, place, tmp_path):
    """Python would look for them until its stack is full, or for ever."""
    message = refused(convert.eg3d.convert, b'\x80\x04' + place % key + b'.', tmp_path)
    assert 'by a tuple of tuples' in message or 'unhashable' in message


def test_plain_keys_are_read():
    content = {(1, 'a'): (1, (2, ((),))), (): {(1, 2), 3}, 'frozen': frozenset({1})}
    read = read_modules(io.BytesIO(pickle.dumps(content, 4)))
    assert read == content


def test_bytes_that_are_promised_take_no_memory():
    tracemalloc.start()
    try:
        with pytest.raises(ConversionError, match='is damaged'):
            read_modules(io.BytesIO(b'\x80\x05\x96' + (3 << 30).to_bytes(8, 'little') + b'.'))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ('instructions', 'expected'),
    [
        (b'ctorch_utils.persistence\n_reconstruct_persistent_obj\n}(%b%b%b%bu\x85R', 'version a Tuple; known'),
        (b'c_codecs\nencode\n(%.0b%.0b%.0bX\x00\x00\x00\x00%btR', 'encodes bytes as a Tuple'),
        (b'cnumpy\ndtype\n%.0b%.0b%.0b%b\x85R', 'NumPy value of type a Tuple'),
    ],
)
def test_endless_values_are_not_shown(instructions, expected, tmp_path):
    content = instructions % (text('type'), text('class'), text('version'), pairs(60, b't'))
    assert expected in refused(convert.eg3d.convert, b'\x80\x04' + content + b'.', tmp_path)


def test_endless_names_of_storages(tmp_path):
    machine = {'protocol_version': STREAM_PROTOCOL, 'little_endian': True, 'type_sizes': {}}
    head = b''.join(pickle.dumps(part, 2) for part in (STREAM_MAGIC, STREAM_PROTOCOL, machine, {}))
    content = head + b'\x80\x04](' + pairs(60, b't') + b'e.'
    assert 'its list of storages' in refused(convert.clip.convert, content, tmp_path)


def test_a_tensor_with_attributes_is_made_by_no_other_function(tmp_path):
    """Arguments inside of arguments would be copied over and over."""
    call = b'ctorch._tensor\n_rebuild_from_type_v2\n(c_codecs\nencode\nN' + text('it') + text('latin1') + b'\x86tR'
    assert 'a tensor with attributes has not' in refused(convert.eg3d.convert, b'\x80\x04' + call + b'.', tmp_path)


@pytest.mark.parametrize('name', ['clamp_mode', 'ray_start'])
def test_endless_constructor_arguments(write_snapshot, tmp_path, name):
    endless: list[Any] = []
    for _ in range(60):
        endless = [endless, endless]

    def change(generator, reference):
        generator.rendering_kwargs[name] = endless
        return generator

    with pytest.raises(ConversionError, match='made with more than 500 values'):
        convert.eg3d.convert(write_snapshot(change), tmp_path / 'out')


def test_endless_layers_of_a_generator(write_snapshot, tmp_path):
    def change(generator, reference):
        generator._init_kwargs['mapping_kwargs'] = {'num_layers': 10**9}
        return generator

    with pytest.raises(ConversionError, match='asks for a network of 1000000000 layers, but holds'):
        convert.eg3d.convert(write_snapshot(change), tmp_path / 'out')


def test_endless_layers_of_a_discriminator(small_arguments, tmp_path):
    arguments = eg3d_entries.discriminator_arguments(small_arguments) | {'mapping_kwargs': {'num_layers': 10**9}}
    entries = eg3d_entries.discriminator_entries(small_arguments)
    state = {name: torch.from_numpy(array) for name, array in eg3d_entries.random_arrays(entries, 0).items()}
    torch.save({'D': state, 'init_kwargs': arguments}, tmp_path / 'it.pt')
    with pytest.raises(ConversionError, match='asks for a network of 1000000000 layers, but holds'):
        convert.eg3d.convert(tmp_path / 'it.pt', tmp_path / 'out', network='D')


@pytest.mark.parametrize('tower', ['vision_config', 'text_config'])
def test_endless_layers_of_a_clip(tower, tmp_path):
    (tmp_path / 'config.json').write_text(json.dumps({'model_type': 'clip', tower: {'num_hidden_layers': 10**9}}))
    name = 'vision_model.embeddings.patch_embedding.weight'
    torch.save({name: torch.ones(1)}, tmp_path / 'pytorch_model.bin')
    with pytest.raises(ConversionError, match='asks for a network of 1000000000 layers, but holds 1 arrays'):
        convert.clip.convert(tmp_path, tmp_path / 'out')


def copy_of_entry(archive: zipfile.ZipFile, name: str, other: str) -> None:
    """Lists a member once more under another name."""
    entry = copy.copy(archive.getinfo(name))
    entry.filename = other
    archive.filelist.append(entry)
    archive.NameToInfo[other] = entry


def test_compressed_nested_archive_is_refused_before_it_is_unpacked(tmp_path):
    bomb = archive(bytes(200_000_000), zipfile.ZIP_DEFLATED)
    assert len(bomb) < 1_000_000
    message = refused(convert.eg3d.convert, nested_in_generator(bomb), tmp_path)
    assert 'it/data.pkl is compressed' in message


def test_a_number_that_is_repeated_by_strides_of_zero_is_refused(small_arguments, tmp_path):
    """A small file of a large network: nothing is written."""
    arguments = eg3d_entries.arguments(128)
    entries = eg3d_entries.generator_entries(arguments)
    state = {name: torch.zeros(()).expand(entry.shape) for name, entry in entries.items()}
    taps = torch.from_numpy(RESAMPLE_FILTER)
    state |= {name: taps for name in entries if name.endswith('resample_filter')}
    content = {'G_ema': state, 'init_kwargs': arguments, 'neural_rendering_resolution': 64}
    file = io.BytesIO()
    torch.save(content, file)
    assert len(file.getvalue()) < 200_000
    message = refused(convert.eg3d.convert, file.getvalue(), tmp_path)
    assert 'bytes of weights from a file of' in message


@pytest.mark.parametrize(
    'call',
    [
        b'cbuiltins\nset\nh\x00\x85R',  # set(it)
        b'cbuiltins\nfrozenset\nh\x00\x85\x81',  # the same by another instruction
        b'(cbuiltins\nset\nh\x00o',  # and by another
        b'(h\x00ibuiltins\nset\n',  # and by the oldest
        b'cbuiltins\nset\nh\x00\x85}\x92',  # and by the newest
    ],
)
def test_a_list_that_is_copied_over_and_over_is_refused(call, tmp_path):
    """33 kB that would become nine million entries."""
    numbers = b''.join(b'M' + number.to_bytes(2, 'little') for number in range(3000))
    content = b'\x80\x04](' + numbers + b'e\x94]' + (call + b'a') * 3000 + b'.'
    assert 'copies its contents over and over' in refused(convert.eg3d.convert, content, tmp_path)


@pytest.mark.parametrize('shard', ['../outside.bin', '/etc/passwd', 'sub/../../outside.bin', '..\\outside.bin'])
def test_shard_index_that_leaves_its_directory_is_refused(canary, tmp_path, shard):
    """The file outside is an attack that would be seen if it were opened."""
    source = tmp_path / 'inner' / 'source'
    source.mkdir(parents=True)
    (tmp_path / 'inner' / 'outside.bin').write_bytes(archive(attack(SYSTEM, canary)))
    index = {'weight_map': {'logit_scale': shard}}
    (source / 'pytorch_model.bin.index.json').write_text(json.dumps(index))
    with pytest.raises(ConversionError) as caught:
        convert.clip.convert(source, tmp_path / 'out')
    assert f'points outside of its directory: {shard!r}' in str(caught.value)
    assert not canary.exists()
    assert [path.name for path in tmp_path.iterdir()] == ['inner']


@pytest.mark.parametrize('name', ATTACKS)
def test_attacks_in_what_is_merged_into(canary, tmp_path, name):
    """`convert.export` reads a pickle as well."""
    with pytest.raises(ConversionError, match=f"asks for '{name}'"):
        (tmp_path / 'it.pkl').write_bytes(attack(name, canary))
        merge(tmp_path / 'it.pkl', 'G_ema', {}, {})
    assert not canary.exists()


@pytest.mark.parametrize(
    'classes', ['argparse\nNamespace', 'collections\nOrderedDict', 'builtins\nset', 'training.triplane\nOSGDecoder']
)
def test_stand_ins_cannot_be_changed(classes, tmp_path):
    """A pickle that sets an attribute of a class, for all pickles that are read later."""
    attribute = b'N}X\x05\x00\x00\x00spoilK\x01s\x86'
    content = b'\x80\x04c' + classes.encode() + b'\n' + attribute + b'b.'
    assert 'damaged' in refused(convert.eg3d.convert, content, tmp_path)
    assert 'spoil' not in vars(Opaque) | vars(Module)


def test_odd_state_is_refused(write_snapshot, tmp_path):
    def change(key, value):
        def apply(generator, reference):
            generator.backbone.__dict__[key] = value
            return generator

        return write_snapshot(apply)

    for key, value, expected in (
        ('_non_persistent_buffers_set', 3, 'are no set'),
        ('_buffers', {3: None}, 'are no dictionary'),
        ('_parameters', [], 'are no dictionary'),
        ('_parameters', {'x': 3}, 'backbone.x is no tensor'),
        ('_modules', {'x': 3}, 'backbone.x is no module'),
    ):
        with pytest.raises(ConversionError, match=expected):
            convert.eg3d.convert(change(key, value), tmp_path / 'out')


def test_modules_that_contain_themselves(write_snapshot, tmp_path):
    def change(generator, reference):
        generator.backbone.synthesis._modules['b8'] = generator.backbone
        return generator

    with pytest.raises(ConversionError, match='met before'):
        convert.eg3d.convert(write_snapshot(change), tmp_path / 'out')


def read_tensors(file: io.BytesIO) -> None:
    for tensor in read_torch(file).values():
        tensor.array()


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('layout', ['archive', 'stream', 'pickle'])
def test_damage_of_any_kind_is_a_conversion_error(layout, seed):
    """Bytes changed at random: read, or refused with a sentence, but never any other error."""
    good, read = io.BytesIO(), read_tensors
    if layout == 'pickle':
        read = read_modules
        pickle.dump({'G_ema': [1, 2.5, np.float64(3), 'text', {1}, b'bytes'], 'x': torch.ones(2)}, good)
    else:
        tensors = {'a': torch.arange(6.0).reshape(2, 3), 'b': torch.ones(2, dtype=torch.bfloat16)}
        torch.save(tensors, good, _use_new_zipfile_serialization=layout == 'archive')
    rng = np.random.default_rng(seed)
    refusals = 0
    for _ in range(500):
        spoilt = bytearray(good.getvalue())
        for position in rng.integers(len(spoilt), size=3):
            spoilt[position] = rng.integers(256)
        try:
            read(io.BytesIO(spoilt))
        except ConversionError:
            refusals += 1
        except AttributeError as error:
            assert 'values' in str(error) or 'array' in str(error), error  # another object than a dictionary of tensors
    assert refusals > 50
