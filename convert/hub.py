"""Files from the Hugging Face hub, by its own client and into its own cache.

The client resumes what breaks off and honours `HF_ENDPOINT`, `HF_HUB_OFFLINE`, `HF_HOME` and `HF_TOKEN`. It does not
hash what came over plain HTTP, which is done here: with the SHA-256 of large files, and git's SHA-1 of the others.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    HTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from convert.errors import ConversionError
from convert.sources import Select

ADDRESS = re.compile(r'hf://(?P<repo>[^/@]+/[^/@]+)(?:/(?P<file>.+?))?(?:@(?P<revision>[^@]+))?')
NOT_THERE = (RepositoryNotFoundError, RevisionNotFoundError, GatedRepoError, HFValidationError)

UNREACHABLE = (OSError, HTTPError, EntryNotFoundError)


def fetch_from_hub(source: str, select: Select) -> Path:
    """The local path of a repository's files, downloaded unless they are in the client's cache.

    Args:
      source: `hf://owner/repo[/file][@revision]`; a file whose name has an @ needs a revision behind it.
      select: the converter's choice among the files.

    Raises:
      ConversionError: no such repository, file or revision; no connection and nothing in the cache; or a damaged file.
    """
    match = ADDRESS.fullmatch(source)
    if match is None:
        raise ConversionError(f'{source}: expected hf://owner/repo[/file][@revision].')
    repo, file, revision = match['repo'], match['file'], match['revision']
    try:
        return _fetch(repo, file, revision, select)
    except NOT_THERE as error:
        raise ConversionError(f'{source}: {_first_line(error)}') from None
    except ConversionError as error:
        raise ConversionError(f'{source}: {error}') from None
    except UNREACHABLE as error:
        raise ConversionError(
            f'{source}: cannot be downloaded ({_first_line(error)}); run the same command again.'
        ) from None


def _fetch(repo: str, file: str | None, revision: str | None, select: Select) -> Path:
    checksums, snapshot = _listing(repo, revision)
    path = PurePosixPath(file or '')
    folder = path.parent if file else path
    if file is not None and file not in checksums:
        raise ConversionError(f'there is no file {file} in it.')
    names = [PurePosixPath(name).name for name in checksums if PurePosixPath(name).parent == folder]
    selection = select(sorted(names), path.name if file else None)
    local = Path()
    for name in selection.files:
        remote = str(folder / name)
        if snapshot is not None:
            local = snapshot / remote
        else:
            local = Path(hf_hub_download(repo, remote, revision=revision))
            _check(local, checksums[remote])
    return local.parent if selection.main is None else local.parent / selection.main


def _listing(repo: str, revision: str | None) -> tuple[Mapping[str, str], Path | None]:
    """The checksum of each file; and where they lie, if only what was downloaded before can be had."""
    if not constants.HF_HUB_OFFLINE:
        try:
            info = HfApi().model_info(repo, revision=revision, files_metadata=True)
            checksums = {
                sibling.rfilename: (sibling.lfs.sha256 if sibling.lfs else sibling.blob_id) or ''
                for sibling in info.siblings or []
            }
            return checksums, None
        except NOT_THERE:
            raise
        except UNREACHABLE as error:
            reason = f'the hub cannot be reached: {_first_line(error)}'
    else:
        reason = 'HF_HUB_OFFLINE is set'
    try:
        snapshot = Path(snapshot_download(repo, revision=revision, local_files_only=True))
    except OSError:
        raise ConversionError(f'is not in the cache, and {reason}.') from None
    files = [entry.relative_to(snapshot).as_posix() for entry in snapshot.rglob('*') if entry.is_file()]
    return dict.fromkeys(files, ''), snapshot


def _check(path: Path, expected: str) -> None:
    """Compares a file with its checksum: a SHA-256, or the SHA-1 that git gives it."""
    with path.open('rb') as file:
        if len(expected) == 64:
            found = hashlib.file_digest(file, 'sha256').hexdigest()
        elif len(expected) == 40:
            content = file.read()
            found = hashlib.sha1(b'blob %d\0' % len(content) + content, usedforsecurity=False).hexdigest()
        else:
            return
    if found != expected:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise ConversionError(f'{path.name} has the checksum {found}, expected {expected}; the download was deleted.')


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
