"""G2: the super-resolution module, two synthesis blocks modulated by the last w.

Letters: N batch, h rendered pixels, H final pixels, F colour features, L number of w vectors, D channels of w.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from eg3d_jax.backbone import SynthesisBlock
from eg3d_jax.config import RGB_CHANNELS, GeneratorConfig
from eg3d_jax.hatching import Surface, tone

WS_PER_BLOCK = 3  # conv0, conv1, torgb: the last w serves all of them, in both blocks


class Superresolution(nnx.Module):
    """G2: feature image -> final image. The skip of the RGB starts from the raw image."""

    def __init__(self, config: GeneratorConfig, *, rngs: nnx.Rngs):
        settings = config.superresolution
        first_resolution = settings.input_resolution * (2 if settings.first_block_doubles else 1)
        block = partial(
            SynthesisBlock,
            w_dim=config.w_dim,
            image_channels=RGB_CHANNELS,
            conv_clamp=settings.conv_clamp,
            rngs=rngs,
        )
        self.block0 = block(
            config.decoder.feature_channels,
            settings.channels[0],
            resolution=first_resolution,
            doubles=settings.first_block_doubles,
        )
        self.block1 = block(*settings.channels, resolution=2 * first_resolution, doubles=True)
        self.settings = settings
        self.box_warp = config.rendering.box_warp

    def __call__(
        self,
        feature_image: Float[Array, 'N h h F'],
        ws: Float[Array, 'N L D'],
        *,
        points: Float[Array, 'N h h 3'] | None = None,
        noise_mode: str | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, 'N H H 3']:
        """The final image, in [-1, 1] by convention (not clipped); `points` are where 'hatching' lies."""
        noise_mode = self.settings.noise_mode if noise_mode is None else noise_mode
        key0, key1 = (None, None) if key is None else jax.random.split(key)
        surface = None if points is None else Surface(points / self.box_warp, tone(feature_image[..., :RGB_CHANNELS]))
        x = self._resize(feature_image)
        image = x[..., :RGB_CHANNELS]
        last_ws = jnp.repeat(ws[:, -1:], WS_PER_BLOCK, axis=1)
        x, image = self.block0(x, image, last_ws, noise_mode=noise_mode, key=key0, surface=surface)
        _, image = self.block1(x, image, last_ws, noise_mode=noise_mode, key=key1, surface=surface)
        return image

    def _resize(self, feature_image: Array) -> Array:
        """Bilinearly to the input resolution, where it is not of that size (or already larger, see the config)."""
        n, height, _, channels = feature_image.shape
        wanted = self.settings.input_resolution
        if height == wanted or (height > wanted and not self.settings.resize_larger):
            return feature_image
        return jax.image.resize(
            feature_image, (n, wanted, wanted, channels), method='linear', antialias=self.settings.antialias
        )
