"""How far a generated picture is from a photograph, in colours and as encoders see it.

N batch, S side of an image, h side of a feature image.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

import clip_jax
from adaptation.guidance import encode_images

SHORTEST_TOKEN = 1e-6


class Weights(NamedTuple):
    """Factors of the parts of the objective."""

    colour: float = 1.0  # mean absolute difference of colours in [-1, 1]
    pooled: float = 4.0  # mean squared difference of blocks' mean colours
    perceptual: float = 0.5  # 1 - cosine of the encoders' patch tokens, mean over tokens and encoders
    prior: float = 2e-3  # mean square of w's coordinates, in standard deviations
    offsets: float = 2e-2  # mean square of what layers differ by
    locality: float = 1.0  # tuning: change of another head's planes, as a share of their variance


class Seer(NamedTuple):
    """Encoders, and the photograph's patch tokens after block `layers[i]` of the i-th."""

    encoders: tuple[clip_jax.Clip, ...]
    tokens: tuple[Float[Array, '1 T C'], ...]


def see(
    encoders: tuple[clip_jax.Clip, ...], layers: tuple[int, ...], image: Float[Array, 'N S S 3']
) -> tuple[Float[Array, 'N T C'], ...]:
    """Patch tokens of images in [-1, 1], after one block of each encoder."""
    pairs = zip(encoders, layers, strict=True)
    return tuple(encode_images(encoder, image, (layer,), False).tokens[0] for encoder, layer in pairs)


def token_distance(ours: Float[Array, 'N T C'], theirs: Float[Array, 'N T C']) -> Float[Array, '']:
    """1 - cosine, mean over tokens."""
    return 1.0 - jnp.mean(jnp.sum(_unit(ours) * _unit(theirs), axis=-1))


def _unit(x: Array) -> Array:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), SHORTEST_TOKEN)
