"""Checkpoints of the measuring networks: written, read back, and refused."""

from __future__ import annotations

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from adaptation.evaluation.arcface import ArcFaceConfig, build_arcface, load_arcface
from adaptation.evaluation.inception import load_inception
from adaptation.evaluation.network_files import save_network

SMALL = ArcFaceConfig(resolution=2, units=(1,), widths=(16,), embedding=2)


@pytest.fixture
def directory(tmp_path) -> Path:
    network = build_arcface(SMALL)
    network.body[0].res_layer[4].running_mean[...] = jnp.arange(16.0)
    save_network(network, tmp_path / 'face')
    return tmp_path / 'face'


def test_what_was_written_is_read(directory):
    assert sorted(path.name for path in directory.iterdir()) == ['config.json', 'weights.safetensors']
    network = load_arcface(directory)
    assert network.config == SMALL
    stored = load_file(directory / 'weights.safetensors')
    leaves = {'.'.join(map(str, path)): leaf[...] for path, leaf in nnx.to_flat_state(nnx.state(network))}
    assert stored.keys() == leaves.keys()
    np.testing.assert_array_equal(leaves['body.0.res_layer.4.running_mean'], np.arange(16.0))
    assert {leaf.dtype.name for leaf in leaves.values()} == {'float32'}


def test_low_precision_is_read_as_float32(directory):
    path = directory / 'weights.safetensors'
    save_file({name: array.astype(np.float16) for name, array in load_file(path).items()}, path)
    assert load_arcface(directory).body[0].res_layer[4].running_mean[...].dtype == jnp.float32


def test_other_networks_are_refused(directory):
    expected = "config.json: is of the network 'arcface_ir_se', expected 'inception_v3'.*python -m convert.inception"
    with pytest.raises(ValueError, match=expected):
        load_inception(directory)


@pytest.mark.parametrize('name', ['config.json', 'weights.safetensors'])
def test_missing_files(directory, name):
    (directory / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf'{name} is missing \(python -m convert.arcface makes one\)'):
        load_arcface(directory)


def test_damaged_weights(directory):
    path = directory / 'weights.safetensors'
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r'weights\.safetensors: is damaged or cut short'):
        load_arcface(directory)


def test_weights_that_do_not_fit(directory):
    path = directory / 'weights.safetensors'
    weights = load_file(path)
    del weights['input_layer.2.weight']
    weights['output_layer.3.bias'] = np.zeros(3, np.float32)
    weights['extra'] = np.zeros(1, np.float32)
    save_file(weights, path)
    with pytest.raises(ValueError, match='does not fit the config') as caught:
        load_arcface(directory)
    for problem in (
        'extra is unknown',
        'input_layer.2.weight is missing',
        'output_layer.3.bias has shape [3], expected [2]',
    ):
        assert problem in str(caught.value)


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({'colour': 1}, "unknown field 'colour'"),
        ({'units': 3}, 'units must be whole numbers, got 3'),
        ({'embedding': '512'}, "embedding must be a whole number, got '512'"),
        ({'resolution': 3}, 'resolution 3 cannot be halved'),
    ],
)
def test_impossible_configs(directory, changes, expected):
    path = directory / 'config.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ValueError, match=expected):
        load_arcface(directory)


@pytest.mark.parametrize('text', ['{', '[]', '{"network": "arcface_ir_se"}'])
def test_damaged_configs(directory, text):
    (directory / 'config.json').write_text(text)
    with pytest.raises(ValueError, match=r'config\.json: '):
        load_arcface(directory)
