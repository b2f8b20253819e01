"""CLIP's standard vocabulary where a source has no tokenizer: from a package or the hub, never from a copy of ours."""

from __future__ import annotations

import dataclasses
import gzip
import sys
from pathlib import Path

import pytest
import torch

import convert.clip
from clip_jax import ClipConfig, TextConfig, VisionConfig, load_tokenizer
from convert import ConversionError, vocabulary
from convert.sources import Selection
from convert.testing import clip_files

MERGES = ['h e', 'a d</w>', 'he ad</w>', 't h', 'th e</w>']
PACKAGE_TEXT = '\n'.join(['"bpe_simple_vocab_16e6.txt#version: 0.2', *MERGES, ''])
BROKEN_MODULE = 'raise RuntimeError("a package was run for its vocabulary")\n'
# Of the standard size, and small otherwise.
SMALL = ClipConfig(
    vision=VisionConfig(image_size=16, patch_size=8, width=64, layers=1, heads=1, mlp_width=32),
    text=TextConfig(context_length=10, width=64, layers=1, heads=1, mlp_width=32),
    embed_dim=8,
)


@pytest.fixture
def no_package(monkeypatch) -> None:
    """No package with a vocabulary, and no hub."""
    monkeypatch.setattr(vocabulary, 'PACKAGES', ())
    monkeypatch.setattr(vocabulary, 'fetch', unreachable)


def unreachable(source, select) -> Path:
    assert source == 'hf://openai/clip-vit-base-patch32'
    assert select(['config.json'], None) == Selection(('vocab.json', 'merges.txt'))
    raise ConversionError(f'{source}: is not in the cache, and the hub cannot be reached.')


@pytest.fixture
def package(no_package, monkeypatch, tmp_path) -> Path:
    """A package with a small one."""
    folder = tmp_path / 'site' / 'some_clip_package'
    folder.mkdir(parents=True)
    (folder / '__init__.py').write_text(BROKEN_MODULE)
    (folder / vocabulary.PACKAGE_FILE).write_bytes(gzip.compress(PACKAGE_TEXT.encode()))
    monkeypatch.syspath_prepend(tmp_path / 'site')
    monkeypatch.setattr(vocabulary, 'PACKAGES', ('absent_package', 'some_clip_package'))
    return folder


@pytest.fixture
def source(tmp_path) -> Path:
    model = clip_files.random_model(SMALL)
    clip_files.write_openai(tmp_path / 'it.pt', clip_files.openai_state(model), (16, 10, vocabulary.SIZE))
    return tmp_path / 'it.pt'


def test_prompts_work_afterwards(package, source, tmp_path):
    report = convert.clip.convert(source, tmp_path / 'out')
    assert report.notes == (convert.clip.STANDARD_TOKENIZER,)
    assert 'some_clip_package' not in sys.modules
    tokenize = load_tokenizer(tmp_path / 'out')
    start, end = 512 + len(MERGES), 512 + len(MERGES) + 1
    assert tokenize(['The HEAD']).tolist() == [[start, 516, 514, *[end] * 7]]
    convert.clip.convert(source, tmp_path / 'out', force=True)  # its own files may be replaced


def test_without_any(no_package, source, tmp_path):
    report = convert.clip.convert(source, tmp_path / 'out')
    assert len(report.notes) == 1
    assert report.notes[0].startswith(convert.clip.NO_TOKENIZER)
    assert 'the hub cannot be reached' in report.notes[0]
    with pytest.raises(FileNotFoundError, match='holds no tokenizer'):
        load_tokenizer(tmp_path / 'out')


def test_from_the_hub(no_package, source, tmp_path, monkeypatch):
    files = vocabulary.files_of(PACKAGE_TEXT)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(vocabulary, 'fetch', lambda source, select: tmp_path)
    convert.clip.convert(source, tmp_path / 'out')
    assert {name: (tmp_path / 'out' / name).read_bytes() for name in files} == files


def test_another_vocabulary_is_not_guessed(package, tmp_path):
    config = dataclasses.replace(SMALL, text=dataclasses.replace(SMALL.text, vocab_size=99, eos_token_id=98))
    torch.save(clip_files.open_clip_state(clip_files.random_model(config)), tmp_path / 'it.pt')
    report = convert.clip.convert(tmp_path / 'it.pt', tmp_path / 'out')
    assert convert.clip.NO_TOKENIZER in report.notes


def test_damaged_package(package, source, tmp_path):
    (package / vocabulary.PACKAGE_FILE).write_bytes(gzip.compress(b'heading\none two three\n'))
    report = convert.clip.convert(source, tmp_path / 'out')
    assert 'a line that is no merge of two tokens' in report.notes[-1]


def test_the_standard_one(tmp_path):
    """Of the package that the extra `convert` installs; the ids are the published ones."""
    files = vocabulary.standard_files()
    assert files['merges.txt'].count(b'\n') == 1 + vocabulary.MERGES
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    tokenize = load_tokenizer(tmp_path, context_length=9)
    assert tokenize.vocab_size == vocabulary.SIZE
    assert tokenize(['a photo of a cat']).tolist() == [[49406, 320, 1125, 539, 320, 2368, 49407, 49407, 49407]]
