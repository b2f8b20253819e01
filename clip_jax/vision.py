"""The image tower.

N batch, R side of the image, G patches along a side, P side of a patch, T = G * G patch tokens, K = T + 1 tokens with
the class token before them, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float

from clip_jax.config import VisionConfig
from clip_jax.layers import Embedding, LayerNorm
from clip_jax.transformer import Encoder

RGB = 3
INITIAL_STD = 0.02  # of the patch embedding, as in the published models


class PatchEmbedding(nnx.Module):
    """A convolution whose stride is its size, without bias; computed as one matrix product, which it equals."""

    def __init__(self, config: VisionConfig, *, rngs: nnx.Rngs):
        shape = (config.patch_size, config.patch_size, RGB, config.width)  # height, width, input, output
        self.weight = nnx.Param(INITIAL_STD * jax.random.normal(rngs.params(), shape))

    def __call__(self, pixels: Float[Array, 'N R R 3']) -> Float[Array, 'N T C']:
        weight = self.weight[...]
        patch, width = weight.shape[0], weight.shape[-1]
        n, grid = len(pixels), pixels.shape[1] // patch
        rows = pixels.reshape(n, grid, patch, grid, patch, RGB)  # [N, R, R, 3] -> [N, G, P, G, P, 3]
        patches = rows.transpose(0, 1, 3, 2, 4, 5).reshape(n * grid * grid, -1)  # -> [N * T, P * P * 3]
        return (patches @ weight.reshape(-1, width)).reshape(n, grid * grid, width)


class VisionEmbeddings(nnx.Module):
    """Image -> class token and patch tokens, with learned positions added."""

    def __init__(self, config: VisionConfig, *, rngs: nnx.Rngs):
        std = config.width**-0.5
        self.class_embedding = nnx.Param(std * jax.random.normal(rngs.params(), (config.width,)))
        self.patch_embedding = PatchEmbedding(config, rngs=rngs)
        self.position_embedding = Embedding(config.grid**2 + 1, config.width, std=std, rngs=rngs)

    def __call__(self, pixels: Float[Array, 'N R R 3']) -> Float[Array, 'N K C']:
        patches = self.patch_embedding(pixels)
        first = jnp.broadcast_to(self.class_embedding[...], (len(patches), 1, patches.shape[-1]))
        return jnp.concatenate([first, patches], axis=1) + self.position_embedding.weight[...]


class VisionModel(nnx.Module):
    """Image -> patch tokens after chosen blocks, and the pooled class token."""

    def __init__(self, config: VisionConfig, *, rngs: nnx.Rngs):
        self.embeddings = VisionEmbeddings(config, rngs=rngs)
        self.pre_layrnorm = LayerNorm(config.width, config.layer_norm_eps)  # the published name, misspelt there
        self.encoder = Encoder(config, causal=False, rngs=rngs)
        self.post_layernorm = LayerNorm(config.width, config.layer_norm_eps)
        self.config = config

    def __call__(
        self, pixels: Float[Array, 'N R R 3'], tokens_after: Sequence[int] = (), pool: bool = True
    ) -> tuple[Float[Array, 'N C'] | None, tuple[Float[Array, 'N T C'], ...]]:
        """Runs only as many blocks as are needed. See `clip_jax.Clip.encode_image`."""
        config = self.config
        if pixels.shape[1:] != (config.image_size, config.image_size, RGB):
            raise ValueError(
                f'Expected pixels of shape [N, {config.image_size}, {config.image_size}, {RGB}], '
                f'got {list(pixels.shape)}; clip_jax.preprocess makes them.'
            )
        for block in tokens_after:
            if not 0 <= block < config.layers:
                raise ValueError(f'tokens_after: blocks are counted from 0 to {config.layers - 1}, got {block}.')
        needed = config.layers if pool else max(tokens_after, default=-1) + 1
        if not needed:
            return None, ()

        x = self.pre_layrnorm(self.embeddings(pixels))
        tokens: dict[int, Array] = {}
        for index in range(needed):
            x = self.encoder.layers[index](x)
            if index in tokens_after:
                tokens[index] = x[:, 1:]  # all but the class token
        pooled = self.post_layernorm(x[:, 0]) if pool else None
        return pooled, tuple(tokens[index] for index in tokens_after)
