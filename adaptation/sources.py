"""Where a generator or an encoder comes from: a checkpoint of ours, or whatever the converters read.

What is no checkpoint of ours is converted, once, into the cache directory (see `convert.cache`).
"""

import sys
from importlib import import_module
from pathlib import Path

from convert import ConversionError

FORMS = "give a checkpoint's directory, a published file, https://... or hf://owner/repo"
WEIGHTS_FILE = 'weights.safetensors'  # in each directory of ours, and in none of anybody else's


class SourceError(ValueError):
    """A source that cannot be fetched or converted."""


def generator_directory(source: str | Path) -> Path:
    """The checkpoint directory of a generator.

    Raises:
        SourceError: in one sentence, what is wrong with the source.
    """
    return _directory(source, 'convert.eg3d')


def clip_directory(source: str | Path) -> Path:
    """The checkpoint directory of a CLIP.

    Raises:
        SourceError: in one sentence, what is wrong with the source.
    """
    return _directory(source, 'convert.clip')


def _directory(source: str | Path, converter: str) -> Path:
    path = Path(source).expanduser()
    if '://' not in str(source):
        if not path.exists():
            raise SourceError(f'cannot read {source}: there is no such file or directory ({FORMS}).')
        if (path / WEIGHTS_FILE).is_file():
            return path  # ours
    try:
        directory, report = import_module(converter).cached(str(source))
    except ConversionError as error:
        raise SourceError(str(error)) from None
    if report is not None:
        print(f'{source} -> {directory}\n{report.summary}', file=sys.stderr)
    return directory
