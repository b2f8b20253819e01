"""InceptionV3 as the Fréchet Inception distance uses it: TensorFlow's network of 2015-12-05, by way of PyTorch.

Images go in, the 2048 means of the last block's activations come out: the features that FID and KID compare. It is not
torchvision's classifier of the same name, whose weights and pooling differ.

Letters: N batch, H and W height and width, R side of the network's input, C channels.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float

from adaptation.evaluation.inception_blocks import (
    ConvBlock,
    InceptionA,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE,
)
from adaptation.evaluation.layers import max_pool
from adaptation.evaluation.network_files import NetworkConfig, load_network

FEATURES = 2048  # channels of the last block at its published width
SMALLEST_RESOLUTION = 75  # pixels, of which the last block sees one
DIVISORS = (1, 2, 4, 8, 16)  # of all published widths
STAGES = (  # in the order of the computation, under their published names
    *('Conv2d_1a_3x3', 'Conv2d_2a_3x3', 'Conv2d_2b_3x3', 'Conv2d_3b_1x1', 'Conv2d_4a_3x3'),
    *('Mixed_5b', 'Mixed_5c', 'Mixed_5d'),
    *('Mixed_6a', 'Mixed_6b', 'Mixed_6c', 'Mixed_6d', 'Mixed_6e'),
    *('Mixed_7a', 'Mixed_7b', 'Mixed_7c'),
)
POOLED_BEFORE = ('Conv2d_3b_1x1', 'Mixed_5b')  # stages whose input is halved


@dataclasses.dataclass(frozen=True)
class InceptionConfig(NetworkConfig):
    """Sizes; the defaults are those of the published weights."""

    network: ClassVar[str] = 'inception_v3'
    converter: ClassVar[str] = 'python -m convert.inception'

    resolution: int = 299  # pixels along a side of what the network sees
    divisor: int = 1  # of the published numbers of channels: a narrower network of the same topology, for tests

    def __post_init__(self) -> None:
        if self.resolution < SMALLEST_RESOLUTION:
            raise ValueError(f'resolution must be at least {SMALLEST_RESOLUTION}, got {self.resolution}.')
        if self.divisor not in DIVISORS:
            raise ValueError(f'divisor must be one of {", ".join(map(str, DIVISORS))}, got {self.divisor}.')

    @property
    def features(self) -> int:
        """Channels of the result."""
        return FEATURES // self.divisor


class InceptionV3(nnx.Module):
    """Images -> features. Each stage is an attribute that can be called on the activations before it."""

    def __init__(self, config: InceptionConfig):
        def width(channels: int) -> int:
            return channels // config.divisor

        self.Conv2d_1a_3x3 = ConvBlock(3, width(32), 3, stride=2)
        self.Conv2d_2a_3x3 = ConvBlock(width(32), width(32), 3)
        self.Conv2d_2b_3x3 = ConvBlock(width(32), width(64), 3, padding=1)
        self.Conv2d_3b_1x1 = ConvBlock(width(64), width(80))
        self.Conv2d_4a_3x3 = ConvBlock(width(80), width(192), 3)
        self.Mixed_5b = InceptionA(width(192), 32, width)
        self.Mixed_5c = InceptionA(self.Mixed_5b.outputs, 64, width)
        self.Mixed_5d = InceptionA(self.Mixed_5c.outputs, 64, width)
        self.Mixed_6a = InceptionB(self.Mixed_5d.outputs, width)
        self.Mixed_6b = InceptionC(self.Mixed_6a.outputs, 128, width)
        self.Mixed_6c = InceptionC(self.Mixed_6b.outputs, 160, width)
        self.Mixed_6d = InceptionC(self.Mixed_6c.outputs, 160, width)
        self.Mixed_6e = InceptionC(self.Mixed_6d.outputs, 192, width)
        self.Mixed_7a = InceptionD(self.Mixed_6e.outputs, width)
        self.Mixed_7b = InceptionE(self.Mixed_7a.outputs, width, pool_maximum=False)
        self.Mixed_7c = InceptionE(self.Mixed_7b.outputs, width, pool_maximum=True)
        self.config = config

    def __call__(self, images: Float[Array, 'N H W 3']) -> Float[Array, 'N C']:
        """The features, C = 2048.

        Args:
          images: [N, H, W, 3] RGB in [-1, 1] of any size; what lies outside is clipped, as it would be in a picture
            file. Published distances are of 8-bit pictures: round generated images to the same steps for the same
            numbers.
        """
        return jnp.mean(self.stages(images)[STAGES[-1]], axis=(1, 2))  # [N, H, W, C] -> [N, C]

    def stages(self, images: Float[Array, 'N H W 3']) -> dict[str, Float[Array, 'N ...']]:
        """The activations after each of STAGES, by its name."""
        x = self.resize(images)
        activations = {}
        for name in STAGES:
            x = max_pool(x, stride=2) if name in POOLED_BEFORE else x
            activations[name] = x = getattr(self, name)(x)
        return activations

    def resize(self, images: Float[Array, 'N H W 3']) -> Float[Array, 'N R R 3']:
        """What the network sees: clipped, and resized bilinearly without antialiasing, as for all published distances,
        although it aliases large pictures."""
        x = jnp.clip(jnp.asarray(images, jnp.float32), -1.0, 1.0)
        side = self.config.resolution
        return jax.image.resize(x, (len(x), side, side, 3), 'linear', antialias=False)


def build_inception(config: InceptionConfig) -> InceptionV3:
    """A network of this config, without weights yet."""
    return InceptionV3(config)


def load_inception(directory: str | Path) -> InceptionV3:
    """Reads a checkpoint that `python -m convert.inception` wrote.

    Raises:
      FileNotFoundError: the directory lacks `config.json` or `weights.safetensors`.
      ValueError: it is of another network, or the weights are damaged or do not fit the config.
    """
    return load_network(directory, InceptionConfig, build_inception)
