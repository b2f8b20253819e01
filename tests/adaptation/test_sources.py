"""What `config.generator` and `config.clip` may name besides our checkpoints: whatever the converters read, once."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import convert.eg3d
from adaptation.adapter import load_source
from adaptation.config import AdaptationConfig, ReferenceConfig
from adaptation.errors import ConfigError
from adaptation.inputs import load_inputs
from adaptation.leaves import fingerprint
from adaptation.sources import clip_directory, generator_directory
from clip_jax import ClipConfig, TextConfig, VisionConfig
from convert import downloads
from convert.testing import clip_files, eg3d_entries, eg3d_pickle, loopback

SMALL_CLIP = ClipConfig(
    vision=VisionConfig(image_size=16, patch_size=8, width=64, layers=4, heads=1, mlp_width=32),
    text=TextConfig(vocab_size=99, context_length=12, width=64, layers=1, heads=1, mlp_width=32, eos_token_id=98),
    embed_dim=8,
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv('ADAPTER3D_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    return tmp_path / 'cache'


@pytest.fixture(scope='module')
def pickle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('published') / 'small.pkl'
    arguments = eg3d_entries.arguments(128, channel_base=1024, channel_max=8, width=16, samples=8)
    eg3d_pickle.write_pickle(path, arguments, neural_resolution=64, whole=False)
    return path


@pytest.fixture(scope='module')
def hugging_face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('hub') / 'clip'
    clip_files.write_hugging_face(path, clip_files.random_model(SMALL_CLIP))
    return path


def test_converted_once(pickle: Path, cache: Path, capsys: pytest.CaptureFixture):
    directory = generator_directory(pickle)
    assert directory.is_relative_to(cache)
    printed = capsys.readouterr().err
    assert f'{pickle} -> {directory}\n150 entries used' in printed
    written = (directory / 'weights.safetensors').stat().st_mtime_ns
    assert generator_directory(pickle) == directory == generator_directory(str(pickle.parent))
    assert (directory / 'weights.safetensors').stat().st_mtime_ns == written
    assert capsys.readouterr().err == ''
    assert fingerprint(load_source(pickle)) == fingerprint(load_source(directory))


def test_a_changed_file_is_converted_again(pickle: Path, tmp_path: Path):
    changed = tmp_path / 'it.pkl'
    changed.write_bytes(pickle.read_bytes())
    first = generator_directory(changed)
    eg3d_pickle.write_pickle(
        changed,
        eg3d_entries.arguments(128, channel_base=1024, channel_max=8, width=16, samples=8),
        neural_resolution=64,
        seed=3,
        whole=False,
    )
    second = generator_directory(changed)
    assert first != second
    assert fingerprint(load_source(first)) != fingerprint(load_source(second))


def test_from_the_web(pickle: Path):
    with loopback.serving() as server:
        url = server.add('it.pkl', pickle.read_bytes(), pause=0.001)
        directory = generator_directory(url)
        assert generator_directory(url) == directory
        assert server.files['it.pkl'].requests == [None]
    assert generator_directory(url) == directory  # the server has gone
    assert fingerprint(load_source(url)) == fingerprint(load_source(pickle))


def test_inputs_of_a_run(pickle: Path, hugging_face: Path, tiny_files: Path):
    config = AdaptationConfig(
        generator=str(pickle),
        clip=f'{hugging_face},{hugging_face}',
        reference=ReferenceConfig(image=str(tiny_files / 'reference.png')),
    )
    inputs = load_inputs(config)
    assert inputs.generator.config.image_resolution == 128
    assert [clip.config for clip in inputs.encoders] == [SMALL_CLIP] * 2
    again = load_inputs(dataclasses.replace(config, clip=f'{clip_directory(hugging_face)},{hugging_face}'))
    assert again.hashes == inputs.hashes


def test_a_converted_tokenizer_reads_the_texts_of_a_run(
    pickle: Path, hugging_face: Path, tiny_files: Path, tmp_path: Path
):
    source = shutil.copytree(hugging_face, tmp_path / 'clip')
    letters = [chr(code) for code in range(ord('a'), ord('z') + 1)]
    words = [*letters, *(f'{letter}</w>' for letter in letters), *(f'filler{n}' for n in range(45))]
    vocabulary = {word: index for index, word in enumerate([*words, '<|startoftext|>', '<|endoftext|>'])}
    (source / 'vocab.json').write_text(json.dumps(vocabulary))
    (source / 'merges.txt').write_text('#version: 0.2\n')
    config = AdaptationConfig(
        generator=str(pickle), clip=str(source), target_text='a sketch', source_text='a photo', text_weight=1.0
    )
    inputs = load_inputs(config)
    assert inputs.reference is None
    (direction,) = inputs.text_directions or ()
    assert direction.shape == (8,)
    assert float(abs(direction).max()) > 1e-3
    assert not hasattr(inputs.encoders[0], 'text_model')
    with pytest.raises(ConfigError, match=r"config\.target_text: 'a sketch by somebody' has 19 tokens"):
        load_inputs(dataclasses.replace(config, target_text='a sketch by somebody'))


@pytest.mark.parametrize(
    ('field', 'content', 'expected'),
    [
        ('generator', b'\x80\x04K\x01.', 'has no G_ema'),
        ('generator', b'cposix\nsystem\n(S"true"\ntR.', "asks for 'posix.system'"),
        ('clip', b'<html>', 'is neither a safetensors nor a PyTorch file'),
    ],
)
def test_what_is_wrong_is_said_by_field(
    pickle: Path, hugging_face: Path, tiny_files: Path, tmp_path: Path, cache: Path, field: str, content, expected
):
    (tmp_path / 'it').write_bytes(content)
    named = {'generator': str(pickle), 'clip': str(hugging_face), field: str(tmp_path / 'it')}
    config = AdaptationConfig(**named, reference=ReferenceConfig(image=str(tiny_files / 'reference.png')))
    with pytest.raises(ConfigError) as caught:
        load_inputs(config)
    assert str(caught.value).startswith(f'config.{field}: ')
    assert expected in str(caught.value)
    assert not list(cache.glob('converted/it-*'))


@pytest.mark.parametrize('directory', [generator_directory, clip_directory])
def test_what_is_not_there(directory: Callable[[str], Path]):
    with pytest.raises(ValueError, match=r'^cannot read nope\.pkl: there is no such file or directory'):
        directory('nope.pkl')


def test_unreachable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(downloads, 'PAUSE', 0.001)
    with pytest.raises(ValueError, match='broke off after 0 of'):
        clip_directory('http://127.0.0.1:9/it.pt')
    with pytest.raises(ValueError, match='only https:// is read'):
        generator_directory('http://example.com/it.pkl')


def test_two_at_once(pickle: Path):
    """Of two runs that start together, one converts and the other one waits."""
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda _: convert.eg3d.cached(str(pickle)), range(2)))
    assert len({directory for directory, _ in reports}) == 1
    assert sorted(report is None for _, report in reports) == [False, True]
