"""The layers of StyleGAN2 with the published parameter names: weights are stored without their learning-rate gains.

Letters: N batch, H and W height and width, I and O input and output channels, D channels of w.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from eg3d_jax.config import check_noise_mode
from eg3d_jax.convolution import convolve, convolve_doubling
from eg3d_jax.hatching import Surface, hatching

LEAKY_SLOPE = 0.2
ACTIVATION_GAIN = math.sqrt(2.0)  # keeps the variance through a leaky ReLU
NORMALISATION_EPSILON = 1e-8  # inside the roots of the mapping's normalisation and of the demodulation


class Buffer(nnx.Variable):
    """A stored array that is no parameter: no gradient step changes it."""


def leaky_relu(x: Float[Array, '*shape']) -> Float[Array, '*shape']:
    """Leaky ReLU of slope 0.2, times sqrt 2."""
    return ACTIVATION_GAIN * jax.nn.leaky_relu(x, LEAKY_SLOPE)


@jax.custom_jvp
def softplus(x: Float[Array, '*shape']) -> Float[Array, '*shape']:
    """log(1 + exp x), three times as fast on a CPU as `jax.nn.softplus`."""
    return jnp.maximum(x, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@softplus.defjvp
def _softplus_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    return softplus(x), jax.nn.sigmoid(x) * tangent


def clamp(x: Float[Array, '*shape'], limit: float | None) -> Float[Array, '*shape']:
    """x cut off at +- limit; None: x as it is."""
    return x if limit is None else jnp.clip(x, -limit, limit)


def normalise(x: Float[Array, 'N I']) -> Float[Array, 'N I']:
    """x over its root mean square."""
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + NORMALISATION_EPSILON)


class FullyConnected(nnx.Module):
    """Linear layer with an equalised learning rate: gains of weight and bias are applied at run time."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        rngs: nnx.Rngs,
        learning_rate_multiplier: float = 1.0,
        bias: float = 0.0,
    ):
        initial = jax.random.normal(rngs.params(), (in_channels, out_channels)) / learning_rate_multiplier
        self.weight = nnx.Param(initial)
        self.bias = nnx.Param(jnp.full((out_channels,), bias / learning_rate_multiplier))
        self.weight_gain = learning_rate_multiplier / math.sqrt(in_channels)
        self.bias_gain = learning_rate_multiplier

    def __call__(self, x: Float[Array, '*batch I']) -> Float[Array, '*batch O']:
        return x @ (self.weight[...] * self.weight_gain) + self.bias[...] * self.bias_gain


class SynthesisLayer(nnx.Module):
    """Modulated 3 x 3 convolution (doubling the size or not), noise, bias, leaky ReLU, clamp."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        w_dim: int,
        resolution: int,
        doubles: bool,
        conv_clamp: float | None,
        rngs: nnx.Rngs,
    ):
        self.weight = nnx.Param(jax.random.normal(rngs.params(), (3, 3, in_channels, out_channels)))
        self.bias = nnx.Param(jnp.zeros(out_channels))
        self.noise_strength = nnx.Param(jnp.zeros(()))
        self.noise_const = Buffer(jax.random.normal(rngs.params(), (resolution, resolution)))
        self.affine = FullyConnected(w_dim, in_channels, rngs=rngs, bias=1.0)
        self.doubles = doubles
        self.conv_clamp = conv_clamp

    def __call__(
        self,
        x: Float[Array, 'N H W I'],
        w: Float[Array, 'N D'],
        *,
        noise_mode: str,
        key: PRNGKeyArray | None = None,
        surface: Surface | None = None,
    ) -> Float[Array, 'N H2 W2 O']:
        """The layer's activations; `key` is used where `noise_mode` is 'random', `surface` where it is
        'hatching'."""
        x = modulated_convolution(x, self.weight[...], self.affine(w), doubles=self.doubles)
        x = x + self._noise(x.shape, noise_mode, key, surface)
        return clamp(leaky_relu(x + self.bias[...]), self.conv_clamp)

    def _noise(
        self, shape: tuple[int, ...], noise_mode: str, key: PRNGKeyArray | None, surface: Surface | None
    ) -> Array | float:
        check_noise_mode(noise_mode)
        if noise_mode == 'none':
            return 0.0
        if noise_mode == 'hatching':
            if surface is None:
                raise ValueError("noise_mode 'hatching' needs the points that the pixels see")
            return self.noise_strength[...] * hatching(self.noise_const[...], surface.resized((shape[1], shape[2])))
        if noise_mode == 'random':
            if key is None:
                raise ValueError("noise_mode 'random' needs a key")
            return self.noise_strength[...] * jax.random.normal(key, (*shape[:3], 1))
        if shape[1:3] != self.noise_const.shape:
            raise ValueError(
                f"noise_mode 'const' holds noise of size {self.noise_const.shape}, the activations are {shape[1:3]}: "
                f"use 'none' or 'random'"
            )
        return self.noise_strength[...] * self.noise_const[...][:, :, None]


class ToRGB(nnx.Module):
    """Modulated 1 x 1 convolution to the image's channels: no demodulation, no noise, linear."""

    def __init__(self, in_channels: int, out_channels: int, *, w_dim: int, conv_clamp: float | None, rngs: nnx.Rngs):
        self.weight = nnx.Param(jax.random.normal(rngs.params(), (1, 1, in_channels, out_channels)))
        self.bias = nnx.Param(jnp.zeros(out_channels))
        self.affine = FullyConnected(w_dim, in_channels, rngs=rngs, bias=1.0)
        self.style_gain = 1.0 / math.sqrt(in_channels)
        self.conv_clamp = conv_clamp

    def __call__(self, x: Float[Array, 'N H W I'], w: Float[Array, 'N D']) -> Float[Array, 'N H W O']:
        style = self.affine(w) * self.style_gain
        x = (x * style[:, None, None, :]) @ self.weight[0, 0]
        return clamp(x + self.bias[...], self.conv_clamp)


def modulated_convolution(
    x: Float[Array, 'N H W I'], kernel: Float[Array, '3 3 I O'], style: Float[Array, 'N I'], *, doubles: bool
) -> Float[Array, 'N H2 W2 O']:
    """Convolution whose kernel is scaled per input channel by `style`, then normalised per output channel.

    Scaling the input, and the output by the inverse norm, is the same as scaling the kernel for each sample, and one
    kernel then serves the whole batch.
    """
    norm_squared = jnp.square(style) @ jnp.sum(jnp.square(kernel), axis=(0, 1))  # [N, O]
    x = x * style[:, None, None, :]
    x = convolve_doubling(x, kernel) if doubles else convolve(x, kernel)
    return x * jax.lax.rsqrt(norm_squared + NORMALISATION_EPSILON)[:, None, None, :]
