"""Files from web servers: resumed where they broke off, and checked.

`https://.../name.pkl#sha256=HEX` says what the file must hash to. A part of the path that is such a hash is taken for
it as well (OpenAI's addresses are made so), and so is what the server says in `Repr-Digest`.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import http.client
import json
import re
import string
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from tqdm import tqdm

from convert.cache import CACHE_VARIABLE, cache_directory, locked
from convert.errors import ConversionError
from eg3d_jax.files import write_json

TIMEOUT = 30.0  # seconds without a byte after which a connection counts as broken
FRUITLESS_ATTEMPTS = 5  # in a row, after which a download is given up
PAUSE = 1.0  # seconds before the second of these; each further pause is twice as long
CHUNK = 1 << 20  # bytes
LOOPBACK = ('127.0.0.1', 'localhost', '::1')
SHA256 = r'[0-9a-f]{64}'
WORTH_A_RETRY = (408, 425, 429, 500, 502, 503, 504)


class _Broken(Exception):
    """The connection broke off, or the server was busy; another attempt may help."""


@dataclasses.dataclass
class _Transfer:
    """A download under way.

    Attributes:
      url: without a fragment.
      partial: where the bytes go.
      validator: what the server calls this version of the file, if anything; only with one can it be resumed.
      digest: the SHA-256 that the file must have, as far as it is known.
      total: the file's bytes, if the server says.
    """

    url: str
    partial: Path
    validator: str | None = None
    digest: str | None = None
    total: int | None = None


def download(url: str) -> Path:
    """The file at this address, from the cache if it was downloaded before.

    Raises:
      ConversionError: an address that is not secure, an answer that is no file, a connection that stays broken or a
        disk that is full (what has come is kept, and the same call goes on from there), or a file of another hash than
        expected.
    """
    try:
        parts = urlsplit(url)
        _check_scheme(parts)
        (parts.hostname or '').encode('idna')
        if '\0' in unquote(parts.path):
            raise ValueError('its path has a character zero')
    except ValueError as error:
        raise ConversionError(f'{url}: is no web address ({error}).') from None
    digest = _expected_digest(parts)
    plain = urlunsplit(parts._replace(path=_ascii(parts.path), query=_ascii(parts.query), fragment=''))
    key = hashlib.sha256(plain.encode()).hexdigest()[:16]
    target = cache_directory() / 'downloads' / key / (Path(unquote(parts.path)).name or 'file')
    with _keeping(url, target.parent), locked(key):
        return _downloaded(url, plain, target, digest)


@contextmanager
def _keeping(url: str, directory: Path) -> Iterator[None]:
    """Says what is wrong with the directory of a download. All trouble with the connection is `_Broken`."""
    try:
        yield
    except OSError as error:
        raise ConversionError(
            f'{url}: {directory} cannot be written: {error.strerror or error}; make room, or move the cache with '
            f'${CACHE_VARIABLE}. What has come is kept.'
        ) from error


def _ascii(part: str) -> str:
    """Part of an address as it is sent; what may be sent as it is stays."""
    return quote(part, safe=string.punctuation)


def _downloaded(url: str, plain: str, target: Path, digest: str | None) -> Path:
    if target.is_file():
        if digest is not None:
            _check_digest(url, target, digest)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    transfer = _Transfer(plain, target.with_name(f'{target.name}.part'), digest=digest)
    _run(url, transfer)
    if transfer.digest is not None:
        _check_digest(url, transfer.partial, transfer.digest)
    transfer.partial.replace(target)
    _state_file(transfer).unlink(missing_ok=True)
    return target


def _check_scheme(parts: SplitResult) -> None:
    if parts.scheme == 'https' or (parts.scheme == 'http' and parts.hostname in LOOPBACK):
        return
    raise ConversionError(
        f'{urlunsplit(parts)}: only https:// is read from the web: who is on the way cannot change it.'
    )


def _expected_digest(parts: SplitResult) -> str | None:
    """The hash that an address gives."""
    if parts.fragment:
        match = re.fullmatch(rf'sha256=({SHA256})', parts.fragment.lower())
        if match is None:
            raise ConversionError(
                f'{urlunsplit(parts)}: expected #sha256= and 64 hexadecimal digits behind the address.'
            )
        return match[1]
    return next((part for part in parts.path.split('/') if re.fullmatch(SHA256, part)), None)


def _check_digest(url: str, path: Path, expected: str) -> None:
    with path.open('rb') as file:
        found = hashlib.file_digest(file, 'sha256').hexdigest()
    if found != expected:
        path.unlink()
        raise ConversionError(f'{url}: has the SHA-256 {found}, expected {expected}; the download was deleted.')


def _run(url: str, transfer: _Transfer) -> None:
    """Attempts until all bytes have come. The number of attempts is limited only while none of them brings any."""
    _resume(transfer)
    fruitless = 0
    with tqdm(unit='B', unit_scale=True, desc=Path(transfer.partial.stem).name, disable=None) as bar:
        while True:
            before = _size(transfer.partial)
            try:
                _attempt(url, transfer, bar)
                return
            except _Broken as error:
                fruitless = 0 if _size(transfer.partial) > before else fruitless + 1
                if fruitless >= FRUITLESS_ATTEMPTS:
                    came = f'{_size(transfer.partial):,} of {"?" if transfer.total is None else f"{transfer.total:,}"}'
                    raise ConversionError(
                        f'{url}: broke off after {came} bytes ({error}); the same command goes on from there.'
                    ) from None
                time.sleep(PAUSE * 2**fruitless / 2)


def _attempt(url: str, transfer: _Transfer, bar: tqdm) -> None:
    """Asks for what is missing, and appends it."""
    have = _size(transfer.partial) if transfer.validator else 0
    headers = {'Accept-Encoding': 'identity', 'User-Agent': '3d-adapter-jax'}
    if have:
        headers |= {'Range': f'bytes={have}-', 'If-Range': str(transfer.validator)}
    with closing(_answer(url, transfer, headers)) as answer:
        have = _start(answer, have, transfer)
        bar.total = transfer.total
        bar.n = have
        with transfer.partial.open('r+b' if have else 'wb') as file:
            write_json(_state_file(transfer), {'validator': transfer.validator})
            file.seek(have)
            for chunk in _chunks(answer):
                file.write(chunk)
                bar.update(len(chunk))
            received = file.tell()
    if transfer.total is not None and received != transfer.total:
        raise _Broken('the server closed the connection')


def _answer(url: str, transfer: _Transfer, headers: dict[str, str]) -> http.client.HTTPResponse:
    request = urllib.request.Request(transfer.url, headers=headers)
    try:
        with _connected():
            return _opener.open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        beyond = error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and request.has_header('Range')
        if beyond:  # all of it is here, but was not checked, or the file has become shorter
            transfer.validator = None
        if beyond or error.code in WORTH_A_RETRY:
            raise _Broken(f'the server answers {error.code} {error.reason}') from None
        raise ConversionError(f'{url}: the server answers {error.code} {error.reason}.') from None


@contextmanager
def _connected() -> Iterator[None]:
    """Tells what goes wrong with the connection from what goes wrong here."""
    try:
        yield
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
        raise _Broken(str(getattr(error, 'reason', None) or error or type(error).__name__)) from None


def _start(answer: http.client.HTTPResponse, have: int, transfer: _Transfer) -> int:
    """The place that the answer's first byte has in the file; notes what the answer says of the file."""
    place = re.fullmatch(r'bytes (\d+)-\d+/(\d+)', answer.headers.get('Content-Range', ''))
    length = answer.headers.get('Content-Length')
    if answer.status == http.HTTPStatus.PARTIAL_CONTENT and place is not None and int(place[1]) == have:
        transfer.total = int(place[2])
    elif answer.status == http.HTTPStatus.PARTIAL_CONTENT:
        transfer.validator = None
        raise _Broken('the server answers with another part of the file')
    else:
        have = 0
        transfer.total = int(length) if length is not None else None
    tag = answer.headers.get('ETag') or ''
    transfer.validator = tag if tag.startswith('"') else answer.headers.get('Last-Modified')
    transfer.digest = transfer.digest or _digest_of(answer.headers.get('Repr-Digest', ''))
    return have


def _chunks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        with _connected():
            chunk = answer.read1(CHUNK)
        if not chunk:
            return
        yield chunk


def _digest_of(header: str) -> str | None:
    match = re.search(r'sha-256=:([A-Za-z0-9+/=]+):', header)
    try:
        return base64.b64decode(match[1], validate=True).hex() if match else None
    except binascii.Error:
        return None


def _state_file(transfer: _Transfer) -> Path:
    return transfer.partial.with_name(f'{transfer.partial.name}.json')


def _resume(transfer: _Transfer) -> None:
    """Takes over what an earlier command left."""
    try:
        state = json.loads(_state_file(transfer).read_text(encoding='utf-8'))
        transfer.validator = state['validator']
    except (OSError, ValueError, KeyError, TypeError):
        transfer.partial.unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request: Any, file: Any, code: int, message: str, headers: Any, url: str) -> Any:
        _check_scheme(urlsplit(url))
        return super().redirect_request(request, file, code, message, headers, url)


_opener = urllib.request.build_opener(_SecureRedirects)
