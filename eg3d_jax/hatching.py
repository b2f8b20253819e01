"""Hatching: noise that lies on surfaces, where they are dark. Ours; the published networks have none.

Where StyleGAN2's noise is switched on in G2, it is fixed to the picture: a head that turns moves under it as under a
dirty pane. EG3D leaves it off, and so G2 cannot draw what is finer than its feature image, such as hatching. Here each
layer's stored noise is fixed in space instead: it is looked up where the ray through a pixel meets the scene, drawn out
to diagonal strokes that alternate with gaps, as in hatching: the broad smears that noise also holds are taken out. As a
draughtsman's, strokes are the stronger the darker the raw image is, and paper that is bare has none; nor has what lies
at the border of the tri-planes' cube, where backgrounds are: a wall may be dark, and is paper in a drawing. What they
look like beyond that, and whether they are seen at all, the layers' weights decide.

N batch, H and W height and width, R side of a stored noise; points are in units of the tri-planes' cube (box warp).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

STROKE = 8.0  # length of a stroke, in widths
PRESENT, ABSENT = 0.42, 0.47  # from the cube's centre, in its sides: how far strokes are whole, and where they end
HALF = 0.2  # how dark a raw image is where strokes have half of their strength; white is 0, black 2


class Surface(NamedTuple):
    """What pixels see.

    Attributes:
        points: where their rays meet the scene, in units of the cube.
        tone: the share of their strength that strokes have there, in [0, 1); see `tone`.
    """

    points: Float[Array, 'N H W 3']
    tone: Float[Array, 'N H W 1']

    def resized(self, size: tuple[int, int]) -> 'Surface':
        """What the pixels of another resolution see."""
        return Surface(*(_resized(one, size) for one in self))


def tone(image_raw: Float[Array, 'N H W 3']) -> Float[Array, 'N H W 1']:
    """The strength of strokes over a raw image in [-1, 1]: 0 where it is white, 0.5 where it is `HALF` dark, and 0.91
    where it is black: a drawing's hair and clothes are pale here, but not as pale as its paper."""
    darkness = jnp.maximum(1 - jnp.mean(image_raw, axis=-1, keepdims=True), 0)
    return darkness / (darkness + HALF)


def presence(points: Float[Array, 'N H W 3']) -> Float[Array, 'N H W 1']:
    """The strength of strokes by the distance of points from the cube's centre: 1 up to `PRESENT`, 0 from `ABSENT` on.

    Args:
        points: in units of the cube.
    """
    squared = jnp.sum(jnp.square(points), axis=-1, keepdims=True)
    distance = jnp.sqrt(jnp.maximum(squared, PRESENT**2))  # the root of 0 has no derivative
    return jnp.clip((ABSENT - distance) / (ABSENT - PRESENT), 0, 1)


def is_strength(name: str) -> bool:
    """Whether the leaf of this name (`weight_names`) is a strength of G2's noise, or holds domains' parts of one."""
    return name.startswith('superresolution.') and '.noise_strength' in name


def hatching(noise: Float[Array, 'R R'], surface: Surface) -> Float[Array, 'N H W 1']:
    """The strokes that pixels see: `strokes` by the surface's tone and `presence`.

    Args:
        noise: a layer's stored noise.
        surface: of the layer's resolution.
    """
    return surface.tone * presence(surface.points) * strokes(noise, surface.points)


def strokes(noise: Float[Array, 'R R'], points: Float[Array, 'N H W 3']) -> Float[Array, 'N H W 1']:
    """The noise at points: R strokes or gaps to the side of the cube, repeated beyond it, and the same at all depths z.

    Args:
        noise: a layer's stored noise.
        points: in units of the cube.
    """
    x, y = points[..., 0], points[..., 1]
    across, along = (x + y) / math.sqrt(2.0), (x - y) / math.sqrt(2.0)
    return _bilinear(alternating(noise), across, along / STROKE)[..., None]


def alternating(noise: Float[Array, 'R R']) -> Float[Array, 'R R']:
    """Noise less the mean of its neighbours in a row, the first and the last of which are neighbours too; of normal
    noise, the variance stays 1."""
    return (noise - (jnp.roll(noise, 1, axis=1) + jnp.roll(noise, -1, axis=1)) / 2) / math.sqrt(1.5)


def _resized(seen: Float[Array, 'N h w C'], size: tuple[int, int]) -> Float[Array, 'N H W C']:
    if seen.shape[1:3] == size:
        return seen
    return jax.image.resize(seen, (seen.shape[0], *size, seen.shape[3]), 'linear')


def _bilinear(noise: Float[Array, 'R R'], x: Float[Array, '*B'], y: Float[Array, '*B']) -> Float[Array, '*B']:
    """The noise at (x, y), in sides of its square, at whose borders it begins anew."""
    side = noise.shape[0]
    column, row = x * side, y * side
    left, upper = jnp.floor(column), jnp.floor(row)
    right_share, lower_share = column - left, row - upper
    columns = [(left.astype(jnp.int32) + step) % side for step in (0, 1)]
    rows = [(upper.astype(jnp.int32) + step) % side for step in (0, 1)]
    above, below = (noise[at, columns[0]] * (1 - right_share) + noise[at, columns[1]] * right_share for at in rows)
    return above * (1 - lower_share) + below * lower_share
