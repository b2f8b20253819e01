"""Checkpoints come back as they were, and what is wrong with one is said in full."""

import errno
import json

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

import eg3d_jax
from eg3d_jax import CheckpointError, load_generator, save_generator, weight_names


@pytest.fixture
def directory(tmp_path, tiny_generator):
    save_generator(tiny_generator, tmp_path / 'generator')
    return tmp_path / 'generator'


def change_weights(directory, change) -> None:
    arrays = load_file(directory / 'weights.safetensors')
    change(arrays)
    save_file(arrays, directory / 'weights.safetensors')


def test_round_trip(directory, tiny_generator):
    loaded = load_generator(directory)
    assert loaded.config == tiny_generator.config
    expected = weight_names(tiny_generator)
    for name, value in weight_names(loaded).items():
        np.testing.assert_array_equal(value[...], expected[name][...], err_msg=name)
        assert type(value) is type(expected[name])
    assert sorted(path.name for path in directory.iterdir()) == ['config.json', 'weights.safetensors']


def test_half_precision_on_disk(tmp_path, tiny_generator):
    save_generator(tiny_generator, tmp_path, dtype='float16')
    assert all(array.dtype == np.float16 for array in load_file(tmp_path / 'weights.safetensors').values())
    expected = weight_names(tiny_generator)
    for name, value in weight_names(load_generator(tmp_path)).items():
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value[...], expected[name][...], rtol=1e-3, atol=1e-6)


def test_names_are_the_published_ones(reference):
    """In the fixture that builds it the full-size generator's names were compared with the published list."""
    names = weight_names(reference.generator)
    assert isinstance(names['backbone.mapping.w_avg'], eg3d_jax.Buffer)
    assert isinstance(names['superresolution.block0.conv0.noise_const'], eg3d_jax.Buffer)
    assert names['decoder.net.0.weight'].shape == (32, 64)
    assert names['backbone.synthesis.b4.const'].shape == (4, 4, 512)
    assert names['backbone.synthesis.b256.conv0.weight'].shape == (3, 3, 256, 128)


def test_refuses_another_dtype(tmp_path, tiny_generator):
    with pytest.raises(ValueError, match=r"dtype must be one of .* got 'int8'"):
        save_generator(tiny_generator, tmp_path, dtype='int8')


class TestFailedWriting:
    @pytest.fixture(params=['weights', 'config'])
    def full_disk(self, request, monkeypatch):
        """Writing this file fails after some bytes."""

        def save_part(arrays, path):
            path.write_bytes(b'part')
            raise SafetensorError('I/O error: No space left on device (os error 28)')

        def write_part(self, content):
            self.write_bytes(b'part')
            raise OSError(errno.ENOSPC, 'No space left on device')

        if request.param == 'weights':
            monkeypatch.setattr(eg3d_jax.checkpoint, 'save_file', save_part)
        else:
            monkeypatch.setattr(eg3d_jax.checkpoint.Path, 'write_text', write_part)

    def test_leaves_nothing_behind(self, tmp_path, tiny_generator, full_disk):
        with pytest.raises(OSError, match=rf'the generator cannot be written to {tmp_path}: .*No space left on device'):
            save_generator(tiny_generator, tmp_path)
        assert not list(tmp_path.iterdir())

    def test_leaves_an_earlier_generator_as_it_was(self, directory, tiny_generator, full_disk):
        old = {path.name: path.read_bytes() for path in directory.iterdir()}
        with pytest.raises(OSError, match='make room there, or give another directory'):
            save_generator(tiny_generator, directory, dtype='float16')
        assert {path.name: path.read_bytes() for path in directory.iterdir()} == old

    def test_names_a_directory_that_cannot_be_made(self, tmp_path, tiny_generator):
        (tmp_path / 'file').touch()
        with pytest.raises(OSError, match=r'file.inside: Not a directory; make room there'):
            save_generator(tiny_generator, tmp_path / 'file' / 'inside')


class TestDamage:
    @pytest.mark.parametrize('name', ['config.json', 'weights.safetensors'])
    def test_missing_file(self, directory, name):
        (directory / name).unlink()
        with pytest.raises(CheckpointError, match=rf'cannot read .*{name}'):
            load_generator(directory)

    def test_missing_directory(self, tmp_path):
        with pytest.raises(CheckpointError, match=r'cannot read .*config.json'):
            load_generator(tmp_path / 'nothing')

    @pytest.mark.parametrize('kept', [0, 5, 0.5, 0.999])
    def test_truncated_weights(self, directory, kept):
        path = directory / 'weights.safetensors'
        content = path.read_bytes()
        path.write_bytes(content[: int(kept * len(content)) if kept < 1 else kept])
        with pytest.raises(CheckpointError, match=r'weights.safetensors is damaged'):
            load_generator(directory)

    def test_config_that_is_no_json(self, directory):
        (directory / 'config.json').write_text('{"z_dim": ')
        with pytest.raises(CheckpointError, match=r'config.json is no config of a generator'):
            load_generator(directory)

    def test_config_with_unknown_fields(self, directory):
        config = json.loads((directory / 'config.json').read_text())
        config['backbone']['depth'] = 3
        config['backbone']['width'] = 3
        (directory / 'config.json').write_text(json.dumps(config))
        with pytest.raises(CheckpointError, match=r'unknown config fields: backbone\.depth, backbone\.width'):
            load_generator(directory)

    def test_every_mismatch_is_named(self, directory):
        def change(arrays):
            del arrays['decoder.net.0.bias']
            arrays['decoder.net.3.bias'] = np.zeros(3, np.float32)
            arrays['backbone.mapping.w_avg'] = np.zeros(5, np.float32)
            arrays['decoder.net.2.bias'] = arrays['decoder.net.2.bias'].astype(np.int32)

        change_weights(directory, change)
        with pytest.raises(CheckpointError) as error:
            load_generator(directory)
        for problem in (
            'decoder.net.0.bias is missing',
            'decoder.net.3.bias is not part of this network',
            'backbone.mapping.w_avg has shape (5,), expected (12,)',
            'decoder.net.2.bias is of type int32',
        ):
            assert problem in str(error.value)
