"""Where a source lies: a file, a directory, `https://...`, or `hf://owner/repo[/file][@revision]`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from convert.errors import ConversionError, OutputError, naming

HUB = 'hf://'
SCHEME = '://'
SYNTAX = 'a file, a directory, https://..., or hf://owner/repo[/file][@revision]'


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which files of a folder a converter reads.

    Attributes:
      files: their names.
      main: the one that is the source; None: the folder itself is.
    """

    files: tuple[str, ...]
    main: str | None = None


# From the names of a folder's files, and the one of them that the user named (or None), to those that are read. Raises
# a `ConversionError` where there are none, or several to choose from.
Select = Callable[[Sequence[str], str | None], Selection]


def fetch(source: str | Path, select: Select) -> Path:
    """The local file or directory that a source is, downloaded once if it lies elsewhere.

    Args:
      source: see SYNTAX.
      select: the converter's choice among the files of a directory or a repository.

    Raises:
      ConversionError: it cannot be reached, is damaged, or holds nothing to convert. Whether a local file exists is
        left to its reader.
    """
    text = str(source)
    if text.startswith(HUB):
        from convert.hub import fetch_from_hub  # imported here: it takes a while, and most sources are files

        return fetch_from_hub(text, select)
    if SCHEME in text:
        from convert.downloads import download

        return download(text)
    path = Path(text).expanduser()
    if not path.is_dir():
        return path
    with naming(path):
        selection = select(sorted(entry.name for entry in path.iterdir() if entry.is_file()), None)
    return path if selection.main is None else path / selection.main


@contextmanager
def reading(source: str | Path, path: Path) -> Iterator[None]:
    """Puts the source in front of the message of any `ConversionError` raised inside, and behind it, where the file
    came from the web, how to fetch it again."""
    try:
        with naming(source):
            yield
    except OutputError:
        raise
    except ConversionError as error:
        if SCHEME not in str(source) or str(source).startswith(HUB):
            raise
        raise ConversionError(f'{error} (It was downloaded to {path}; delete that to fetch it again.)') from None


def only_one(names: Sequence[str], what: str) -> str:
    """The single name of a list.

    Raises:
      ConversionError: there is none, or there are several, which are listed.
    """
    if not names:
        raise ConversionError(f'holds no {what}.')
    if len(names) > 1:
        raise ConversionError(f'holds several files; name one of them: {", ".join(names)}.')
    return names[0]
