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
from tokenizers import Regex, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

TOKENIZER_FILE = 'tokenizer.json'
VOCABULARY_FILE = 'vocab.json'
MERGES_FILE = 'merges.txt'
START_TOKEN, END_TOKEN = '<|startoftext|>', '<|endoftext|>'
WORD_PATTERN = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
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
        """`backend` must add start and end tokens by itself, which is checked (ValueError); its own padding and
        truncation are replaced."""
        if context_length < 2:
            raise ValueError(f'context_length must be at least 2, a start and an end token, got {context_length}.')
        backend.no_padding()  # a tokenizer's file may hold padding and truncation of its own
        backend.no_truncation()
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

    def count(self, text: str) -> int:
        """How many tokens the whole text has, start and end included; more than `context_length` are cut off."""
        encoding = self.backend.encode(text)
        parts = [encoding, *encoding.overflowing]
        return 2 + sum(part.special_tokens_mask.count(0) for part in parts)

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """The words that the vocabulary lacks, in order; none of a byte-pair vocabulary, which spells out any word.

        Words behind the context length are not looked at.
        """
        unknown = getattr(self.backend.model, 'unk_token', None)
        encoding = self.backend.encode(text)
        found = zip(encoding.tokens, encoding.special_tokens_mask, encoding.offsets, strict=True)
        return tuple(text[start:end] for token, special, (start, end) in found if token == unknown and not special)


def load_tokenizer(directory: str | Path, context_length: int | None = None) -> Tokenizer:
    """Reads `tokenizer.json`, or else `vocab.json` and `merges.txt`, from a checkpoint's directory.

    Args:
      directory: a checkpoint of `clip_jax.save_clip`, or a Hugging Face directory.
      context_length: ids a text; by default what the directory's `config.json` says.

    Raises:
      FileNotFoundError: the directory holds no tokenizer, or no `config.json` while the context length is needed.
      ValueError: a file is damaged, the tokenizer adds no start and end tokens, `config.json` gives no context length,
        or it is below 2.
    """
    directory = Path(directory)
    if context_length is None:
        context_length = _context_length(directory / 'config.json')
    if (directory / TOKENIZER_FILE).is_file():
        backend = _whole_backend(directory / TOKENIZER_FILE)
    elif (directory / VOCABULARY_FILE).is_file() and (directory / MERGES_FILE).is_file():
        backend = _byte_pair_backend(directory)
    else:
        raise FileNotFoundError(
            f'{directory} holds no tokenizer: expected {TOKENIZER_FILE}, or {VOCABULARY_FILE} and {MERGES_FILE}.'
        )
    return Tokenizer(backend, context_length)


def _whole_backend(path: Path) -> Backend:
    content = path.read_bytes()
    try:
        return Backend.from_str(content.decode('utf-8'))
    except Exception as error:  # the tokenizers package raises bare Exceptions
        raise ValueError(f'{path} is damaged, or no tokenizer ({error}): convert or copy it again.') from None


def _byte_pair_backend(directory: Path) -> Backend:
    """CLIP's byte-pair encoding: lower case, white space as one blank, words and numbers apart, bytes as letters."""
    vocabulary = _read_group(directory / VOCABULARY_FILE)
    try:
        lines = (directory / MERGES_FILE).read_text(encoding='utf-8').splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f'{directory / MERGES_FILE} is damaged ({error}): convert or copy it again.') from None
    pairs: Any = [tuple(line.split(' ')) for line in lines if line and not line.startswith('#version')]
    if broken := [' '.join(pair) for pair in pairs if len(pair) != 2]:
        raise ValueError(f'{directory / MERGES_FILE} is damaged ({broken[0]!r} is no pair): convert or copy it again.')
    missing = [token for token in (START_TOKEN, END_TOKEN) if token not in vocabulary]
    if missing:
        raise ValueError(f'{directory / VOCABULARY_FILE} has no {missing[0]}, so it is not a CLIP vocabulary.')
    try:
        backend = Backend(models.BPE(vocabulary, pairs, unk_token=END_TOKEN, end_of_word_suffix='</w>'))
    except Exception as error:  # as above
        raise ValueError(
            f'{directory / VOCABULARY_FILE} and {MERGES_FILE} are damaged or do not fit each other ({error}): '
            'convert or copy both again.'
        ) from None
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r'\s+'), ' '), normalizers.Lowercase()]
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD_PATTERN), behavior='removed', invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    start, end = ((token, vocabulary[token]) for token in (START_TOKEN, END_TOKEN))
    backend.post_processor = processors.RobertaProcessing(end, start, trim_offsets=False, add_prefix_space=False)
    backend.add_special_tokens([START_TOKEN, END_TOKEN])
    return backend


def _context_length(path: Path) -> int:
    config = _read_group(path)
    for tower, field in (
        ('text', 'context_length'),
        ('text_config', 'max_position_embeddings'),
    ):  # ours, Hugging Face's
        group = config.get(tower)
        length = group.get(field) if isinstance(group, dict) else None
        if isinstance(length, int):
            return length
    raise ValueError(f'{path} gives no context length (text.context_length); pass context_length.')


def _read_group(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is damaged ({error}): convert or copy it again.') from None
    if not isinstance(values, dict):
        raise ValueError(f'{path} is damaged, it holds no group of fields: convert or copy it again.')
    return values
