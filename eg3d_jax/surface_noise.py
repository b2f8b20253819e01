"""Noise that lies on surfaces: pencil strokes that turn with the head. Ours; the published networks have none.

Where StyleGAN2's noise is switched on in G2, it is fixed to the picture: a head that turns moves under it as under a
dirty pane. EG3D leaves it off, and so G2 cannot draw what is finer than its feature image, such as hatching. Here each
layer's stored noise is fixed in space instead: it is looked up where the ray through a pixel meets the scene, drawn out
to diagonal strokes that alternate with gaps, as in hatching: the broad smears that noise also holds are taken out. What
the strokes look like, and where they are seen at all, the layers' weights decide.

N batch, H and W height and width, R side of a stored noise; points are in units of the tri-planes' cube (box warp).
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

STROKE = 8.0  # length of a stroke, in widths


def is_strength(name: str) -> bool:
    """Whether the leaf of this name (`weight_names`) is a strength of G2's noise, or holds domains' parts of one."""
    return name.startswith('superresolution.') and '.noise_strength' in name


def surface_noise(noise: Float[Array, 'R R'], points: Float[Array, 'N H W 3']) -> Float[Array, 'N H W 1']:
    """The noise at points: R strokes or gaps to the side of the cube, repeated beyond it, and the same at all depths z.

    Args:
        noise: a layer's stored noise.
        points: what the pixels see, see `resized_points`.
    """
    x, y = points[..., 0], points[..., 1]
    across, along = (x + y) / math.sqrt(2.0), (x - y) / math.sqrt(2.0)
    return _bilinear(alternating(noise), across, along / STROKE)[..., None]


def alternating(noise: Float[Array, 'R R']) -> Float[Array, 'R R']:
    """Noise less the mean of its neighbours in a row, the first and the last of which are neighbours too; of normal
    noise, the variance stays 1."""
    return (noise - (jnp.roll(noise, 1, axis=1) + jnp.roll(noise, -1, axis=1)) / 2) / math.sqrt(1.5)


def resized_points(points: Float[Array, 'N h w 3'], size: tuple[int, int]) -> Float[Array, 'N H W 3']:
    """The points that the pixels of another resolution see."""
    if points.shape[1:3] == size:
        return points
    return jax.image.resize(points, (points.shape[0], *size, 3), 'linear')


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
