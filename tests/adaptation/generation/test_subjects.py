"""What commands draw from: the generator that a run, a mix or an adapter.json names, and the run's cameras."""

import json
from pathlib import Path
from typing import Any

import pytest

import eg3d_jax
from adaptation.adapter import AdapterError, save_adapter
from adaptation.generation.subjects import load_subjects, source_name, source_subject
from adaptation.leaves import fingerprint, matching, named_leaves

Generator = eg3d_jax.TriPlaneGenerator


def adapter(directory: Path, source: Generator, **info: Any) -> Path:
    leaves = named_leaves(source)
    adapted = {name: 1.2 * leaves[name] for name in matching(tuple(leaves), 'decoder')}
    save_adapter(directory, source, adapted, fingerprint(source), info)
    return directory


def test_a_mix_names_its_generator(tiny_files: Path, tiny_generator: Generator, tmp_path: Path):
    mix = adapter(tmp_path, tiny_generator, generator=str(tiny_files / 'generator'))
    source, adapted = load_subjects(mix, None, with_source=True)
    assert fingerprint(source.generator) == fingerprint(tiny_generator) != fingerprint(adapted.generator)
    assert source.camera == tiny_generator.config.camera
    assert source_name(mix, None) == str(tiny_files / 'generator')
    assert source_name(mix, 'other') == 'other'
    assert source_name(None, None) == 'miniature'


def test_an_adapter_that_says_nothing_is_refused(tiny_generator: Generator, tmp_path: Path):
    with pytest.raises(AdapterError, match='does not say which generator it was made from: name it with --generator'):
        source_subject(adapter(tmp_path, tiny_generator), None)


def test_the_cameras_are_the_runs(tiny_files: Path, tiny_generator: Generator, tmp_path: Path):
    config = {'generator': str(tiny_files / 'generator'), 'reference': {'image': 'a.png'}}
    camera = {'radius': 2.8, 'pivot': [0.0, 0.0, 0.1], 'yaw_std': None}
    (tmp_path / 'config.json').write_text(json.dumps({**config, 'camera': camera}))
    found = source_subject(adapter(tmp_path, tiny_generator), None).camera
    assert (found.radius, found.pivot) == (2.8, (0.0, 0.0, 0.1))
    assert found.yaw_std == tiny_generator.config.camera.yaw_std


@pytest.mark.parametrize('config', ['{"generator"', '[]', '{"generator": 3}', '{"camera": {"radius": "far"}}'])
def test_a_damaged_config_is_named(config: str, tiny_files: Path, tiny_generator: Generator, tmp_path: Path):
    (tmp_path / 'config.json').write_text(config)
    with pytest.raises(
        AdapterError, match=r'config\.json is damaged, or of a newer version \(.+\): copy the run again'
    ):
        source_subject(adapter(tmp_path, tiny_generator), str(tiny_files / 'generator'))
