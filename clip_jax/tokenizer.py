"""From texts to token ids, with the tokenizer files beside the weights; nothing is downloaded.

N texts, L the context length.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from tokenizers import Tokenizer as Backend

TOKENIZER_FILE = 'tokenizer.json'
VOCABULARY_FILE = 'vocab.json'
MERGES_FILE = 'merges.txt'
TOKENIZER_FILES = (
    TOKENIZER_FILE,
    VOCABULARY_FILE,
    MERGES_FILE,
    'tokenizer_config.json',
    'special_tokens_map.json',
)


class Tokenizer:
    """Callable: texts -> ids [N, L], each row start-of-text, text, end-of-text, then end-of-text to the end.

    Texts that are too long lose their last words and keep the end-of-text token.
    """

    def __init__(self, backend: Backend, context_length: int):
        """`backend` must add start and end tokens by itself, which is checked (ValueError)."""
        specials = backend.encode('').ids
        if len(specials) != 2:
            raise ValueError(f'The tokenizer must add one start and one end token to each text, but adds {specials}.')
        self.start_token_id, self.eos_token_id = specials
        self.context_length = context_length
        self.vocab_size = backend.get_vocab_size()
        backend.enable_truncation(max_length=context_length)
        backend.enable_padding(length=context_length, pad_id=self.eos_token_id)
        self.backend = backend

    def __call__(self, texts: Sequence[str]) -> Int[np.ndarray, 'N L']:
        """int32 ids [N, L]; a single string is refused (TypeError), since it would be taken for its letters."""
        if isinstance(texts, str):
            raise TypeError('Expected a list of texts, got one string.')
        rows = [encoding.ids for encoding in self.backend.encode_batch(list(texts))]
        return np.asarray(rows, np.int32).reshape(-1, self.context_length)


def load_tokenizer(directory: str | Path, context_length: int | None = None) -> Tokenizer:
    """Reads `tokenizer.json`, or else `vocab.json` and `merges.txt`, from a checkpoint's directory.

    Args:
      directory: a checkpoint of `clip_jax.save_clip`, or a Hugging Face directory.
      context_length: ids a text; by default what the directory's `config.json` says.

    Raises:
      FileNotFoundError: the directory holds no tokenizer, or no `config.json` while the context length is needed.
      ValueError: the tokenizer adds no start and end tokens, or `config.json` gives no context length.
    """
    directory = Path(directory)
    if context_length is None:
        context_length = _context_length(directory / 'config.json')
    if (directory / TOKENIZER_FILE).is_file():
        backend = Backend.from_file(str(directory / TOKENIZER_FILE))
    elif (directory / VOCABULARY_FILE).is_file() and (directory / MERGES_FILE).is_file():
        backend = _byte_pair_backend(directory)
    else:
        raise FileNotFoundError(
            f'{directory} holds no tokenizer: expected {TOKENIZER_FILE}, or {VOCABULARY_FILE} and {MERGES_FILE}.'
        )
    return Tokenizer(backend, context_length)


def _byte_pair_backend(directory: Path) -> Backend:
    from transformers import (
        CLIPTokenizer,
    )  # imported here: it takes a second, and most checkpoints need no more than above

    vocabulary, merges = directory / VOCABULARY_FILE, directory / MERGES_FILE
    lines = merges.read_text(encoding='utf-8').splitlines()
    pairs: Any = [tuple(line.split(' ')) for line in lines if line and not line.startswith('#version')]
    return CLIPTokenizer(vocab=json.loads(vocabulary.read_text(encoding='utf-8')), merges=pairs).backend_tokenizer


def _context_length(path: Path) -> int:
    config = json.loads(path.read_text(encoding='utf-8'))
    for tower, field in (
        ('text', 'context_length'),
        ('text_config', 'max_position_embeddings'),
    ):  # ours, Hugging Face's
        length = config.get(tower, {}).get(field)
        if isinstance(length, int):
            return length
    raise ValueError(f'{path} gives no context length (text.context_length); pass context_length.')
