"""Texts as guides: the direction in CLIP's space from what the source is called to what the target is called.

P prompts, L tokens of a prompt, D channels of the embedding.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

import clip_jax
from clip_jax.text import LEGACY_EOS_TOKEN_ID


def fill(templates: Sequence[str], text: str) -> tuple[str, ...]:
    """The prompts of a text: each template with the text in place of its `{}`."""
    return tuple(template.replace('{}', text) for template in templates)


def text_embedding(clip: clip_jax.Clip, tokenize: clip_jax.Tokenizer, prompts: Sequence[str]) -> Float[Array, 'D']:
    """The mean of the prompts' unit-norm embeddings."""
    return _encode_jit(clip, jnp.asarray(tokenize(prompts))).mean(axis=0)


def text_direction(
    clip: clip_jax.Clip, tokenize: clip_jax.Tokenizer, target: str, source: str, templates: Sequence[str]
) -> Float[Array, 'D']:
    """d_dom = E_text(target) - E_text(source), each averaged over the templates; not of unit norm."""
    target_embedding = text_embedding(clip, tokenize, fill(templates, target))
    return target_embedding - text_embedding(clip, tokenize, fill(templates, source))


def prompt_problems(
    clip: clip_jax.Clip, tokenize: clip_jax.Tokenizer, text: str, templates: Sequence[str] = ('{}',)
) -> list[str]:
    """What keeps an encoder from reading a text in these templates, each said without a full stop.

    A tokenizer of other weights, words that the vocabulary lacks, no words at all, or more than the encoder reads.
    """
    config = clip.config.text
    wrong_end = tokenize.eos_token_id != config.eos_token_id != LEGACY_EOS_TOKEN_ID
    if tokenize.vocab_size > config.vocab_size or wrong_end:
        return [
            f'the tokenizer ({tokenize.vocab_size} tokens, the end is {tokenize.eos_token_id}) is not that of the '
            f'weights ({config.vocab_size} tokens, the end is {config.eos_token_id}): convert the encoder again'
        ]
    if unknown := _unknown(tokenize, [text]):
        return [f'the encoder does not know {unknown}; its vocabulary has {tokenize.vocab_size} words']
    if tokenize.count(text) == 2:  # start and end
        return [f'{text!r} holds no word']
    if unknown := _unknown(tokenize, [template.replace('{}', ' ') for template in templates]):
        return [f'the encoder does not know {unknown} of the templates; its vocabulary has {tokenize.vocab_size} words']
    longest = max(fill(templates, text), key=tokenize.count)
    if tokenize.count(longest) > tokenize.context_length:
        return [
            f'{longest!r} has {tokenize.count(longest)} tokens, start and end included, '
            f'and the encoder reads {tokenize.context_length}: shorten it'
        ]
    return []


def _unknown(tokenize: clip_jax.Tokenizer, texts: Sequence[str]) -> str:
    """The unknown words of texts, quoted, each once."""
    return ', '.join(dict.fromkeys(repr(word) for text in texts for word in tokenize.unknown_words(text)))


_encode_jit = jax.jit(lambda clip, ids: clip.encode_text(ids))
