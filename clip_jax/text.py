"""The text tower.

N batch, L tokens, C channels.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float, Int

from clip_jax.config import TextConfig
from clip_jax.layers import Embedding, LayerNorm
from clip_jax.transformer import Encoder

# Configurations published before transformers 4.31 give 2 as the end-of-text id, which is not what their tokenizers
# emit. There the end is where the largest id stands, as in OpenAI's code.
LEGACY_EOS_TOKEN_ID = 2
TOKEN_STD = 0.02  # deviations of the initial tables, as in the published models
POSITION_STD = 0.01


class TextEmbeddings(nnx.Module):
    """Token ids -> vectors, with learned positions added."""

    def __init__(self, config: TextConfig, *, rngs: nnx.Rngs):
        self.token_embedding = Embedding(config.vocab_size, config.width, std=TOKEN_STD, rngs=rngs)
        self.position_embedding = Embedding(config.context_length, config.width, std=POSITION_STD, rngs=rngs)

    def __call__(self, ids: Int[Array, 'N L']) -> Float[Array, 'N L C']:
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]


class TextModel(nnx.Module):
    """Token ids -> the vector at the end-of-text token. What stands behind that token has no influence."""

    def __init__(self, config: TextConfig, *, rngs: nnx.Rngs):
        self.embeddings = TextEmbeddings(config, rngs=rngs)
        self.encoder = Encoder(config, causal=True, rngs=rngs)
        self.final_layer_norm = LayerNorm(config.width, config.layer_norm_eps)
        self.config = config

    def __call__(self, ids: Int[Array, 'N L']) -> Float[Array, 'N C']:
        if ids.shape[1] > self.config.context_length:
            raise ValueError(
                f'Expected at most {self.config.context_length} tokens a text, got {ids.shape[1]}; '
                'clip_jax.load_tokenizer cuts longer texts.'
            )
        x = self.embeddings(ids)
        for block in self.encoder.layers:
            x = block(x)
        end = end_of_text(ids, self.config.eos_token_id)
        last = jnp.take_along_axis(x, end[:, None, None], axis=1)[:, 0]  # [N, L, C] -> [N, C]
        return self.final_layer_norm(last)


def end_of_text(ids: Int[Array, 'N L'], eos_token_id: int) -> Int[Array, 'N']:
    """Position of the first end-of-text token of each row (0 where a row has none)."""
    if eos_token_id == LEGACY_EOS_TOKEN_ID:
        return jnp.argmax(ids, axis=1)
    return jnp.argmax(ids == eos_token_id, axis=1)
