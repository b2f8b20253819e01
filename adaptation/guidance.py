"""What guides the adaptation: CLIP image encoders, and what each says about the reference and the source domain.

N batch, H and W an image's size, D channels of the embedding, T patch tokens, C channels of a token.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

import clip_jax


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Guide:
    """One encoder with the constants that its losses need.

    Attributes:
        encoder: the CLIP model; its image tower is enough.
        reference_tokens: T(R), the reference's patch tokens after block `layer`.
        domain_direction: d_dom = E(R) - mean E(I_s), fixed before training.
        layer: the block, counted from 0, whose tokens are compared.
    """

    encoder: clip_jax.Clip
    reference_tokens: Float[Array, 'T C']
    domain_direction: Float[Array, 'D']
    layer: int = field(metadata={'static': True})

    def encode(self, images: Float[Array, 'N H W 3'], *, tokens: bool, embed: bool) -> clip_jax.ImageEncoding:
        """Tokens after block `layer` and embeddings of images in [-1, 1]; only those asked for are computed."""
        return _encode(self.encoder, images, (self.layer,) if tokens else (), embed)


def make_guides(
    encoders: Iterable[clip_jax.Clip],
    layers: Iterable[int],
    reference: Float[Array, 'S S 3'],
    source_images: Iterable[Float[Array, 'N H W 3']],
) -> tuple[Guide, ...]:
    """Guides for a reference picture.

    Args:
        encoders: CLIP models.
        layers: for each encoder, the block whose tokens are compared.
        reference: the picture in [-1, 1].
        source_images: batches of source images, walked through once, whose mean embedding the direction starts from.
            Without any, the directions are those from the origin.
    """
    encoders, layers = tuple(encoders), tuple(layers)
    pairs = zip(encoders, layers, strict=True)
    references = [_encode_jit(clip, reference[None], (layer,), True) for clip, layer in pairs]
    totals = [jnp.zeros_like(encoding.embedding[0]) for encoding in references]
    count = 0
    for images in source_images:
        count += images.shape[0]
        for index, clip in enumerate(encoders):
            totals[index] = totals[index] + _encode_jit(clip, images, (), True).embedding.sum(axis=0)
    return tuple(
        Guide(clip, encoding.tokens[0][0], encoding.embedding[0] - total / max(count, 1), layer)
        for clip, encoding, total, layer in zip(encoders, references, totals, layers, strict=True)
    )


def _encode(
    encoder: clip_jax.Clip, images: Float[Array, 'N H W 3'], tokens_after: tuple[int, ...], embed: bool
) -> clip_jax.ImageEncoding:
    pixels = clip_jax.preprocess(images, encoder.config.vision.image_size)
    return encoder.encode_image(pixels, tokens_after, embed)


_encode_jit = jax.jit(_encode, static_argnames=('tokens_after', 'embed'))
