"""The layers of the measuring networks, as they act once trained. Leaves are named as in PyTorch; they are made to be
filled from a checkpoint, and zero until then.

Products are taken in full float32 on every device: what accelerators round by default would show in a distance between
two sets of features.

Letters: N batch, H and W height and width, I and O input and output channels, C channels.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jaxtyping import Float

DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')
PRECISION = jax.lax.Precision.HIGHEST

Pair = tuple[int, int]  # along the height and along the width


class Conv(nnx.Module):
    """A correlation without bias; its kernel is [height, width, I, O]."""

    def __init__(self, inputs: int, outputs: int, size: Pair, *, stride: int = 1, padding: Pair = (0, 0)):
        self.weight = nnx.Param(jnp.zeros((*size, inputs, outputs)))
        self.stride, self.padding = stride, padding

    def __call__(self, x: Float[Array, 'N H W I']) -> Float[Array, 'N H2 W2 O']:
        padding = [(before, before) for before in self.padding]
        strides = (self.stride, self.stride)
        return jax.lax.conv_general_dilated(
            x, self.weight[...], strides, padding, dimension_numbers=DIMENSIONS, precision=PRECISION
        )


class BatchNorm(nnx.Module):
    """Normalises each channel by the statistics of the training set, then scales and shifts it."""

    def __init__(self, channels: int, eps: float):
        self.weight = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))
        self.running_mean = nnx.BatchStat(jnp.zeros(channels))
        self.running_var = nnx.BatchStat(jnp.ones(channels))
        self.eps = eps

    def __call__(self, x: Float[Array, 'N *B C']) -> Float[Array, 'N *B C']:
        scale = self.weight[...] * jax.lax.rsqrt(self.running_var[...] + self.eps)
        return (x - self.running_mean[...]) * scale + self.bias[...]


class PReLU(nnx.Module):
    """Scales what is negative, by a factor of each channel."""

    def __init__(self, channels: int):
        self.weight = nnx.Param(jnp.full(channels, 0.25))

    def __call__(self, x: Float[Array, 'N H W C']) -> Float[Array, 'N H W C']:
        return jnp.where(x > 0, x, self.weight[...] * x)


class Linear(nnx.Module):
    """x [N, I] -> x @ weight + bias [N, O]."""

    def __init__(self, inputs: int, outputs: int):
        self.weight = nnx.Param(jnp.zeros((inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: Float[Array, 'N I']) -> Float[Array, 'N O']:
        return jnp.matmul(x, self.weight[...], precision=PRECISION) + self.bias[...]


def max_pool(x: Float[Array, 'N H W C'], stride: int, padding: int = 0) -> Float[Array, 'N H2 W2 C']:
    """The largest of each 3 x 3 window; padding never is."""
    return _windows(x, jnp.maximum, -np.inf, stride, padding)


def average_pool(x: Float[Array, 'N H W C']) -> Float[Array, 'N H W C']:
    """The mean of what lies inside of the 3 x 3 window about each position: padding is not counted."""
    inside = jnp.asarray(_inside(x.shape[1])[:, None] * _inside(x.shape[2]), x.dtype)
    return _windows(x, jnp.add, 0.0, 1, 1) / inside[..., None]


def _inside(size: int) -> np.ndarray:
    """How many of the three positions about each one lie inside."""
    return np.convolve(np.ones(size), np.ones(3))[1:-1]


def _windows(
    x: Float[Array, 'N H W C'], combine: Callable[[Array, Array], Array], outside: float, stride: int, padding: int
) -> Float[Array, 'N H2 W2 C']:
    """Combines each 3 x 3 window, one axis after the other."""
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)), constant_values=outside)
    for axis in (1, 2):
        stop = x.shape[axis] - 2
        first, second, third = (jax.lax.slice_in_dim(x, start, stop + start, stride, axis) for start in range(3))
        x = combine(combine(first, second), third)
    return x
