"""The blocks of InceptionV3, in the form that the Fréchet distance's network has.

Names of attributes are those of the published weights, which are torchvision's. Branches are concatenated in the order
of the returned expressions.

Letters: N batch, H and W height and width, I and O input and output channels.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float

from adaptation.evaluation.layers import BatchNorm, Conv, Pair, average_pool, max_pool

BATCH_NORM_EPS = 1e-3  # TensorFlow's, from which the weights come; PyTorch's own is 1e-5

Image = Float[Array, 'N H W _']


class ConvBlock(nnx.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int | Pair = 1,
        *,
        stride: int = 1,
        padding: int | Pair = 0,
    ):
        self.conv = Conv(inputs, outputs, _pair(size), stride=stride, padding=_pair(padding))
        self.bn = BatchNorm(outputs, BATCH_NORM_EPS)

    def __call__(self, x: Float[Array, 'N H W I']) -> Float[Array, 'N H2 W2 O']:
        return jax.nn.relu(self.bn(self.conv(x)))


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else value


Width = Callable[[int], int]  # from the published number of channels to this network's


class InceptionA(nnx.Module):
    """1 x 1, 5 x 5, two 3 x 3, and pooled; keeps the size."""

    def __init__(self, inputs: int, pooled: int, width: Width):
        self.branch1x1 = ConvBlock(inputs, width(64))
        self.branch5x5_1 = ConvBlock(inputs, width(48))
        self.branch5x5_2 = ConvBlock(width(48), width(64), 5, padding=2)
        self.branch3x3dbl_1 = ConvBlock(inputs, width(64))
        self.branch3x3dbl_2 = ConvBlock(width(64), width(96), 3, padding=1)
        self.branch3x3dbl_3 = ConvBlock(width(96), width(96), 3, padding=1)
        self.branch_pool = ConvBlock(inputs, width(pooled))
        self.outputs = width(64 + 64 + 96 + pooled)

    def __call__(self, x: Float[Array, 'N H W I']) -> Float[Array, 'N H W O']:
        return _concatenate(
            self.branch1x1(x),
            self.branch5x5_2(self.branch5x5_1(x)),
            self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
            self.branch_pool(average_pool(x)),
        )


class InceptionB(nnx.Module):
    """3 x 3, two 3 x 3, and pooled; halves the size."""

    def __init__(self, inputs: int, width: Width):
        self.branch3x3 = ConvBlock(inputs, width(384), 3, stride=2)
        self.branch3x3dbl_1 = ConvBlock(inputs, width(64))
        self.branch3x3dbl_2 = ConvBlock(width(64), width(96), 3, padding=1)
        self.branch3x3dbl_3 = ConvBlock(width(96), width(96), 3, stride=2)
        self.outputs = width(384 + 96) + inputs

    def __call__(self, x: Float[Array, 'N H W I']) -> Float[Array, 'N H2 W2 O']:
        return _concatenate(
            self.branch3x3(x),
            self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
            max_pool(x, stride=2),
        )


class InceptionC(nnx.Module):
    """1 x 1, 7 x 7 once and twice (each as a row and a column), and pooled; keeps the size."""

    def __init__(self, inputs: int, narrow: int, width: Width):
        n = width(narrow)
        self.branch1x1 = ConvBlock(inputs, width(192))
        self.branch7x7_1 = ConvBlock(inputs, n)
        self.branch7x7_2 = ConvBlock(n, n, (1, 7), padding=(0, 3))
        self.branch7x7_3 = ConvBlock(n, width(192), (7, 1), padding=(3, 0))
        self.branch7x7dbl_1 = ConvBlock(inputs, n)
        self.branch7x7dbl_2 = ConvBlock(n, n, (7, 1), padding=(3, 0))
        self.branch7x7dbl_3 = ConvBlock(n, n, (1, 7), padding=(0, 3))
        self.branch7x7dbl_4 = ConvBlock(n, n, (7, 1), padding=(3, 0))
        self.branch7x7dbl_5 = ConvBlock(n, width(192), (1, 7), padding=(0, 3))
        self.branch_pool = ConvBlock(inputs, width(192))
        self.outputs = width(4 * 192)

    def __call__(self, x: Float[Array, 'N H W I']) -> Float[Array, 'N H W O']:
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        return _concatenate(
            self.branch1x1(x),
            self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x))),
            self.branch7x7dbl_5(self.branch7x7dbl_4(twice)),
            self.branch_pool(average_pool(x)),
        )


class InceptionD(nnx.Module):
    """3 x 3, 7 x 7 and 3 x 3, and pooled; halves the size."""

    def __init__(self, inputs: int, width: Width):
        self.branch3x3_1 = ConvBlock(inputs, width(192))
        self.branch3x3_2 = ConvBlock(width(192), width(320), 3, stride=2)
        self.branch7x7x3_1 = ConvBlock(inputs, width(192))
        self.branch7x7x3_2 = ConvBlock(width(192), width(192), (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = ConvBlock(width(192), width(192), (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = ConvBlock(width(192), width(192), 3, stride=2)
        self.outputs = width(320 + 192) + inputs

    def __call__(self, x: Float[Array, 'N H W I']) -> Float[Array, 'N H2 W2 O']:
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        return _concatenate(
            self.branch3x3_2(self.branch3x3_1(x)),
            self.branch7x7x3_4(seven),
            max_pool(x, stride=2),
        )


class InceptionE(nnx.Module):
    """1 x 1, 3 x 3 once and twice (the last as a row beside a column), and pooled; keeps the size.

    The two blocks of the published network pool differently: the first takes the mean, the last one the maximum, which
    TensorFlow's network of 2015 does and torchvision's does not.
    """

    def __init__(self, inputs: int, width: Width, *, pool_maximum: bool):
        self.branch1x1 = ConvBlock(inputs, width(320))
        self.branch3x3_1 = ConvBlock(inputs, width(384))
        self.branch3x3_2a = ConvBlock(width(384), width(384), (1, 3), padding=(0, 1))
        self.branch3x3_2b = ConvBlock(width(384), width(384), (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = ConvBlock(inputs, width(448))
        self.branch3x3dbl_2 = ConvBlock(width(448), width(384), 3, padding=1)
        self.branch3x3dbl_3a = ConvBlock(width(384), width(384), (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = ConvBlock(width(384), width(384), (3, 1), padding=(1, 0))
        self.branch_pool = ConvBlock(inputs, width(192))
        self.pool_maximum = pool_maximum
        self.outputs = width(320 + 4 * 384 + 192)

    def __call__(self, x: Float[Array, 'N H W I']) -> Float[Array, 'N H W O']:
        once = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = max_pool(x, stride=1, padding=1) if self.pool_maximum else average_pool(x)
        return _concatenate(
            self.branch1x1(x),
            self.branch3x3_2a(once),
            self.branch3x3_2b(once),
            self.branch3x3dbl_3a(twice),
            self.branch3x3dbl_3b(twice),
            self.branch_pool(pooled),
        )


def _concatenate(*branches: Image) -> Image:
    return jnp.concatenate(branches, axis=-1)
