"""What drawing styles share: edges of the buffers, lines of varying width along them, noise, tones and paper.

Lengths are shares of the picture's width, so a drawing looks the same at every resolution. Letters: N heads, R pixels
along a side.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from miniature.world.anatomy import Part
from miniature.world.trace import Buffers
from miniature.world.vectors import smoothstep

_STEP = 0.010  # world units by which a surface must jump to be outlined against itself
_CREASE = 0.55  # cosine of the angle at which a surface is outlined where it bends
_SPREAD = 0.0075  # standard deviation of the blur that lines grow from, as a share of the width

Image = Float[Array, 'N R R 3']
Map = Float[Array, 'N R R']


def luminance(image: Image) -> Map:
    return image @ jnp.asarray([0.30, 0.59, 0.11])


def blend(image: Image, colour: Array | tuple[float, float, float], amount: Map) -> Image:
    """Paints over an image with a colour or another image."""
    return image + (jnp.asarray(colour) - image) * amount[..., None]


def saturate(image: Image, factor: float) -> Image:
    grey = luminance(image)[..., None]
    return jnp.clip(grey + (image - grey) * factor, 0.0, 1.0)


def is_part(seen: Buffers, *parts: Part) -> Bool[Array, 'N R R']:
    mask = jnp.zeros(seen.part.shape, bool)
    for part in parts:
        mask |= seen.part == int(part)
    return mask


def edges(seen: Buffers, without: tuple[Part, ...] = (Part.GLASSES,)) -> tuple[Map, Map]:
    """Returns one-pixel edges in {0, 1}: those of the silhouette, and those inside of it.

    Inner edges are borders of parts, jumps in depth and creases. The parts of `without` have none: what is as thin as a
    frame of glasses would become a blob between two lines.
    """
    quiet = is_part(seen, *without)
    outer, inner = jnp.zeros(seen.depth.shape), jnp.zeros(seen.depth.shape)
    for axis in (1, 2):
        silhouette, inside = _steps(seen, quiet, axis)
        padding = [(0, 0)] * 3
        padding[axis] = (0, 1)
        outer = jnp.maximum(outer, jnp.pad(silhouette, padding))
        inner = jnp.maximum(inner, jnp.pad(inside, padding))
    return outer, inner


def _steps(seen: Buffers, quiet: Array, axis: int) -> tuple[Array, Array]:
    """Edges between each pixel and the next one along an axis."""

    def pair(values: Array) -> tuple[Array, Array]:
        size = values.shape[axis]
        return jax.lax.slice_in_dim(values, 0, size - 1, axis=axis), jax.lax.slice_in_dim(values, 1, size, axis=axis)

    (mask, next_mask), (part, next_part) = pair(seen.mask), pair(seen.part)
    (normal, next_normal), (point, next_point) = pair(seen.normal), pair(seen.point)
    (hushed, next_hushed), away = pair(quiet), next_point - point
    jump = jnp.abs(jnp.sum(normal * away, -1)) + jnp.abs(jnp.sum(next_normal * away, -1))
    bend = jnp.sum(normal * next_normal, -1)
    heard = ~(hushed | next_hushed)
    inside = mask & next_mask & heard & ((part != next_part) | (jump > 2.0 * _STEP) | (bend < _CREASE))
    return ((mask != next_mask) & heard).astype(jnp.float32), inside.astype(jnp.float32)


def borders(index: Int[Array, 'N R R']) -> Map:
    """One-pixel edges between areas of different index."""
    down = jnp.pad(index[:, 1:] != index[:, :-1], ((0, 0), (0, 1), (0, 0)))
    right = jnp.pad(index[:, :, 1:] != index[:, :, :-1], ((0, 0), (0, 0), (0, 1)))
    return (down | right).astype(jnp.float32)


def lines(edge: Map, width: Map | Float[Array, ''] | float) -> Map:
    """Returns the coverage in [0, 1] of antialiased lines along one-pixel edges.

    Args:
      edge: in [0, 1].
      width: of the lines, in pixels of a picture of 128 pixels.
    """
    size = edge.shape[1]
    sigma = _SPREAD * size
    soft = blur(edge, sigma) * (np.sqrt(2.0 * np.pi) * sigma)  # 1 on a straight edge, exp(-d^2 / 2 sigma^2) beside it
    away = sigma * jnp.sqrt(jnp.maximum(-2.0 * jnp.log(jnp.clip(soft, 1e-4, 1.0)), 0.0))
    half = 0.5 * jnp.asarray(width) * size / 128.0
    return smoothstep(half + 0.7, half - 0.7, away)


def blur(image: Array, sigma: float) -> Array:
    """Gaussian blur over the axes 1 and 2; `sigma` in pixels."""
    reach = max(1, int(np.ceil(2.6 * sigma)))
    taps = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / sigma))
    taps /= taps.sum()
    for axis in (1, 2):
        size = image.shape[axis]
        padding = [(0, 0)] * image.ndim
        padding[axis] = (reach, reach)
        padded = jnp.pad(image, padding, mode='edge')
        shifted = [jax.lax.slice_in_dim(padded, shift, shift + size, axis=axis) for shift in range(len(taps))]
        image = functools.reduce(jnp.add, [float(tap) * part for tap, part in zip(taps, shifted, strict=True)])
    return image


def noise(point: Image, frequency: float) -> Map:
    """A smooth function of world points in [-1, 1], so that what follows it sticks to the surface."""
    x, y, z = (point[..., axis] * frequency for axis in range(3))
    first = jnp.sin(x + 1.7 * jnp.sin(0.9 * y + 0.4 * z)) * jnp.sin(1.1 * y - 1.3 * jnp.sin(0.8 * x + z))
    return 0.6 * first + 0.4 * jnp.sin(1.9 * (x - y) + 2.3 * jnp.sin(1.2 * z + 0.7 * x))


def paper(shape: tuple[int, ...], colour: tuple[float, float, float], grain: float) -> Image:
    """A sheet of paper: a colour with soft fibres, the same in every picture."""
    n, size = shape[0], shape[1]
    v, u = np.meshgrid(*[(np.arange(size) + 0.5) / size * 128.0] * 2, indexing='ij')
    fibres = np.sin(0.9 * u + 2.0 * np.sin(0.31 * v)) * np.sin(0.8 * v + 2.4 * np.sin(0.27 * u + 1.0))
    fibres = fibres + 0.6 * np.sin(1.7 * v - 0.6 * u + 1.5 * np.sin(0.5 * u))
    sheet = np.asarray(colour) * (1.0 + grain * fibres[..., None])
    return jnp.broadcast_to(jnp.asarray(np.clip(sheet, 0.0, 1.0), jnp.float32), (n, size, size, 3))


def hatching(coordinate: Map, period: float, tone: Map) -> Map:
    """Returns the coverage of strokes along the level lines of a coordinate: none at tone 0, broad ones at tone 1."""
    phase = jnp.abs(coordinate / period - jnp.round(coordinate / period)) * 2.0  # 0 on a stroke, 1 between two
    reach = 0.62 * jnp.clip(tone, 0.0, 1.0)
    return smoothstep(reach + 0.22, reach - 0.22, phase) * smoothstep(0.02, 0.18, tone)
