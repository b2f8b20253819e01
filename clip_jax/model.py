"""CLIP: two towers that map images and texts to unit vectors of one space (arXiv 2103.00020).

N batch, R side of the image, T patch tokens, L text tokens, C channels of a token, D channels of the embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float, Int

from clip_jax.config import ClipConfig
from clip_jax.layers import Linear
from clip_jax.text import TextModel
from clip_jax.vision import VisionModel

INITIAL_TEMPERATURE = 0.07  # CLIP paper, section 2.5


class ImageEncoding(NamedTuple):
    """What `Clip.encode_image` found.

    Attributes:
      embedding: [N, D] unit-norm image embedding, or None where none was asked for.
      tokens: a [N, T, C] array of patch tokens, class token left out, for each block asked for, in the order asked for.
        T runs row by row over the patches.
    """

    embedding: Float[Array, 'N D'] | None
    tokens: tuple[Float[Array, 'N T C'], ...]


class Clip(nnx.Module):
    """The image and the text encoder.

    Names and shapes of the leaves are those of Hugging Face's `CLIPModel`, but linear weights are [in, out] and the
    patch embedding is [height, width, in, out].
    """

    def __init__(self, config: ClipConfig, *, rngs: nnx.Rngs):
        vision, text, dim = config.vision, config.text, config.embed_dim
        self.vision_model = VisionModel(vision, rngs=rngs)
        self.text_model = TextModel(text, rngs=rngs)
        self.visual_projection = Linear(vision.width, dim, std=vision.width**-0.5, use_bias=False, rngs=rngs)
        self.text_projection = Linear(text.width, dim, std=text.width**-0.5, use_bias=False, rngs=rngs)
        self.logit_scale = nnx.Param(-jnp.log(jnp.asarray(INITIAL_TEMPERATURE)))  # its logarithm
        self.config = config

    def encode_image(
        self, pixels: Float[Array, 'N R R 3'], tokens_after: Sequence[int] = (), embed: bool = True
    ) -> ImageEncoding:
        """Encodes images, in one pass that stops after the last block that is needed.

        Args:
          pixels: [N, R, R, 3] normalised pixels from `clip_jax.preprocess`, R the config's `vision.image_size`.
          tokens_after: the blocks, counted from 0, whose patch tokens are wanted.
          embed: whether the embedding is wanted.

        Raises:
          ValueError: pixels of another size, or a block that does not exist.
        """
        pooled, tokens = self.vision_model(pixels, tokens_after, pool=embed)
        embedding = None if pooled is None else _unit(self.visual_projection(pooled))
        return ImageEncoding(embedding, tokens)

    def encode_text(self, ids: Int[Array, 'N L']) -> Float[Array, 'N D']:
        """Unit-norm embeddings [N, D] of token ids [N, L] from `clip_jax.load_tokenizer`, L at most the context length.

        Raises:
          ValueError: longer texts than that.
        """
        return _unit(self.text_projection(self.text_model(ids)))


def _unit(x: Float[Array, 'N D']) -> Float[Array, 'N D']:
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)
