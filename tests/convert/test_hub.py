"""Sources of the hub, by its own client, against a server on this machine. The client reads its settings when it is
imported, so each case is a process of its own; one of them does several conversions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clip_jax import ClipConfig, TextConfig, VisionConfig, load_clip
from convert import ConversionError
from convert.clip_sources import select
from convert.testing import clip_files, loopback

SMALL = ClipConfig(
    vision=VisionConfig(image_size=16, patch_size=8, width=64, layers=1, heads=1, mlp_width=32),
    text=TextConfig(vocab_size=99, context_length=12, width=64, layers=1, heads=1, mlp_width=32, eos_token_id=98),
    embed_dim=8,
)
CONVERT = """
import json, sys
import convert.clip, convert.eg3d, huggingface_hub.constants

huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = 100_000  # bytes that are kept at once; 10 MB by default

for kind, source, output in json.loads(sys.argv[1]):
    try:
        print(json.dumps(len(getattr(convert, kind).convert(source, output).used)))
    except convert.ConversionError as error:
        print(json.dumps(str(error)))
"""


@pytest.fixture
def server() -> Iterator[loopback.Loopback]:
    with loopback.serving() as server:
        yield server


@pytest.fixture(scope='module')
def clip_directory(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp('clip')
    clip_files.write_hugging_face(directory, clip_files.random_model(SMALL), 'sharded safetensors')
    (directory / 'tokenizer.json').write_text('{"it": "comes along"}')
    (directory / 'README.md').write_text('not asked for')
    return directory


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def run(tmp_path: Path, endpoint: str, *conversions: tuple[str, str, str], offline: bool = False) -> list[Any]:
    """For each conversion the number of entries used, or the message of the error."""
    environment = os.environ | {
        'HF_ENDPOINT': endpoint,
        'HF_HOME': str(tmp_path / 'hub'),
        'HF_HUB_OFFLINE': '1' if offline else '0',
        'HF_HUB_DOWNLOAD_TIMEOUT': '5',
        'HF_HUB_DISABLE_XET': '1',
        'NO_PROXY': '127.0.0.1',
    }
    listed = json.dumps([(kind, source, str(tmp_path / output)) for kind, source, output in conversions])
    command = [sys.executable, '-c', CONVERT, listed]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_repository_file_revision_and_offline(server, clip_directory, small_pickle, tmp_path):
    clip = server.add_repository('owner/clip', contents(clip_directory))
    server.add_repository('owner/eg3d', {'README.md': b'it', 'networks/ffhq.pkl': small_pickle.read_bytes()})
    server.add_repository('owner/two', {'a.pkl': b'a', 'b.pkl': b'b'})
    used = len(clip_files.random_model(SMALL).state_dict())
    conversions = (
        ('clip', 'hf://owner/clip', 'clip'),
        ('clip', f'hf://owner/clip/model.safetensors.index.json@{loopback.COMMIT}', 'indexed'),
        ('eg3d', 'hf://owner/eg3d/networks/ffhq.pkl@main', 'eg3d'),
        ('eg3d', 'hf://owner/eg3d', 'none'),
        ('eg3d', 'hf://owner/two', 'several'),
        ('eg3d', 'hf://owner/absent', 'absent'),
        ('eg3d', 'hf://owner/two@v9', 'revision'),
        ('eg3d', 'hf://owner/two/c.pkl', 'file'),
        ('eg3d', 'hf://owner', 'syntax'),
    )
    done, indexed, pickled, *refused = run(tmp_path, server.address, *conversions)
    assert (done, indexed, pickled) == (used, used, 150)
    for message, expected in zip(
        refused,
        (
            'hf://owner/eg3d: holds no EG3D file',
            'hf://owner/two: holds several files; name one of them: a.pkl, b.pkl.',
            'hf://owner/absent: ',
            'hf://owner/two@v9: ',
            'hf://owner/two/c.pkl: there is no file c.pkl in it.',
            'hf://owner: expected hf://owner/repo[/file][@revision].',
        ),
        strict=True,
    ):
        assert message.startswith(expected)
        assert '\n' not in message
    assert load_clip(tmp_path / 'clip').config == SMALL
    assert (tmp_path / 'clip' / 'tokenizer.json').read_text() == '{"it": "comes along"}'
    assert clip['README.md'].requests == []  # only what is read was fetched
    assert all(len(served.requests) <= 1 for served in clip.values())

    offline = (*conversions[:3], ('eg3d', 'hf://owner/absent', 'absent'))
    outputs = [(kind, source, f'offline-{output}') for kind, source, output in offline]
    *again, absent = run(tmp_path, 'http://127.0.0.1:9', *outputs, offline=True)
    assert again == [done, indexed, pickled]
    assert absent == 'hf://owner/absent: is not in the cache, and HF_HUB_OFFLINE is set.'
    for name in ('clip', 'eg3d'):
        weights = (tmp_path / name / 'weights.safetensors').read_bytes()
        assert (tmp_path / f'offline-{name}' / 'weights.safetensors').read_bytes() == weights


def test_slow_truncated_and_corrupt_files(server, small_pickle, tmp_path):
    content = small_pickle.read_bytes()
    for name, how in (
        ('slow', {'pause': 0.02}),
        ('truncated', {'broken_after': 2 * len(content) // 3}),
        ('corrupt', {'corrupt': True}),
    ):
        server.add_repository(f'owner/{name}', {'it.pkl': content})
        for attribute, value in how.items():
            setattr(server.repositories[f'owner/{name}']['it.pkl'], attribute, value)
    conversions = [('eg3d', f'hf://owner/{name}', name) for name in ('slow', 'truncated', 'corrupt')]
    slow, truncated, corrupt = run(tmp_path, server.address, *conversions)
    assert (slow, truncated) == (150, 150)
    requests = server.repositories['owner/truncated']['it.pkl'].requests
    assert requests == [None, f'bytes={2 * len(content) // 3 // 100_000 * 100_000}-']
    assert corrupt.startswith('hf://owner/corrupt: it.pkl has the checksum ')
    assert 'the download was deleted' in corrupt
    assert not (tmp_path / 'corrupt').exists()
    server.repositories['owner/corrupt']['it.pkl'].corrupt = False
    unreachable = ('eg3d', 'hf://owner/elsewhere', 'elsewhere')
    repaired, missing = run(tmp_path, server.address, ('eg3d', 'hf://owner/corrupt', 'corrupt'), unreachable)
    assert repaired == 150
    assert missing.startswith('hf://owner/elsewhere: ')


def test_what_a_clip_needs():
    common = ['README.md', 'config.json', 'tokenizer.json', 'vocab.json']
    assert select([*common, 'model.safetensors', 'pytorch_model.bin'], None).files == (
        'model.safetensors',
        'config.json',
        'tokenizer.json',
        'vocab.json',
    )
    shards = ['pytorch_model-00001-of-00002.bin', 'pytorch_model-00002-of-00002.bin']
    index = 'pytorch_model.bin.index.json'
    assert set(select([index, *shards, '../pytorch_model-1-of-2.bin', 'flax_model.msgpack'], None).files) == {
        index,
        *shards,
    }
    open_clip = ['open_clip_config.json', 'open_clip_pytorch_model.bin']
    assert select(open_clip, None).files == ('open_clip_pytorch_model.bin', 'open_clip_config.json')
    assert select([*open_clip, 'other.bin'], 'other.bin').main == 'other.bin'
    with pytest.raises(ConversionError, match='holds no weights: expected one of model'):
        select(common, None)
