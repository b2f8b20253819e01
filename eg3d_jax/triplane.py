"""Tri-planes: sampling features at world points, and Tri-D, the decoder that turns them into colour and density.

Letters: N batch, H and W texels of a plane, C channels of a plane, P points, F colour features.
"""

from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from eg3d_jax.config import GeneratorConfig
from eg3d_jax.layers import FullyConnected, softplus

# Which coordinates index the (columns, rows) of each plane. The third plane is (z, x) and not (y, z): the published
# weights were trained with this.
PLANE_AXES = ((0, 1), (0, 2), (2, 0))

# The sigmoid is widened a little, so that black and white are reached with finite activations.
COLOUR_SCALE = 1.002
COLOUR_OFFSET = -0.001

# Points of a block of the planes' gradient on a CPU: few enough for its intermediate arrays to stay in the cache, where
# the scattered additions run six times as fast.
SCATTER_BLOCK = 1024


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def sample_planes(
    planes: Float[Array, 'N 3 H W C'], points: Float[Array, 'N P 3'], box_warp: float
) -> Float[Array, 'N P C']:
    """Features at world points: the mean of the three planes' bilinear samples.

    The planes span the cube of side `box_warp` around the origin. Texel centres lie half a texel inside its faces;
    beyond the outermost centres the samples fade to zero, and stay zero from half a texel outside the cube on.
    Reverse-mode differentiable; the gradient of points that are constants, as in rendering, is compiled away.
    """
    return _sample(planes, points, box_warp)


def _sample(planes: Array, points: Array, box_warp: float) -> Array:
    n, _, height, width, channels = planes.shape
    padded = jnp.pad(planes, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)))
    texels = padded.reshape(n, -1, channels)  # N 3 H+2 W+2 C -> N T C
    total = jnp.zeros((), planes.dtype)
    for index, weight in _corners(points, height, width, box_warp):
        total = total + jax.vmap(_take_rows)(texels, index) * weight[..., None]
    return total


def _sample_forward(planes: Array, points: Array, box_warp: float) -> tuple[Array, tuple[Array, Array]]:
    return sample_planes(planes, points, box_warp), (planes, points)


def _sample_backward(box_warp: float, residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    planes, points = residuals
    n, _, height, width, channels = planes.shape
    texels_per_sample = 3 * (height + 2) * (width + 2)
    first_texel = texels_per_sample * jnp.repeat(jnp.arange(n), points.shape[1])

    def add(texels: Array, gradient: Array, points: Array, first_texel: Array) -> Array:
        for index, weight in _corners(points, height, width, box_warp):
            texels = texels.at[first_texel + index].add(gradient * weight[..., None], mode='promise_in_bounds')
        return texels

    arguments = (
        jnp.zeros((n * texels_per_sample, channels), gradient.dtype),
        gradient.reshape(-1, channels),  # N P C -> (N P) C
        points.reshape(-1, 3),
        first_texel,
    )
    texels = jax.lax.platform_dependent(*arguments, cpu=partial(_in_blocks, add), default=add)
    padded = texels.reshape(n, 3, height + 2, width + 2, channels)
    (points_gradient,) = jax.vjp(lambda points: _sample(planes, points, box_warp), points)[1](gradient)
    return padded[:, :, 1:-1, 1:-1], points_gradient


sample_planes.defvjp(_sample_forward, _sample_backward)


def _in_blocks(add: Callable[..., Array], total: Array, *arrays: Array) -> Array:
    """add(total, *arrays), a block of rows at a time. The last block is filled up with zeros, which add nothing."""
    rows = arrays[0].shape[0]
    blocks = -(-rows // SCATTER_BLOCK)
    missing = blocks * SCATTER_BLOCK - rows
    parts = [
        jnp.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1)).reshape(blocks, SCATTER_BLOCK, *array.shape[1:])
        for array in arrays
    ]
    return jax.lax.scan(lambda total, part: (add(total, *part), None), total, parts)[0]


def _corners(points: Array, height: int, width: int, box_warp: float) -> Iterator[tuple[Array, Array]]:
    """(index, weight) of each of the twelve texels behind a point: four of each plane, padded by a texel of zeros."""
    coordinates = points * (2.0 / box_warp)  # [-1, 1] inside the cube
    for plane, (column_axis, row_axis) in enumerate(PLANE_AXES):
        column, right = _texel(coordinates[..., column_axis], width)
        row, lower = _texel(coordinates[..., row_axis], height)
        upper_left = (plane * (height + 2) + row) * (width + 2) + column
        for row_step, row_weight in ((0, 1.0 - lower), (1, lower)):
            for column_step, column_weight in ((0, 1.0 - right), (1, right)):
                index = upper_left + row_step * (width + 2) + column_step
                yield index, row_weight * column_weight / len(PLANE_AXES)


def _texel(coordinate: Array, size: int) -> tuple[Array, Array]:
    """(index of the left or upper texel in an axis padded by one zero on either side, weight of its successor)."""
    position = jnp.clip((coordinate + 1.0) * (0.5 * size) - 0.5, -1.0, size)
    first = jnp.minimum(jnp.floor(position), size - 1.0)
    return first.astype(jnp.int32) + 1, position - first


def _take_rows(table: Array, index: Array) -> Array:
    return table.at[index].get(mode='promise_in_bounds')


class TriPlaneDecoder(nnx.Module):
    """Tri-D: plane feature -> (colour features in about [0, 1], density before any activation)."""

    def __init__(self, config: GeneratorConfig, *, rngs: nnx.Rngs):
        settings = config.decoder
        linear = partial(FullyConnected, rngs=rngs, learning_rate_multiplier=settings.learning_rate_multiplier)
        layers: list[Callable[[Array], Array]] = [
            linear(config.backbone.plane_channels, settings.hidden_channels),
            softplus,
            linear(settings.hidden_channels, 1 + settings.feature_channels),
        ]
        self.net = nnx.List(layers)

    def __call__(self, features: Float[Array, '*p C']) -> tuple[Float[Array, '*p F'], Float[Array, '*p']]:
        x = features
        for layer in self.net:
            x = layer(x)
        return jax.nn.sigmoid(x[..., 1:]) * COLOUR_SCALE + COLOUR_OFFSET, x[..., 0]
