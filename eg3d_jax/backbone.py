"""G1: the mapping network and the StyleGAN2 synthesis network that paints the feature planes.

Letters: N batch, H and W height and width, C channels, L number of w vectors, D channels of w.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from eg3d_jax.config import SMALLEST_RESOLUTION, GeneratorConfig
from eg3d_jax.convolution import upsample
from eg3d_jax.hatching import Surface
from eg3d_jax.layers import SynthesisLayer, ToRGB
from eg3d_jax.mapping import MappingNetwork

PLANES = 3


class SynthesisBlock(nnx.Module):
    """conv0, conv1 and torgb, whose output is added to the (upsampled) image of the block before."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        w_dim: int,
        resolution: int,
        image_channels: int,
        doubles: bool,
        conv_clamp: float | None,
        rngs: nnx.Rngs,
    ):
        self.conv0 = SynthesisLayer(
            in_channels,
            out_channels,
            w_dim=w_dim,
            resolution=resolution,
            doubles=doubles,
            conv_clamp=conv_clamp,
            rngs=rngs,
        )
        self.conv1 = SynthesisLayer(
            out_channels,
            out_channels,
            w_dim=w_dim,
            resolution=resolution,
            doubles=False,
            conv_clamp=conv_clamp,
            rngs=rngs,
        )
        self.torgb = ToRGB(out_channels, image_channels, w_dim=w_dim, conv_clamp=conv_clamp, rngs=rngs)
        self.doubles = doubles

    def __call__(
        self,
        x: Float[Array, 'N H W C'],
        image: Float[Array, 'N H W C2'],
        ws: Float[Array, 'N 3 D'],
        *,
        noise_mode: str,
        key: PRNGKeyArray | None = None,
        surface: Surface | None = None,
    ) -> tuple[Float[Array, 'N H2 W2 C3'], Float[Array, 'N H2 W2 C2']]:
        """(features, image) of this block; ws are those of conv0, conv1 and torgb."""
        key0, key1 = (None, None) if key is None else jax.random.split(key)
        x = self.conv0(x, ws[:, 0], noise_mode=noise_mode, key=key0, surface=surface)
        x = self.conv1(x, ws[:, 1], noise_mode=noise_mode, key=key1, surface=surface)
        image = upsample(image) if self.doubles else image
        return x, image + self.torgb(x, ws[:, 2])


class FirstBlock(nnx.Module):
    """The block at 4 x 4: a learned constant, conv1 and torgb."""

    def __init__(self, channels: int, *, w_dim: int, image_channels: int, conv_clamp: float | None, rngs: nnx.Rngs):
        size = SMALLEST_RESOLUTION
        self.const = nnx.Param(jax.random.normal(rngs.params(), (size, size, channels)))
        self.conv1 = SynthesisLayer(
            channels, channels, w_dim=w_dim, resolution=size, doubles=False, conv_clamp=conv_clamp, rngs=rngs
        )
        self.torgb = ToRGB(channels, image_channels, w_dim=w_dim, conv_clamp=conv_clamp, rngs=rngs)

    def __call__(
        self, ws: Float[Array, 'N 2 D'], *, noise_mode: str, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, 'N 4 4 C'], Float[Array, 'N 4 4 C2']]:
        """(features, image); ws are those of conv1 and torgb."""
        const = self.const[...]
        x = jnp.broadcast_to(const, (ws.shape[0], *const.shape))
        x = self.conv1(x, ws[:, 0], noise_mode=noise_mode, key=key)
        return x, self.torgb(x, ws[:, 1])


class SynthesisNetwork(nnx.Module):
    """Blocks `b4`, `b8`, ... up to the planes' resolution."""

    def __init__(self, config: GeneratorConfig, *, rngs: nnx.Rngs):
        settings = config.backbone
        image_channels = PLANES * settings.plane_channels
        self.block_resolutions = settings.block_resolutions
        previous = 0
        for resolution in self.block_resolutions:
            channels = settings.channels(resolution)
            if resolution == SMALLEST_RESOLUTION:
                block: nnx.Module = FirstBlock(
                    channels,
                    w_dim=config.w_dim,
                    image_channels=image_channels,
                    conv_clamp=settings.conv_clamp,
                    rngs=rngs,
                )
            else:
                block = SynthesisBlock(
                    previous,
                    channels,
                    w_dim=config.w_dim,
                    resolution=resolution,
                    image_channels=image_channels,
                    doubles=True,
                    conv_clamp=settings.conv_clamp,
                    rngs=rngs,
                )
            setattr(self, f'b{resolution}', block)
            previous = channels

    def __call__(
        self,
        ws: Float[Array, 'N L D'],
        *,
        noise_mode: str = 'const',
        key: PRNGKeyArray | None = None,
        resolution: int | None = None,
    ) -> Float[Array, 'N 3 H W C']:
        """The feature planes, channels last.

        Args:
            resolution: side of coarser planes, what the blocks up to this one have painted (the blocks' images add up,
                so that training can begin with small ones); None: the config's.
        """
        first, *others = [side for side in self.block_resolutions if resolution is None or side <= resolution]
        keys = [None if key is None else jax.random.fold_in(key, index) for index in range(1 + len(others))]
        x, image = getattr(self, f'b{first}')(ws[:, 0:2], noise_mode=noise_mode, key=keys[0])
        for index, resolution in enumerate(others):
            # A block's first w is the one of the torgb before it.
            start = 1 + 2 * index
            block = getattr(self, f'b{resolution}')
            x, image = block(x, image, ws[:, start : start + 3], noise_mode=noise_mode, key=keys[index + 1])
        n, height, width, channels = image.shape
        planes = image.reshape(n, height, width, PLANES, channels // PLANES)  # N H W (3 C) -> N H W 3 C
        return planes.transpose(0, 3, 1, 2, 4)  # N H W 3 C -> N 3 H W C


class Backbone(nnx.Module):
    """G1: mapping and synthesis."""

    def __init__(self, config: GeneratorConfig, *, rngs: nnx.Rngs):
        self.mapping = MappingNetwork(config, rngs=rngs)
        self.synthesis = SynthesisNetwork(config, rngs=rngs)
