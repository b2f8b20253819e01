"""A web server on this machine that stands in for the hub and for any other, with their faults."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

COMMIT = '0123456789abcdef0123456789abcdef01234567'
LARGE = 1000  # bytes from which the hub keeps a file in LFS and knows its SHA-256


@dataclasses.dataclass
class Served:
    """A file, and how it is served.

    Attributes:
      content: what it should be.
      broken_after: bytes of each answer after which the connection breaks off; None: never.
      corrupt: whether one byte of it is wrong.
      pause: seconds between two pieces of an answer.
      pauses: in how many answers.
      busy: how many requests are answered with 503 first.
      ranges: whether a part of it can be asked for.
      tag: what the server calls this version of it.
      headers: further ones of each answer.
      redirect: where the file is instead.
      requests: the value of Range in each request for it.
    """

    content: bytes
    broken_after: int | None = None
    corrupt: bool = False
    pause: float = 0.0
    pauses: int = 1000
    busy: int = 0
    ranges: bool = True
    tag: str = '"1"'
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    redirect: str | None = None
    requests: list[str | None] = dataclasses.field(default_factory=list)

    @property
    def sent(self) -> bytes:
        """What it is as served."""
        if not self.corrupt:
            return self.content
        place = len(self.content) // 2
        return self.content[:place] + bytes([self.content[place] ^ 1]) + self.content[place + 1 :]


class Loopback:
    """The server's address, its files by path, and its repositories: files by name."""

    def __init__(self, address: str):
        self.address = address
        self.files: dict[str, Served] = {}
        self.repositories: dict[str, dict[str, Served]] = {}

    def add(self, path: str, content: bytes, **how: object) -> str:
        """Serves a file; returns its address."""
        self.files[path] = Served(content, **how)  # type: ignore[arg-type]
        return f'{self.address}/{path}'

    def add_repository(self, name: str, files: Mapping[str, bytes]) -> dict[str, Served]:
        """Serves a repository as the hub does."""
        self.repositories[name] = {file: Served(content) for file, content in files.items()}
        return self.repositories[name]


@contextmanager
def serving() -> Iterator[Loopback]:
    """A server that runs inside the block."""
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), _Handler)
    server.daemon_threads = True
    loopback = Loopback(f'http://127.0.0.1:{server.server_address[1]}')
    server.loopback = loopback  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01}, daemon=True)
    thread.start()
    try:
        yield loopback
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def checksum(content: bytes) -> str:
    """What the hub knows a file by: the SHA-256 of a large one, git's SHA-1 of a small one."""
    if len(content) >= LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b'blob %d\0' % len(content) + content, usedforsecurity=False).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        loopback: Loopback = self.server.loopback  # type: ignore[attr-defined]
        path = unquote(urlsplit(self.path).path).lstrip('/')
        if path in loopback.files:
            return self._file(loopback.files[path], body, {'ETag': loopback.files[path].tag})
        if match := re.fullmatch(r'api/models/([^/]+/[^/]+)(/revision/(.+))?', path):
            return self._information(loopback, match[1], match[3] or 'main')
        if match := re.fullmatch(r'([^/]+/[^/]+)/resolve/([^/]+)/(.+)', path):
            served = loopback.repositories.get(match[1], {}).get(match[3])
            if served is not None and match[2] in ('main', COMMIT):
                tag = f'"{checksum(served.content)}"'
                headers = {'ETag': tag, 'X-Repo-Commit': COMMIT, 'X-Linked-Size': str(len(served.content))}
                return self._file(served, body, headers | {'X-Linked-Etag': tag})
        return self._plain(404, {'X-Error-Code': 'EntryNotFound'}, b'')

    def _information(self, loopback: Loopback, repository: str, revision: str) -> None:
        if repository not in loopback.repositories:
            return self._plain(404, {'X-Error-Code': 'RepoNotFound'}, b'{}')
        if revision not in ('main', COMMIT):
            return self._plain(404, {'X-Error-Code': 'RevisionNotFound'}, b'{}')
        siblings = []
        for name, served in loopback.repositories[repository].items():
            size, digest = len(served.content), checksum(served.content)
            large = {'lfs': {'sha256': digest, 'size': size, 'pointerSize': 134}} if size >= LARGE else {}
            siblings.append({'rfilename': name, 'size': size, 'blobId': digest[:40], **large})
        content = {'id': repository, 'modelId': repository, 'sha': COMMIT, 'siblings': siblings, 'tags': []}
        return self._plain(200, {'Content-Type': 'application/json'}, json.dumps(content).encode())

    def _plain(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, 'Content-Length': str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == 'GET':
            self.wfile.write(content)

    def _file(self, served: Served, body: bool, headers: Mapping[str, str]) -> None:
        if served.redirect is not None:
            return self._plain(302, {'Location': served.redirect}, b'')
        wanted = self.headers.get('Range')
        if body:
            served.requests.append(wanted)
        if body and served.busy:
            served.busy -= 1
            return self._plain(503, {}, b'')
        content, start = served.sent, 0
        current = self.headers.get('If-Range') in (None, headers['ETag'])
        if wanted and served.ranges and current and (match := re.fullmatch(r'bytes=(\d+)-', wanted)):
            start = int(match[1])
        if start >= max(1, len(content)):
            return self._plain(416, {'Content-Range': f'bytes */{len(content)}'}, b'')
        self.send_response(206 if start else 200)
        sent = {**headers, **served.headers, 'Content-Length': str(len(content) - start)}
        if start:
            sent['Content-Range'] = f'bytes {start}-{len(content) - 1}/{len(content)}'
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self._body(served, content[start:])
        return None

    def _body(self, served: Served, content: bytes) -> None:
        end = len(content) if served.broken_after is None else served.broken_after
        served.pauses -= 1
        pause = served.pause if served.pauses >= 0 else 0.0
        pieces = 8 if pause else 1
        step = max(1, -(-min(end, len(content)) // pieces))
        try:
            for start in range(0, min(end, len(content)), step):
                self.wfile.write(content[start : min(start + step, end)])
                self.wfile.flush()
                time.sleep(pause)
        except OSError:  # the other side has gone
            self.close_connection = True
        if end < len(content):
            self.close_connection = True
