"""CLIP's standard vocabulary, for sources that come without a tokenizer, as OpenAI's files do.

The project ships none: it is read from an installed package that does (`openai-clip`, which `pip install .[convert]`
brings, or OpenCLIP's `open_clip_torch`), or else fetched from the hub.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path

from clip_jax.tokenizer import END_TOKEN, MERGES_FILE, START_TOKEN, VOCABULARY_FILE
from convert.errors import ConversionError
from convert.sources import Selection, fetch

PACKAGES = ('clip', 'open_clip')  # names under which the packages are imported; here only a file of theirs is read
PACKAGE_FILE = 'bpe_simple_vocab_16e6.txt.gz'
REPOSITORY = 'hf://openai/clip-vit-base-patch32'
SIZE = 49408  # tokens: 256 bytes, the same at the end of a word, the merges, start and end
MERGES = SIZE - 2 * 256 - 2  # the package's file holds more, of which the first count
# The byte values whose characters stand for themselves; the others follow from 256 on.
PRINTABLE = (*range(ord('!'), ord('~') + 1), *range(ord('¡'), ord('¬') + 1), *range(ord('®'), ord('ÿ') + 1))


def standard_files() -> dict[str, bytes]:
    """The contents of `vocab.json` and `merges.txt`.

    Raises:
      ConversionError: no package has them, and the hub cannot be reached.
    """
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)  # looks for it, but does not run it
        for place in (spec.submodule_search_locations or []) if spec else []:
            if (Path(place) / PACKAGE_FILE).is_file():
                return files_of(gzip.decompress((Path(place) / PACKAGE_FILE).read_bytes()).decode('utf-8'))
    names = (VOCABULARY_FILE, MERGES_FILE)
    folder = fetch(REPOSITORY, lambda present, _: Selection(names))
    return {name: (folder / name).read_bytes() for name in names}


def files_of(text: str) -> dict[str, bytes]:
    """The two files from the package's one: a heading, then a merge of two tokens in each line.

    Raises:
      ConversionError: a line is no merge.
    """
    merges = [line for line in text.splitlines()[1 : 1 + MERGES] if line]
    pairs = [line.split() for line in merges]
    odd = next((line for line, pair in zip(merges, pairs, strict=True) if len(pair) != 2), None)
    if odd is not None:
        raise ConversionError(f'{PACKAGE_FILE} has a line that is no merge of two tokens: {odd[:40]!r}.')
    letters = [chr(byte) for byte in PRINTABLE] + [chr(256 + n) for n in range(256 - len(PRINTABLE))]
    words = [*letters, *(f'{letter}</w>' for letter in letters), *(a + b for a, b in pairs), START_TOKEN, END_TOKEN]
    vocabulary = {word: index for index, word in enumerate(words)}
    heading = '#version: 0.2'
    return {
        VOCABULARY_FILE: json.dumps(vocabulary, ensure_ascii=False).encode('utf-8'),
        MERGES_FILE: ('\n'.join([heading, *merges]) + '\n').encode('utf-8'),
    }
