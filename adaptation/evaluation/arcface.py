"""ArcFace's IR-SE50: a residual network with squeeze-and-excitation whose embeddings tell faces apart.

Two pictures show the same person when their embeddings point the same way. The weights are those of InsightFace_Pytorch
(`model_ir_se50.pth`), which pSp, StyleCLIP and most measures of identity since use.

Letters: N batch, H and W height and width, R side of the network's input, C channels, E channels of the embedding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jaxtyping import Float

from adaptation.evaluation.layers import PRECISION, BatchNorm, Conv, Linear, PReLU
from adaptation.evaluation.network_files import NetworkConfig, load_network

BATCH_NORM_EPS = 1e-5
SMALLEST_NORM = 1e-12  # of an embedding, below which it is left short
ALIGNED = 256  # pixels: the size at which the crop is defined; pictures are averaged to it first

Crop = tuple[float, float, float, float]  # top, left, bottom, right as shares of the picture
# Rows 35 to 223 and columns 32 to 220 of a picture of 256 in FFHQ's alignment, which makes it resemble the tighter
# alignment of the faces that the network was trained on.
FFHQ_CROP: Crop = (35 / ALIGNED, 32 / ALIGNED, 223 / ALIGNED, 220 / ALIGNED)


@dataclasses.dataclass(frozen=True)
class ArcFaceConfig(NetworkConfig):
    """Sizes; the defaults are those of the published weights."""

    network: ClassVar[str] = 'arcface_ir_se'
    converter: ClassVar[str] = 'python -m convert.arcface'

    resolution: int = 112  # pixels along a side of what the network sees
    units: tuple[int, ...] = (3, 4, 14, 3)  # residual units of each stage, the first of which halves the size
    widths: tuple[int, ...] = (64, 128, 256, 512)  # channels of each stage
    reduction: int = 16  # by which squeeze-and-excitation narrows
    embedding: int = 512  # channels of the result

    def __post_init__(self) -> None:
        numbers = (self.resolution, *self.units, *self.widths, self.reduction, self.embedding)
        if min(numbers) < 1 or not self.units or len(self.units) != len(self.widths):
            raise ValueError(f'sizes must be positive, and units and widths as many, got {self}.')
        if self.resolution % 2 ** len(self.units):
            raise ValueError(f'resolution {self.resolution} cannot be halved {len(self.units)} times.')
        narrow = [width for width in self.widths if width % self.reduction]
        if narrow:
            raise ValueError(f'width {narrow[0]} is not a multiple of reduction {self.reduction}.')

    @property
    def final_side(self) -> int:
        """Pixels along a side of the last stage's activations."""
        return self.resolution // 2 ** len(self.units)


