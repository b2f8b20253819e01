"""Whether two pictures show the same head.

N batch, D features.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float


def similarity(first: Float[Array, 'N D'], second: Float[Array, 'N D']) -> Float[Array, 'N']:
    """The cosine between the embeddings of two pictures, sample by sample: 1 the same, 0 nothing in common."""
    return jnp.sum(_unit(first) * _unit(second), axis=-1)


def joint(embeddings: Sequence[Array]) -> Float[Array, 'N E']:
    """Embeddings [N, .] of several encoders as one of unit norm, whose cosine is the mean of the encoders'."""
    return jnp.concatenate([_unit(embedding) for embedding in embeddings], axis=-1) / len(embeddings) ** 0.5


def _unit(x: Array) -> Array:
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)
