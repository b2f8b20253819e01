"""Files from the web: whole or refused, resumed where they broke off, whatever the server does."""

from __future__ import annotations

import base64
import hashlib
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import convert.eg3d
from convert import ConversionError, downloads
from convert.testing import loopback

CONTENT = np.random.default_rng(0).bytes(100_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv('ADAPTER3D_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    monkeypatch.setattr(downloads, 'PAUSE', 0.001)
    return tmp_path / 'cache'


@pytest.fixture
def server() -> Iterator[loopback.Loopback]:
    with loopback.serving() as server:
        yield server


def fails(url: str) -> str:
    """The message with which a download is refused; nothing but what can be resumed may be left."""
    with pytest.raises(ConversionError) as caught:
        downloads.download(url)
    assert str(caught.value).startswith(f'{url}: ')
    return str(caught.value)


def files(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.glob('downloads/*/*'))


def test_a_file_is_fetched_once(server, cache):
    url = server.add('a/ffhq 512.pkl', CONTENT).replace(' ', '%20')
    path = downloads.download(url)
    assert path.read_bytes() == CONTENT
    assert path.name == 'ffhq 512.pkl'
    assert downloads.download(url) == path
    assert server.files['a/ffhq 512.pkl'].requests == [None]
    assert files(cache) == ['ffhq 512.pkl']


def test_letters_beyond_ascii(server, cache):
    url = f'{server.address}/Köpfe.pkl?größe=1'
    server.add('Köpfe.pkl', CONTENT)
    assert downloads.download(url).read_bytes() == CONTENT
    assert files(cache) == ['Köpfe.pkl']


def test_slow_server(server):
    start = time.monotonic()
    assert downloads.download(server.add('slow', CONTENT, pause=0.02)).read_bytes() == CONTENT
    assert time.monotonic() - start > 0.1


def test_stalled_server_is_asked_again(server, monkeypatch):
    monkeypatch.setattr(downloads, 'TIMEOUT', 3.0)
    url = server.add('stalled', CONTENT, pause=60.0, pauses=1)
    assert downloads.download(url).read_bytes() == CONTENT
    assert server.files['stalled'].requests == [None, 'bytes=12500-']


def test_broken_connections_are_resumed(server):
    url = server.add('broken', CONTENT, broken_after=30_000)
    assert downloads.download(url).read_bytes() == CONTENT
    assert server.files['broken'].requests == [None, 'bytes=30000-', 'bytes=60000-', 'bytes=90000-']


@pytest.mark.parametrize('how', [{'ranges': False}, {'tag': 'W/"weak"'}])
def test_servers_that_cannot_resume_start_over(server, how):
    url = server.add('whole', CONTENT, broken_after=30_000, **how)
    message = fails(url)
    assert 'broke off after 30,000 of 100,000 bytes' in message
    server.files['whole'].broken_after = None
    assert downloads.download(url).read_bytes() == CONTENT


def test_what_came_is_kept_for_the_next_command(server, cache):
    url = server.add('it', CONTENT, broken_after=0)
    served = server.files['it']
    assert 'broke off after 0 of 100,000 bytes (the server closed the connection)' in fails(url)
    served.broken_after, served.ranges = 40_000, False
    assert 'broke off after 40,000 of 100,000 bytes' in fails(url)
    assert files(cache) == ['it.part', 'it.part.json']
    served.broken_after, served.ranges, served.requests = None, True, []
    assert downloads.download(url).read_bytes() == CONTENT
    assert served.requests == ['bytes=40000-']
    assert files(cache) == ['it']


def test_a_file_that_changed_meanwhile_is_fetched_anew(server):
    url = server.add('it', CONTENT, broken_after=40_000, ranges=False)
    fails(url)
    server.add('it', CONTENT[::-1], tag='"2"')
    assert downloads.download(url).read_bytes() == CONTENT[::-1]


def test_a_whole_file_that_was_not_checked_is_fetched_anew(server, cache, monkeypatch):
    """Its process ended while it was hashed: no byte is missing, and none can be asked for."""

    def interrupted(*_):
        raise KeyboardInterrupt

    url = f'{server.add("it", CONTENT)}#sha256={DIGEST}'
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(downloads, '_check_digest', interrupted)
        downloads.download(url)
    assert files(cache) == ['it.part', 'it.part.json']
    assert downloads.download(url).read_bytes() == CONTENT
    assert server.files['it'].requests == [None, 'bytes=100000-', None]
    assert files(cache) == ['it']


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """A limit on the size of files stands for the disk: what is written beyond really fails."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize('size', [0, 50_000])
def test_a_full_disk_is_no_broken_connection(server, cache, size):
    url = server.add('it', CONTENT)
    with full_disk(size):
        message = fails(url)
    assert 'downloads/' in message
    assert ' cannot be written: File too large; make room, or move the cache with $ADAPTER3D_CACHE' in message
    assert server.files['it'].requests == [None]
    assert downloads.download(url).read_bytes() == CONTENT
    assert server.files['it'].requests == [None, f'bytes={size}-' if size else None]


def test_a_full_disk_keeps_what_came_before(server, cache):
    url = server.add('it', CONTENT, broken_after=40_000, ranges=False)
    fails(url)
    server.files['it'].broken_after, server.files['it'].ranges, server.files['it'].requests = None, True, []
    for _ in range(2):
        with full_disk(0):
            assert 'cannot be written' in fails(url)
    assert downloads.download(url).read_bytes() == CONTENT
    assert server.files['it'].requests == ['bytes=40000-'] * 3


def test_busy_server(server):
    assert downloads.download(server.add('busy', CONTENT, busy=3)).read_bytes() == CONTENT
    assert 'the server answers 503' in fails(server.add('busier', CONTENT, busy=100))


def test_missing_file(server):
    assert 'the server answers 404' in fails(f'{server.address}/absent')


def test_no_server():
    assert 'refused' in fails('http://127.0.0.1:9/it')


@pytest.mark.parametrize('where', ['fragment', 'path', 'header'])
def test_corrupt_file_is_refused_and_deleted(server, cache, where):
    path, fragment, headers = 'it.pkl', '', {}
    if where == 'fragment':
        fragment = f'#sha256={DIGEST}'
    elif where == 'path':  # as OpenAI's addresses have it
        path = f'models/{DIGEST}/it.pkl'
    else:
        headers = {'Repr-Digest': f'sha-256=:{base64.b64encode(bytes.fromhex(DIGEST)).decode()}:'}
    url = server.add(path, CONTENT, corrupt=True, headers=headers) + fragment
    message = fails(url)
    assert f'expected {DIGEST}' in message
    assert [name for name in files(cache) if name.endswith(('.pkl', '.part'))] == []
    server.files[path].corrupt = False
    assert downloads.download(url).read_bytes() == CONTENT


def test_a_hash_given_later_is_checked(server, cache):
    url = server.add('it', CONTENT, corrupt=True)
    downloads.download(url)
    assert 'expected' in fails(f'{url}#sha256={DIGEST}')
    assert files(cache) == []


@pytest.mark.parametrize(
    ('url', 'expected'),
    [
        ('http://example.com/it.pkl', 'only https:// is read'),
        ('ftp://example.com/it.pkl', 'only https:// is read'),
        ('file:///etc/passwd', 'only https:// is read'),
        ('https://example.com/it.pkl#sha256=12', '64 hexadecimal digits'),
        ('https://example.com/it.pkl#md5=12', '64 hexadecimal digits'),
        ('https://[it', 'is no web address'),
        ('https://example.com/a%00b.pkl', 'is no web address'),
        (f'https://{"ü" * 64}.com/it.pkl', 'is no web address'),
    ],
)
def test_addresses_that_are_refused(url, expected):
    assert expected in fails(url)


def test_redirects(server):
    target = server.add('target', CONTENT)
    assert downloads.download(server.add('it', b'', redirect=target)).read_bytes() == CONTENT
    url = server.add('insecure', b'', redirect='http://example.com/it')
    with pytest.raises(ConversionError, match='only https:// is read'):
        downloads.download(url)


def test_conversion_from_the_web(server, small_pickle, tmp_path):
    content = small_pickle.read_bytes()
    url = server.add('ffhq.pkl', content, broken_after=len(content) // 3)
    report = convert.eg3d.convert(url, tmp_path / 'out')
    assert len(report.used) == 150
    assert (tmp_path / 'out' / 'weights.safetensors').is_file()


@pytest.mark.parametrize('fault', ['truncated', 'corrupt', 'page'])
def test_damaged_file_from_the_web_makes_no_output(server, small_pickle, tmp_path, fault):
    content = small_pickle.read_bytes()
    if fault == 'corrupt':
        url = f'{server.add("it.pkl", content, corrupt=True)}#sha256={hashlib.sha256(content).hexdigest()}'
    elif fault == 'truncated':  # and the server does not notice
        url = server.add('it.pkl', content[: len(content) // 2])
    else:
        url = server.add('it.pkl', b'<!DOCTYPE html>')
    with pytest.raises(ConversionError) as caught:
        convert.eg3d.convert(url, tmp_path / 'out')
    assert str(caught.value).startswith(f'{url}: ')
    assert ('delete that to fetch it again' in str(caught.value)) == (fault != 'corrupt')
    assert not (tmp_path / 'out').exists()