class SqueezeExcitation(nnx.Module):
    """Scales each channel by a factor in (0, 1) that all channels' means decide."""

    def __init__(self, channels: int, reduction: int):
        self.fc1 = Conv(channels, channels // reduction, (1, 1))
        self.fc2 = Conv(channels // reduction, channels, (1, 1))

    def __call__(self, x: Float[Array, 'N H W C']) -> Float[Array, 'N H W C']:
        mean = jnp.mean(x, axis=(1, 2), keepdims=True)
        return x * jax.nn.sigmoid(self.fc2(jax.nn.relu(self.fc1(mean))))


class Subsample(nnx.Module):
    """Every `stride`-th row and column: the published network's max pooling over windows of one."""

    def __init__(self, stride: int):
        self.stride = stride

    def __call__(self, x: Float[Array, 'N H W C']) -> Float[Array, 'N H2 W2 C']:
        return x[:, :: self.stride, :: self.stride]


class Dropout(nnx.Module):
    """Has its place among the published layers, and does nothing once they are trained."""

    def __call__(self, x: Float[Array, 'N H W C']) -> Float[Array, 'N H W C']:
        return x


class Flatten(nnx.Module):
    """All of an image in one row, channel after channel, as the published weights behind it expect."""

    def __call__(self, x: Float[Array, 'N H W C']) -> Float[Array, 'N D']:
        return x.transpose(0, 3, 1, 2).reshape(len(x), -1)  # [N, H, W, C] -> [N, C, H, W] -> [N, C * H * W]


class Unit(nnx.Module):
    """Adds what a 3 x 3 neighbourhood of a 3 x 3 neighbourhood says; may change size and width."""

    def __init__(self, inputs: int, outputs: int, stride: int, reduction: int):
        if inputs == outputs:
            self.shortcut_layer: nnx.Module = Subsample(stride)
        else:
            projection = Conv(inputs, outputs, (1, 1), stride=stride)
            self.shortcut_layer = nnx.List([projection, BatchNorm(outputs, BATCH_NORM_EPS)])
        self.res_layer = nnx.List(
            [
                BatchNorm(inputs, BATCH_NORM_EPS),
                Conv(inputs, outputs, (3, 3), padding=(1, 1)),
                PReLU(outputs),
                Conv(outputs, outputs, (3, 3), stride=stride, padding=(1, 1)),
                BatchNorm(outputs, BATCH_NORM_EPS),
                SqueezeExcitation(outputs, reduction),
            ]
        )

    def __call__(self, x: Float[Array, 'N H W I']) -> Float[Array, 'N H2 W2 O']:
        shortcut = self.shortcut_layer
        return _run(self.res_layer, x) + (_run(shortcut, x) if isinstance(shortcut, nnx.List) else shortcut(x))


class ArcFace(nnx.Module):
    """Faces -> embeddings of length 1, whose dot product is the similarity of the persons."""

    def __init__(self, config: ArcFaceConfig):
        first, last = config.widths[0], config.widths[-1]
        self.input_layer = nnx.List(
            [Conv(3, first, (3, 3), padding=(1, 1)), BatchNorm(first, BATCH_NORM_EPS), PReLU(first)]
        )
        units = []
        inputs = first
        for count, width in zip(config.units, config.widths, strict=True):
            for index in range(count):
                units.append(Unit(inputs, width, 1 if index else 2, config.reduction))
                inputs = width
        self.body = nnx.List(units)
        self.output_layer = nnx.List(
            [
                BatchNorm(last, BATCH_NORM_EPS),
                Dropout(),
                Flatten(),
                Linear(last * config.final_side**2, config.embedding),
                BatchNorm(config.embedding, BATCH_NORM_EPS),
            ]
        )
        self.config = config

    def __call__(self, images: Float[Array, 'N H W 3'], crop: Crop | None = FFHQ_CROP) -> Float[Array, 'N E']:
        """The embeddings, E = 512, each of length 1.

        Args:
          images: [N, H, W, 3] RGB in [-1, 1], square, one face each; what lies outside the range is clipped, as it
            would be in a picture file.
          crop: see `see`.
        """
        x = _run(self.output_layer, self.stages(self.see(images, crop))[-1])
        return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), SMALLEST_NORM)

    def stages(self, pixels: Float[Array, 'N R R 3']) -> list[Float[Array, 'N ...']]:
        """The activations after the input layer and after each unit."""
        activations = [_run(self.input_layer, pixels)]
        for unit in self.body:
            activations.append(unit(activations[-1]))
        return activations

    def see(self, images: Float[Array, 'N H W 3'], crop: Crop | None = FFHQ_CROP) -> Float[Array, 'N R R 3']:
        """What the network sees of a picture.

        Args:
          images: [N, H, W, 3] in [-1, 1]; clipped to it.
          crop: (top, left, bottom, right) as shares of the picture. As in published measures, the picture is averaged
            to 256 x 256, cut at whole pixels of that, and averaged to what the network takes, 112 x 112 (PyTorch's
            adaptive average pooling, both times). None: the picture is a face in the network's own alignment, and is
            averaged to that size as it is.

        Raises:
          ValueError: the crop is empty or does not lie within the picture.
        """
        top, left, bottom, right = (0.0, 0.0, 1.0, 1.0) if crop is None else crop
        if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
            raise ValueError(f'crop must be shares (top, left, bottom, right) of a picture, got {crop}.')
        side = self.config.resolution
        aligned = None if crop is None else ALIGNED
        rows = _view(images.shape[1], side, aligned, top, bottom)
        columns = _view(images.shape[2], side, aligned, left, right)
        x = jnp.clip(jnp.asarray(images, jnp.float32), -1.0, 1.0)
        return jnp.einsum('rh,nhwc,sw->nrsc', rows, x, columns, precision=PRECISION)


def build_arcface(config: ArcFaceConfig) -> ArcFace:
    """A network of this config, without weights yet."""
    return ArcFace(config)


def load_arcface(directory: str | Path) -> ArcFace:
    """Reads a checkpoint that `python -m convert.arcface` wrote.

    Raises:
      FileNotFoundError: the directory lacks `config.json` or `weights.safetensors`.
      ValueError: it is of another network, or the weights are damaged or do not fit the config.
    """
    return load_network(directory, ArcFaceConfig, build_arcface)


def _run(layers: Iterable[Any], x: Array) -> Array:
    for layer in layers:
        x = layer(x)
    return x


def _view(size: int, side: int, aligned: int | None, start: float, stop: float) -> Float[np.ndarray, 'side size']:
    """The weights along one axis of averaging to `aligned` (None: not), cutting, and averaging to `side`."""
    if aligned is None:
        return _averages(size, side)
    first, last = round(start * aligned), round(stop * aligned)
    if first == last:
        raise ValueError(f'crop leaves no pixel of {aligned} between {start} and {stop}.')
    return _averages(last - first, side) @ _averages(size, aligned)[first:last]


def _averages(size: int, side: int) -> Float[np.ndarray, 'side size']:
    """The weights of PyTorch's adaptive average pooling along one axis: windows that overlap where sizes do not fit."""
    weights = np.zeros((side, size), np.float32)
    for index, row in enumerate(weights):
        window = slice(index * size // side, -(-(index + 1) * size // side))
        row[window] = 1 / (window.stop - window.start)
    return weights
