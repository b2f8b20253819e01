"""The networks that look at pictures: the run's own CLIP image encoders, and Inception and ArcFace where given.

A network is anything that JAX takes for a pytree and that maps images [N, H, W, 3] in [-1, 1] to features [N, D].
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

import clip_jax
from adaptation.errors import AdaptationError, ConfigError

INCEPTION, ARCFACE, CLIP = 'inception', 'arcface', 'clip'
LEVELS = 127.5  # of an 8-bit value, for half of the range [-1, 1]

Network = Callable[[Float[Array, 'N H W 3']], Float[Array, 'N D']]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ClipEmbedding:
    """The unit-norm image embedding of a CLIP as a network."""

    encoder: clip_jax.Clip

    def __call__(self, images: Float[Array, 'N H W 3']) -> Float[Array, 'N D']:
        """Embeds images in [-1, 1] of any size."""
        pixels = clip_jax.preprocess(images, self.encoder.config.vision.image_size)
        embedding = self.encoder.encode_image(pixels).embedding
        assert embedding is not None
        return embedding


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Networks:
    """All that look. `clip` holds one or more, by names such as 'clip_patch8'."""

    clip: dict[str, Network]
    inception: Network | None = None
    arcface: Network | None = None

    def by_name(self) -> dict[str, Network]:
        """Every network."""
        others = {INCEPTION: self.inception, ARCFACE: self.arcface}
        return {**self.clip, **{name: network for name, network in others.items() if network is not None}}

    def features(self, images: Float[Array, 'N H W 3']) -> dict[str, Float[Array, 'N _']]:
        """What each network finds in images."""
        return {name: network(images) for name, network in self.by_name().items()}


def clip_networks(encoders: tuple[clip_jax.Clip, ...]) -> dict[str, Network]:
    """The encoders by the side of their patches, and a number where that is not enough to tell them apart."""
    networks: dict[str, Network] = {}
    for encoder in encoders:
        name = f'{CLIP}_patch{encoder.config.vision.patch_size}'
        same = sum(other.partition('-')[0] == name for other in networks)
        networks[f'{name}-{same + 1}' if same else name] = ClipEmbedding(encoder)
    return networks


def load_network(name: str, directory: Path | None) -> Network | None:
    """Inception or ArcFace from what `convert.inception` or `convert.arcface` wrote; None where no directory is given.

    Raises:
        ConfigError: there is none, or it is damaged.
    """
    if directory is None:
        return None
    try:
        return getattr(import_module(f'adaptation.evaluation.{name}'), f'load_{name}')(directory)
    except (OSError, ValueError, AdaptationError) as error:
        made = f'give a directory that python -m convert.{name} wrote'
        raise ConfigError([f'--{name}: {str(error).rstrip(".")}: {made}']) from None


def as_stored(images: Float[Array, 'N H W 3']) -> Float[Array, 'N H W 3']:
    """Images as a picture file would hold them, clipped and in 8 bits, so that samples and pictures are alike."""
    return jnp.round((jnp.clip(images, -1.0, 1.0) + 1.0) * LEVELS) / LEVELS - 1.0
