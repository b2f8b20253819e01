"""Conversions that are done once: what they call their source, and what is left in the cache."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import convert.arcface
import convert.clip
import convert.eg3d
import convert.inception
from clip_jax import ClipConfig, TextConfig, VisionConfig, load_clip
from convert import ConversionError
from convert.testing import clip_files, loopback

SMALL = ClipConfig(
    vision=VisionConfig(image_size=16, patch_size=8, width=64, layers=1, heads=1, mlp_width=32),
    text=TextConfig(vocab_size=99, context_length=12, width=64, layers=1, heads=1, mlp_width=32, eos_token_id=98),
    embed_dim=8,
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv('ADAPTER3D_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    return tmp_path / 'cache'


@pytest.fixture
def server() -> Iterator[loopback.Loopback]:
    with loopback.serving() as server:
        yield server


@pytest.mark.parametrize('module', [convert.eg3d, convert.clip, convert.inception, convert.arcface])
def test_a_broken_download_is_named_by_its_address(server, module):
    url = server.add('it.pkl', b'\x80\x04}')
    with pytest.raises(ConversionError) as caught:
        module.cached(url)
    assert str(caught.value).startswith(f'{url}: ')
    assert 'delete that to fetch it again' in str(caught.value)


def test_the_record_names_the_source(server, small_pickle):
    url = server.add('small.pkl', small_pickle.read_bytes())
    directory, report = convert.eg3d.cached(url)
    assert report is not None
    assert json.loads((directory / 'conversion.json').read_text())['source'] == url
    assert convert.eg3d.cached(url) == (directory, None)


@pytest.mark.parametrize(('folder', 'activation'), [('vit-b-32-quickgelu', 'quick_gelu'), ('vit-b-32', 'gelu')])
def test_an_address_may_say_the_activation(server, tmp_path, folder, activation):
    """As it does to `convert.clip`; the name of the file in the cache does not."""
    torch.save(clip_files.open_clip_state(clip_files.random_model(SMALL)), tmp_path / 'it')
    url = server.add(f'{folder}/open_clip_pytorch_model.bin', (tmp_path / 'it').read_bytes())
    directory, _ = convert.clip.cached(url)
    assert load_clip(directory).config.vision.hidden_act == activation


def test_leftovers_of_killed_conversions_are_removed(small_pickle, cache):
    directory, _ = convert.eg3d.cached(str(small_pickle))
    left = directory.with_name(f'.{directory.name}.writing-1234')
    directory.rename(left)
    other = left.with_name(f'.{directory.name}0.writing-1234')
    other.mkdir()
    assert convert.eg3d.cached(str(small_pickle))[1] is not None
    assert sorted(path.name for path in directory.parent.iterdir()) == sorted([directory.name, other.name])


def test_a_full_disk(small_pickle, cache):
    """A limit on the size of files stands for the disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(ConversionError) as caught:
            convert.eg3d.cached(str(small_pickle))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value).startswith(f'{small_pickle}: {cache / "converted"}')
    assert 'cannot be written: File too large; make room, or move the cache with $ADAPTER3D_CACHE.' in str(caught.value)
    assert list((cache / 'converted').iterdir()) == []
