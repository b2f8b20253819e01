"""What guides the adaptation: CLIP encoders, and what each says about the target and the source domain.

The target is known by a reference picture R, by a text, or by both.

N batch, H and W an image's size, D channels of the embedding, T patch tokens, C channels of a token.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import clip_jax

SMALLEST_VARIANCE = 1e-12  # of embeddings, of length 1; source images that vary less count as all alike
SHORTEST_DIRECTION = 1e-6  # a direction shorter than this counts as of this length, so that none is divided by zero


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Guide:
    """One encoder with the constants that its losses need.

    Attributes:
        encoder: the CLIP model; its image tower is enough.
        reference_tokens: T(R), the reference's patch tokens after block `layer`; None without a reference.
        domain_direction: d_dom, fixed before training; see `make_guides`.
        layer: the block, counted from 0, whose tokens are compared.
    """

    encoder: clip_jax.Clip
    reference_tokens: Float[Array, 'T C'] | None
    domain_direction: Float[Array, 'D']
    layer: int = field(metadata={'static': True})

    def encode(self, images: Float[Array, 'N H W 3'], *, tokens: bool, embed: bool) -> clip_jax.ImageEncoding:
        """Tokens after block `layer` and embeddings of images in [-1, 1]; only those asked for are computed."""
        return encode_images(self.encoder, images, (self.layer,) if tokens else (), embed)


def make_guides(
    encoders: Iterable[clip_jax.Clip],
    layers: Iterable[int],
    reference: Float[Array, 'S S 3'] | None,
    source_images: Iterable[Float[Array, 'N H W 3']] = (),
    text_directions: Sequence[Float[Array, 'D']] | None = None,
    text_weight: float = 0.5,
    whitening: float = 0.0,
    embeddings: Sequence[Float[Array, '_ _']] | None = None,
) -> tuple[Guide, ...]:
    """Guides for a reference picture, for texts, or for both.

    The domain direction is E(R) - mean E(I_s) for a picture, E_text(target) - E_text(source) for texts, and for both,
    u(d) being d at length 1, (1 - text_weight) u(picture's) + text_weight u(texts'): the two have different lengths,
    pictures and texts lying apart in CLIP's space, and the losses look at the direction alone. A picture's is
    `whitened` if asked for, which the paper does not do.

    Args:
        encoders: CLIP models.
        layers: for each encoder, the block whose tokens are compared.
        reference: the picture in [-1, 1]; None: texts alone guide.
        source_images: batches of source images, walked through once, whose mean embedding a picture's direction starts
            from. Without any, its directions are those from the origin.
        text_directions: for each encoder, the direction of the texts; None: the picture alone guides.
        text_weight: share of the texts beside a picture, in [0, 1].
        whitening: how much less the picture's direction counts where source images differ among themselves, at least 0.
        embeddings: of source images by each encoder, from `embed_source`, where they are known: in place of
            `source_images`.

    Raises:
        ValueError: neither a reference nor text directions.
    """
    encoders, layers = tuple(encoders), tuple(layers)
    if reference is None:
        if text_directions is None:
            raise ValueError('give a reference, text_directions, or both')
        return tuple(
            Guide(clip, None, direction, layer)
            for clip, direction, layer in zip(encoders, text_directions, layers, strict=True)
        )
    known = embed_source(encoders, source_images) if embeddings is None else embeddings
    (guides,) = _picture_guides(encoders, layers, [reference], known, whitening)
    if text_directions is None:
        return guides
    return tuple(
        replace(guide, domain_direction=_mixed(guide.domain_direction, direction, text_weight))
        for guide, direction in zip(guides, text_directions, strict=True)
    )


def domain_guides(
    encoders: Iterable[clip_jax.Clip],
    layers: Iterable[int],
    references: Sequence[Float[Array, '_ _ 3']],
    source_images: Iterable[Float[Array, 'N H W 3']] = (),
    whitening: float = 0.0,
    embeddings: Sequence[Float[Array, '_ _']] | None = None,
) -> list[tuple[Guide, ...]]:
    """Guides for several reference pictures, for each as `make_guides` makes them; the images are walked through once.

    Raises:
        ValueError: no reference.
    """
    if not references:
        raise ValueError('give at least one reference')
    encoders = tuple(encoders)
    known = embed_source(encoders, source_images) if embeddings is None else embeddings
    return _picture_guides(encoders, tuple(layers), references, known, whitening)


def embed_source(
    encoders: Sequence[clip_jax.Clip], source_images: Iterable[Float[Array, 'N H W 3']]
) -> tuple[Float[Array, '_ _'], ...]:
    """The embeddings of all source images, by each encoder; the batches are walked through once."""
    parts: list[list[Array]] = [[jnp.zeros((0, clip.config.embed_dim))] for clip in encoders]
    for images in source_images:
        for clip, part in zip(encoders, parts, strict=True):
            part.append(_encode_jit(clip, images, (), True).embedding)
    return tuple(jnp.concatenate(part) for part in parts)


def whitened(direction: Float[Array, 'D'], embeddings: Float[Array, 'N D'], strength: float) -> Float[Array, 'D']:
    """The direction with less of what source images differ in among themselves: (1 + strength S / s)^-1 direction.

    S is the covariance of the embeddings, and s its mean eigenvalue weighted by the eigenvalues, tr(S^2) / tr(S). What
    a reference shows beside its style (whose head it is, with which hat and before which wall) moves its embedding as
    it moves those of source images; along an axis of variance s, a strength of 1 leaves half of the direction, along
    one that source images do not know, all of it.

    Args:
        direction: from the mean of the embeddings to the reference's.
        embeddings: of source images; without any, nothing is known, and the direction stays as it is.
        strength: at least 0; 0 leaves the direction as it is.
    """
    if strength == 0 or not len(embeddings):
        return direction
    matrix = whitening_matrix(embeddings, strength)
    return jnp.asarray(np.linalg.solve(matrix, np.asarray(direction, np.float64)), jnp.float32)


def whitening_matrix(embeddings: Float[Array, 'N D'], strength: float) -> Float[np.ndarray, 'D D']:
    """1 + strength S / s, by whose inverse `whitened` multiplies; embeddings: at least one."""
    known = np.asarray(embeddings, np.float64)
    centred = known - known.mean(axis=0)
    covariance = centred.T @ centred / len(centred)
    typical = np.square(covariance).sum() / max(float(np.trace(covariance)), SMALLEST_VARIANCE)
    return np.eye(len(covariance)) + strength * covariance / max(float(typical), SMALLEST_VARIANCE)


def _mixed(picture: Float[Array, 'D'], text: Float[Array, 'D'], text_weight: float) -> Float[Array, 'D']:
    return (1 - text_weight) * _unit(picture) + text_weight * _unit(text)


def _unit(direction: Float[Array, 'D']) -> Float[Array, 'D']:
    return direction / jnp.maximum(jnp.linalg.norm(direction), SHORTEST_DIRECTION)


def _picture_guides(
    encoders: tuple[clip_jax.Clip, ...],
    layers: tuple[int, ...],
    references: Sequence[Float[Array, '_ _ 3']],
    embeddings: Sequence[Float[Array, '_ _']],
    whitening: float,
) -> list[tuple[Guide, ...]]:
    """For each reference, the guide of each encoder."""

    def guide(index: int, reference: Float[Array, 'S S 3']) -> Guide:
        clip, layer, known = encoders[index], layers[index], embeddings[index]
        encoding = _encode_jit(clip, reference[None], (layer,), True)
        direction = encoding.embedding[0] - known.sum(axis=0) / max(len(known), 1)
        return Guide(clip, encoding.tokens[0][0], whitened(direction, known, whitening), layer)

    return [tuple(guide(index, reference) for index in range(len(encoders))) for reference in references]


def encode_images(
    encoder: clip_jax.Clip, images: Float[Array, 'N H W 3'], tokens_after: tuple[int, ...], embed: bool
) -> clip_jax.ImageEncoding:
    """Patch tokens after these blocks, and embeddings if asked for, of images in [-1, 1] of any size."""
    pixels = clip_jax.preprocess(images, encoder.config.vision.image_size)
    return encoder.encode_image(pixels, tokens_after, embed)


_encode_jit = jax.jit(encode_images, static_argnames=('tokens_after', 'embed'))
