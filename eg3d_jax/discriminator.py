"""EG3D's dual discriminator: how real an image looks together with its raw rendering, seen by this camera.

Letters: N batch, H side of the image, h side of the raw image, I and O input and output channels, D channels of the
camera's embedding.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from eg3d_jax.config import RGB_CHANNELS, SMALLEST_RESOLUTION, DiscriminatorConfig
from eg3d_jax.convolution import DIMENSIONS, filter_binomial
from eg3d_jax.layers import FullyConnected, clamp, leaky_relu, normalise

BRANCH_GAIN = math.sqrt(0.5)  # of each of a block's two branches, so that their sum keeps the variance
MAPPING_LEARNING_RATE = 0.01  # multiplier, as in the generator's mapping
DEVIATION_EPSILON = 1e-8  # inside the root of the minibatch deviation


class Convolution(nnx.Module):
    """Convolution with an equalised learning rate, halving the size or not."""

    def __init__(
        self, in_channels: int, out_channels: int, size: int, *, rngs: nnx.Rngs, halves: bool = False, bias: bool = True
    ):
        self.weight = nnx.Param(jax.random.normal(rngs.params(), (size, size, in_channels, out_channels)))
        if bias:
            self.bias = nnx.Param(jnp.zeros(out_channels))
        self.gain = 1.0 / (size * math.sqrt(in_channels))
        self.size, self.halves, self.has_bias = size, halves, bias

    def __call__(self, x: Float[Array, 'N H W I']) -> Float[Array, 'N H2 W2 O']:
        margin = (self.size - 1) // 2
        if self.halves:  # the [1, 3, 3, 1] filter with room for the kernel's margin, and every second position of it
            x = filter_binomial(x, padding=1 + margin)
            margin = 0
        stride = 2 if self.halves else 1
        kernel = self.weight[...] * self.gain
        x = jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), [(margin, margin)] * 2, dimension_numbers=DIMENSIONS
        )
        return x + self.bias[...] if self.has_bias else x


class DiscriminatorBlock(nnx.Module):
    """A residual block that halves the size; the first one (`image_channels`) starts with fromrgb."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        image_channels: int | None = None,
        conv_clamp: float | None,
        rngs: nnx.Rngs,
    ):
        if image_channels is not None:
            self.fromrgb = Convolution(image_channels, in_channels, 1, rngs=rngs)
        self.conv0 = Convolution(in_channels, in_channels, 3, rngs=rngs)
        self.conv1 = Convolution(in_channels, out_channels, 3, halves=True, rngs=rngs)
        self.skip = Convolution(in_channels, out_channels, 1, halves=True, bias=False, rngs=rngs)
        self.starts = image_channels is not None
        self.conv_clamp = conv_clamp

    def __call__(self, x: Float[Array, 'N H W I']) -> Float[Array, 'N H2 W2 O']:
        if self.starts:
            x = clamp(leaky_relu(self.fromrgb(x)), self.conv_clamp)
        limit = None if self.conv_clamp is None else self.conv_clamp * BRANCH_GAIN
        shortcut = self.skip(x) * BRANCH_GAIN
        x = clamp(leaky_relu(self.conv0(x)), self.conv_clamp)
        return clamp(leaky_relu(self.conv1(x)) * BRANCH_GAIN, limit) + shortcut


class Epilogue(nnx.Module):
    """The last block, at 4 x 4: minibatch deviation, conv, fc and out."""

    def __init__(self, channels: int, config: DiscriminatorConfig, *, rngs: nnx.Rngs):
        deviations = config.deviation_channels
        self.conv = Convolution(channels + deviations, channels, 3, rngs=rngs)
        self.fc = FullyConnected(channels * SMALLEST_RESOLUTION**2, channels, rngs=rngs)
        self.out = FullyConnected(channels, config.embedding_channels, rngs=rngs)
        self.group, self.deviations, self.conv_clamp = config.deviation_group, deviations, config.conv_clamp

    def __call__(self, x: Float[Array, 'N 4 4 I']) -> Float[Array, 'N D']:
        if self.deviations:
            x = jnp.concatenate([x, minibatch_deviation(x, self.group, self.deviations)], axis=-1)
        x = clamp(leaky_relu(self.conv(x)), self.conv_clamp)
        x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)  # N H W C -> N (C H W), the order that fc was trained with
        return self.out(leaky_relu(self.fc(x)))


