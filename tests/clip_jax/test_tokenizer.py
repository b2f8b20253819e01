"""Tokenizers of both layouts, made here; nothing is downloaded."""

import json

import numpy as np
import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors
from transformers import CLIPTokenizer

from clip_jax import load_tokenizer

WORDS = ['<unk>', 'a', 'head', 'with', 'red', 'hair', '<start>', '<end>']
TEXTS = ["A man's head, with red  hair!", 'naïve CAFÉ 42\n', '', 'a ' * 30]


def word_tokenizer(specials: bool = True) -> tokenizers.Tokenizer:
    ids = {word: index for index, word in enumerate(WORDS)}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(ids, unk_token='<unk>'))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if specials:
        tokenizer.post_processor = processors.TemplateProcessing(
            single='<start> $A <end>', special_tokens=[('<start>', ids['<start>']), ('<end>', ids['<end>'])]
        )
    return tokenizer


def byte_pair_files(directory) -> CLIPTokenizer:
    """`vocab.json` and `merges.txt` as Hugging Face's CLIP has them: bytes, bytes that end a word, merges, specials."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [
        ('a', 'n</w>'),
        ('m', 'an</w>'),
        ('h', 'e'),
        ('a', 'd</w>'),
        ('he', 'ad</w>'),
        ('r', 'e'),
        ('re', 'd</w>'),
    ]
    words = letters + [letter + '</w>' for letter in letters] + [a + b for a, b in merges]
    vocabulary = {word: index for index, word in enumerate([*words, '<|startoftext|>', '<|endoftext|>'])}
    (directory / 'vocab.json').write_text(json.dumps(vocabulary, ensure_ascii=False), encoding='utf-8')
    lines = ['#version: 0.2', *(' '.join(pair) for pair in merges)]
    (directory / 'merges.txt').write_text('\n'.join(lines) + '\n', encoding='utf-8')
    return CLIPTokenizer(vocab=vocabulary, merges=merges)


def test_word_level_file(tmp_path):
    word_tokenizer().save(str(tmp_path / 'tokenizer.json'))
    tokenize = load_tokenizer(tmp_path, context_length=7)
    ids = tokenize(['A head with RED hair', 'a purple head', 'a a a a a a a a'])
    assert ids.dtype == np.int32
    assert ids.tolist() == [[6, 1, 2, 3, 4, 5, 7], [6, 1, 0, 2, 7, 7, 7], [6, 1, 1, 1, 1, 1, 7]]
    assert (tokenize.start_token_id, tokenize.eos_token_id, tokenize.vocab_size) == (6, 7, 8)
    assert tokenize([]).shape == (0, 7)


def test_a_file_with_padding_and_truncation_of_its_own(tmp_path):
    """As transformers writes one that has padded a text; ours count."""
    stored = word_tokenizer()
    stored.enable_padding(length=11, pad_id=0)
    stored.enable_truncation(max_length=3)
    stored.save(str(tmp_path / 'tokenizer.json'))
    assert load_tokenizer(tmp_path, context_length=5)(['a red head']).tolist() == [[6, 1, 4, 2, 7]]


def test_byte_pair_files_equal_transformers(tmp_path):
    expected = byte_pair_files(tmp_path)(TEXTS, padding='max_length', truncation=True, max_length=16)['input_ids']
    tokenize = load_tokenizer(tmp_path, context_length=16)
    assert tokenize(TEXTS).tolist() == expected
    assert len(set(tokenize(['red head'])[0].tolist())) == 4  # start, two merged words, end


def test_byte_pair_equals_its_own_fast_file(tmp_path):
    """The same tokenizer from `tokenizer.json`, which a directory may hold instead."""
    fast = tmp_path / 'fast'
    fast.mkdir()
    byte_pair_files(tmp_path).backend_tokenizer.save(str(fast / 'tokenizer.json'))
    ours = load_tokenizer(tmp_path, context_length=16)(TEXTS)
    assert load_tokenizer(fast, context_length=16)(TEXTS).tolist() == ours.tolist()


@pytest.mark.parametrize('config', [{'text': {'context_length': 9}}, {'text_config': {'max_position_embeddings': 9}}])
def test_context_length_from_the_config(tmp_path, config):
    word_tokenizer().save(str(tmp_path / 'tokenizer.json'))
    (tmp_path / 'config.json').write_text(json.dumps(config))
    assert load_tokenizer(tmp_path)(['a']).shape == (1, 9)


@pytest.mark.parametrize('content', [b'', b'{"model": ', b'[]', b'\xff\xfe\x00'])
@pytest.mark.parametrize('name', ['tokenizer.json', 'vocab.json', 'merges.txt', 'config.json'])
def test_a_damaged_file_is_named(tmp_path, name, content):
    if name == 'tokenizer.json':
        (tmp_path / 'config.json').write_text('{"text": {"context_length": 9}}')
    else:
        byte_pair_files(tmp_path)
    if name == 'merges.txt' and content != b'\xff\xfe\x00':
        content = b'no merge of three words\n'
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name.replace('.', r'\.')) as raised:
        load_tokenizer(tmp_path, context_length=None if name == 'config.json' else 9)
    assert 'copy' in str(raised.value)
    assert '\n' not in str(raised.value)


def test_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'holds no tokenizer: expected tokenizer\.json, or vocab\.json and'):
        load_tokenizer(tmp_path, context_length=8)
    word_tokenizer(specials=False).save(str(tmp_path / 'tokenizer.json'))
    with pytest.raises(ValueError, match=r'must add one start and one end token to each text, but adds \[\]'):
        load_tokenizer(tmp_path, context_length=8)
    with pytest.raises(FileNotFoundError, match=r'config\.json'):
        load_tokenizer(tmp_path)
    (tmp_path / 'config.json').write_text('{}')
    with pytest.raises(ValueError, match='gives no context length'):
        load_tokenizer(tmp_path)
    word_tokenizer().save(str(tmp_path / 'tokenizer.json'))
    with pytest.raises(TypeError, match='list of texts'):
        load_tokenizer(tmp_path, context_length=8)('a head')


@pytest.mark.parametrize('length', [1, 0, -1])
def test_a_context_without_room_for_start_and_end_is_refused(tmp_path, length):
    word_tokenizer().save(str(tmp_path / 'tokenizer.json'))
    with pytest.raises(ValueError, match=f'context_length must be at least 2, a start and an end token, got {length}'):
        load_tokenizer(tmp_path, length)


def test_what_is_cut_off_is_counted(tmp_path):
    word_tokenizer().save(str(tmp_path / 'tokenizer.json'))
    tokenize = load_tokenizer(tmp_path, context_length=5)
    assert [tokenize.count('a ' * words) for words in (0, 1, 3, 4, 20)] == [2, 3, 5, 6, 22]


def test_unknown_words_are_told_as_they_were_written(tmp_path):
    word_tokenizer().save(str(tmp_path / 'tokenizer.json'))
    tokenize = load_tokenizer(tmp_path, context_length=9)
    assert tokenize.unknown_words('a Purple head with HAIR of naïve') == ('Purple', 'of', 'naïve')
    assert tokenize.unknown_words('a head') == ()


def test_bytes_spell_any_word(tmp_path):
    byte_pair_files(tmp_path)
    assert load_tokenizer(tmp_path, context_length=40).unknown_words('naïve ukiyo-e 日本') == ()
