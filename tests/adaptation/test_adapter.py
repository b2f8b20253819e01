"""Adapters: what they hold, what they load onto, and what they refuse."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

import adaptation
import eg3d_jax
from adaptation.adapter import AdapterError, load_adapted, save_adapter, settings_hash
from adaptation.leaves import fingerprint, matching, named_leaves, with_leaves

Generator = eg3d_jax.TriPlaneGenerator


@pytest.fixture
def adapted(tiny_generator: Generator) -> dict[str, jnp.ndarray]:
    leaves = named_leaves(tiny_generator)
    names = [*matching(tuple(leaves), 'decoder'), *matching(tuple(leaves), 'superresolution.block1')]
    return {name: leaves[name] + 1 for name in names}


@pytest.fixture
def adapter(tmp_path: Path, tiny_generator: Generator, adapted: dict[str, jnp.ndarray]) -> Path:
    save_adapter(tmp_path, tiny_generator, adapted, fingerprint(tiny_generator), {'steps': 7, 'finished': False})
    return tmp_path


@pytest.mark.parametrize(
    'at', [lambda path: path, lambda path: path / 'adapter.safetensors'], ids=['directory', 'file']
)
@pytest.mark.parametrize('source', ['generator', 'directory'])
def test_loads_onto_its_source(
    at: Callable[[Path], Path],
    source: str,
    adapter: Path,
    adapted: dict[str, jnp.ndarray],
    tiny_generator: Generator,
    tiny_files: Path,
):
    before = {name: np.array(leaf) for name, leaf in named_leaves(tiny_generator).items()}
    given = tiny_generator if source == 'generator' else tiny_files / 'generator'
    loaded = named_leaves(adaptation.load_adapted(given, at(adapter)))
    assert loaded.keys() == before.keys()
    for name, leaf in loaded.items():
        np.testing.assert_array_equal(leaf, adapted.get(name, before[name]), err_msg=name)
        np.testing.assert_array_equal(named_leaves(tiny_generator)[name], before[name], err_msg=name)


def test_holds_the_adapted_leaves_alone(adapter: Path, adapted: dict[str, jnp.ndarray]):
    stored = load_file(adapter / 'adapter.safetensors')
    assert stored.keys() == adapted.keys()
    assert {leaf.dtype for leaf in stored.values()} == {np.dtype(np.float32)}
    info = json.loads((adapter / 'adapter.json').read_text())
    assert (info['steps'], info['finished'], info['leaves']) == (7, False, sorted(adapted))


def test_refuses_other_weights(adapter: Path, tiny_generator: Generator):
    leaves = named_leaves(tiny_generator)
    other = with_leaves(tiny_generator, {'backbone.synthesis.b4.const': leaves['backbone.synthesis.b4.const'] + 1e-6})
    with pytest.raises(AdapterError, match=r'another generator .*same config but other weights'):
        load_adapted(other, adapter)


def test_refuses_another_generator_and_says_what_differs(adapter: Path, tiny_generator: Generator):
    info = json.loads((adapter / 'adapter.json').read_text())
    info['source']['config']['w_dim'] = 512
    info['source']['hash'] = 'another'
    (adapter / 'adapter.json').write_text(json.dumps(info))
    with pytest.raises(AdapterError, match='w_dim 512 there, 12 here'):
        load_adapted(tiny_generator, adapter)


def changed(generator: Generator, **groups: dict[str, Any]) -> Generator:
    """A generator of the same weights whose config differs in these fields."""
    config = generator.config
    changes = {group: replace(getattr(config, group), **fields) for group, fields in groups.items()}
    other = eg3d_jax.TriPlaneGenerator(replace(config, **changes), rngs=nnx.Rngs(0))
    nnx.update(other, nnx.state(generator))
    return other


def test_refuses_the_same_weights_with_another_config(adapter: Path, tiny_generator: Generator):
    other = changed(tiny_generator, superresolution={'noise_mode': 'hatching'}, rendering={'ray_end': 3.0})
    assert fingerprint(other) == fingerprint(tiny_generator)
    differing = r'rendering\.ray_end 3\.3 there, 3\.0 here, superresolution\.noise_mode none there, hatching here'
    with pytest.raises(AdapterError, match=rf"\({differing}\): put it back in the generator's config\.json"):
        load_adapted(other, adapter)


def test_cameras_and_chunks_are_free(adapter: Path, tiny_generator: Generator):
    load_adapted(changed(tiny_generator, camera={'radius': 2.8}, rendering={'max_points': 999}), adapter)


def test_an_adapter_that_is_older_than_a_field_has_its_default(adapter: Path, tiny_generator: Generator):
    info = json.loads((adapter / 'adapter.json').read_text())
    del info['source']['config']['superresolution']['noise_mode']
    (adapter / 'adapter.json').write_text(json.dumps(info))
    load_adapted(tiny_generator, adapter)
    with pytest.raises(AdapterError, match='noise_mode none there, hatching here'):
        load_adapted(changed(tiny_generator, superresolution={'noise_mode': 'hatching'}), adapter)


def test_settings_have_one_hash_for_all_cameras(tiny_generator: Generator):
    hashes = {
        settings_hash(each.config)
        for each in (tiny_generator, changed(tiny_generator, camera={'radius': 2.8}, rendering={'max_points': 999}))
    }
    assert hashes == {settings_hash(tiny_generator.config)}
    assert settings_hash(changed(tiny_generator, rendering={'depth_resolution': 7}).config) not in hashes


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_refuses_what_is_not_finite(
    value: float, adapter: Path, adapted: dict[str, jnp.ndarray], tiny_generator: Generator
):
    name = 'decoder.net.0.bias'
    spoilt = {**adapted, name: adapted[name].at[1].set(value)}
    save_adapter(adapter, tiny_generator, spoilt, fingerprint(tiny_generator), {})
    with pytest.raises(AdapterError, match=rf'adapter\.safetensors is damaged: {name} is not finite; copy it again'):
        load_adapted(tiny_generator, adapter)


@pytest.mark.parametrize('name', ['adapter.json', 'adapter.safetensors'])
@pytest.mark.parametrize(
    'content', [None, b'', b'{"format": 1', b'{"format": 2}'], ids=['missing', 'empty', 'cut', 'other']
)
def test_refuses_damaged_files(name: str, content: bytes | None, adapter: Path, tiny_generator: Generator):
    (adapter / name).unlink()
    if content is not None:
        (adapter / name).write_bytes(content)
    with pytest.raises(AdapterError, match=name):
        load_adapted(tiny_generator, adapter)


def test_refuses_leaves_that_do_not_fit(adapter: Path, tiny_generator: Generator):
    wrong = {'decoder.net.0.bias': jnp.zeros(3), 'decoder.net.9.bias': jnp.zeros(3)}
    save_adapter(adapter, tiny_generator, wrong, fingerprint(tiny_generator), {})
    with pytest.raises(AdapterError, match=r'decoder\.net\.0\.bias, decoder\.net\.9\.bias'):
        load_adapted(tiny_generator, adapter)


def test_fingerprint_is_of_the_weights_however_they_are_stored(
    tiny_generator: Generator, tiny_files: Path, tmp_path: Path
):
    assert fingerprint(eg3d_jax.load_generator(tiny_files / 'generator')) == fingerprint(tiny_generator)
    eg3d_jax.save_generator(tiny_generator, tmp_path, dtype='float16')
    halved = eg3d_jax.load_generator(tmp_path)
    eg3d_jax.save_generator(halved, tmp_path / 'again')
    assert (
        fingerprint(eg3d_jax.load_generator(tmp_path / 'again')) == fingerprint(halved) != fingerprint(tiny_generator)
    )


def test_with_leaves_refuses_unknown_names(tiny_generator: Generator):
    with pytest.raises(KeyError, match=r'decoder\.net\.1'):
        with_leaves(tiny_generator, {'decoder.net.1': jnp.zeros(())})


def test_an_adapter_that_lacks_leaves_is_refused(adapter: Path, tiny_generator: Generator):
    leaves = load_file(adapter / 'adapter.safetensors')
    lost = sorted(leaves)[0]
    save_file({name: leaf for name, leaf in leaves.items() if name != lost}, adapter / 'adapter.safetensors')
    with pytest.raises(AdapterError, match=f'lacks {lost}: copy both files'):
        load_adapted(tiny_generator, adapter)


def test_an_adapter_with_leaves_that_its_description_lacks_is_refused(adapter: Path, tiny_generator: Generator):
    info = json.loads((adapter / 'adapter.json').read_text())
    surplus = info['leaves'].pop()
    (adapter / 'adapter.json').write_text(json.dumps(info))
    with pytest.raises(AdapterError, match=f'knows nothing of {surplus}'):
        load_adapted(tiny_generator, adapter)


@pytest.mark.parametrize('lost', ['leaves', 'source'])
def test_a_description_that_lacks_fields_is_refused(lost: str, adapter: Path, tiny_generator: Generator):
    info = json.loads((adapter / 'adapter.json').read_text())
    info[lost] = {}
    (adapter / 'adapter.json').write_text(json.dumps(info))
    with pytest.raises(AdapterError, match=r'adapter\.json is no adapter of format 1'):
        load_adapted(tiny_generator, adapter)


def test_a_full_disk_is_named_and_leaves_the_earlier_adapter(
    adapter: Path, adapted: dict[str, jnp.ndarray], tiny_generator: Generator, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise SafetensorError('No space left on device')

    before = (adapter / 'adapter.safetensors').read_bytes()
    monkeypatch.setattr('adaptation.adapter.save_file', full)
    with pytest.raises(AdapterError, match=r'cannot write .*adapter\.safetensors.*Is the disk full'):
        save_adapter(adapter, tiny_generator, adapted, fingerprint(tiny_generator), {})
    assert (adapter / 'adapter.safetensors').read_bytes() == before