class CameraMapping(nnx.Module):
    """The camera's embedding: `embed`, normalised, then `fc0`, `fc1`, ..."""

    def __init__(self, config: DiscriminatorConfig, *, rngs: nnx.Rngs):
        width = config.embedding_channels
        self.embed = FullyConnected(config.c_dim, width, rngs=rngs)
        for index in range(config.mapping_layers):
            layer = FullyConnected(width, width, rngs=rngs, learning_rate_multiplier=MAPPING_LEARNING_RATE)
            setattr(self, f'fc{index}', layer)
        self.layers = config.mapping_layers

    def __call__(self, camera: Float[Array, 'N 25']) -> Float[Array, 'N D']:
        x = normalise(self.embed(camera))
        for index in range(self.layers):
            x = leaky_relu(getattr(self, f'fc{index}')(x))
        return x


class DualDiscriminator(nnx.Module):
    """`b512` ... `b8` (residual blocks), `b4` (epilogue) and `mapping` (of the camera), named as published."""

    def __init__(self, config: DiscriminatorConfig, *, rngs: nnx.Rngs):
        first, *others = config.block_resolutions
        block = partial(DiscriminatorBlock, conv_clamp=config.conv_clamp, rngs=rngs)
        for resolution in (first, *others):
            channels, halved = config.channels(resolution), config.channels(resolution // 2)
            starts = 2 * RGB_CHANNELS if resolution == first else None
            setattr(self, f'b{resolution}', block(channels, halved, image_channels=starts))
        self.b4 = Epilogue(config.channels(SMALLEST_RESOLUTION), config, rngs=rngs)
        self.mapping = CameraMapping(config, rngs=rngs)
        self.config = config

    def __call__(
        self, image: Float[Array, 'N H H 3'], image_raw: Float[Array, 'N h h 3'], camera: Float[Array, 'N 25']
    ) -> Float[Array, 'N']:
        """Logits, higher where the pair looks more real.

        Args:
            image: final images in [-1, 1].
            image_raw: their raw renderings, of any size.
            camera: the cameras that see them; the true ones, also where the generator is conditioned on zeros.

        Raises:
            ValueError: an image of another size than the config's, or raw renderings or cameras that do not fit it.
        """
        side = self.config.image_resolution
        if image.shape != (image.shape[0], side, side, RGB_CHANNELS):
            raise ValueError(f'image must have shape (N, {side}, {side}, 3), got {image.shape}')
        n = image.shape[0]
        if image_raw.ndim != 4 or image_raw.shape != (n, image_raw.shape[1], image_raw.shape[1], RGB_CHANNELS):
            raise ValueError(f'image_raw must have shape ({n}, h, h, 3), got {image_raw.shape}')
        if camera.shape != (n, self.config.c_dim):
            raise ValueError(f'camera must have shape ({n}, {self.config.c_dim}), got {camera.shape}')
        raw = jax.image.resize(image_raw, image.shape, method='linear', antialias=True)
        x = jnp.concatenate([image, raw], axis=-1)
        for resolution in self.config.block_resolutions:
            x = getattr(self, f'b{resolution}')(x)
        embedded = self.mapping(camera)
        return jnp.sum(self.b4(x) * embedded, axis=-1) / math.sqrt(embedded.shape[-1])


def minibatch_deviation(x: Float[Array, 'N H W C'], group: int, channels: int) -> Float[Array, 'N H W F']:
    """How much the samples of a group differ, as constant feature maps: a batch without variety is unlike real ones.

    Raises:
        ValueError: a batch that is no multiple of the group.
    """
    n, height, width, in_channels = x.shape
    group = min(group, n)
    if n % group:
        raise ValueError(f'a batch of {n} has no groups of {group} for the minibatch deviation')
    grouped = x.reshape(group, n // group, height, width, channels, in_channels // channels)
    variance = jnp.mean(jnp.square(grouped - jnp.mean(grouped, axis=0)), axis=0)
    deviation = jnp.mean(jnp.sqrt(variance + DEVIATION_EPSILON), axis=(1, 2, 4))  # [N / G, F]
    return jnp.broadcast_to(jnp.tile(deviation, (group, 1))[:, None, None, :], (n, height, width, channels))
