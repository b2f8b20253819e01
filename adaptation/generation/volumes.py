"""A generator's density on a grid, and what of it is the head: a field that is positive inside and zero at its surface.

A generator fills its whole box: around the head is a background (the miniature's is a coloured shell, a photograph's
whatever stood behind). What counts as the head is the largest connected piece of what is denser than the level and lies
inside of a sphere around the box's middle; cavities inside of it are filled, and the steps that the planes' texels
leave are smoothed. Where no camera saw it, it is closed as `closing` says.

R points of a side of the grid, ordered [x, y, z]; P points.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import ndimage

from adaptation.errors import AdaptationError
from adaptation.generation.closing import close, largest_piece
from adaptation.generation.defaults import LARGEST_DEFAULT_GRID
from eg3d_jax import TriPlaneGenerator, sample_planes
from eg3d_jax.volume_rendering import DENSITY_SHIFT

INSET = 1.5  # grid steps from the faces of the box at which everything ends, so that the surface is closed
SMOOTHING = 1.0  # grid steps, standard deviation: planes two steps a texel wide leave terraces of about this size

Tick = Callable[[], None]


class MeshError(AdaptationError):
    """There is no surface where one was looked for."""


class Volume(NamedTuple):
    """field: in [-1, 1], positive inside of the head. side: of the cube around the origin that the grid spans."""

    field: Float[np.ndarray, 'R R R']
    side: float

    @property
    def step(self) -> float:
        """Distance of neighbouring points, in world units."""
        return self.side / (len(self.field) - 1)

    def grid_place(self, points: Float[np.ndarray, '*P 3']) -> Float[np.ndarray, '*P 3']:
        """World points in steps of the grid."""
        return (points + self.side / 2) / self.step


def default_resolution(generator: TriPlaneGenerator) -> int:
    """Two grid points a texel of the planes, which is what they can show; no more than is quickly done."""
    return min(2 * generator.config.backbone.resolution, LARGEST_DEFAULT_GRID)


def steps_of_sampling(generator: TriPlaneGenerator, resolution: int) -> int:
    """How often `sample_density` calls its `tick`."""
    return -(-resolution // _slabs(generator, resolution))


def sample_density(
    generator: TriPlaneGenerator, planes: Float[Array, '1 3 H W C'], resolution: int, tick: Tick
) -> Float[np.ndarray, 'R R R']:
    """Densities before any activation, on a grid from face to face of the generator's box.

    Args:
        tick: called after each part.
    """
    side = generator.config.rendering.box_warp
    axis = np.linspace(-side / 2, side / 2, resolution, dtype=np.float32)
    slabs, parts = _slabs(generator, resolution), []
    for start in range(0, resolution, slabs):
        rows = np.minimum(np.arange(start, start + slabs), resolution - 1)
        points = np.stack(np.meshgrid(axis[rows], axis, axis, indexing='ij'), axis=-1).reshape(1, -1, 3)
        _, density = query(generator, planes, jnp.asarray(points))
        parts.append(np.asarray(density).reshape(slabs, resolution, resolution))
        tick()
    return np.concatenate(parts)[:resolution]


@jax.jit
def query(generator: TriPlaneGenerator, planes: Array, points: Array) -> tuple[Array, Array]:
    """(colour in about [0, 1] [1, P, 3], density before any activation [1, P]) of one head at world points."""
    features = sample_planes(planes, points, generator.config.rendering.box_warp)
    colours, density = generator.decoder(features)
    return colours[..., :3], density


def enclose(
    density: Float[np.ndarray, 'R R R'],
    side: float,
    level: float,
    crop: float,
    cameras: Float[np.ndarray, 'V 25'] | None = None,
) -> Volume:
    """The head's volume; see the top of this file.

    Args:
        density: before any activation, on a grid from face to face of the cube.
        side: of the cube, in world units.
        level: density of the surface after the activation, in 1 / world unit.
        crop: radius of the sphere, in halves of the side; above 1, the faces of the cube cut as well.
        cameras: what they do not see is closed; see `closing.close`. None: the density is believed everywhere.

    Raises:
        MeshError: nothing in there is denser than the level.
    """
    resolution = len(density)
    raw_level = level + np.log(-np.expm1(-level)) - DENSITY_SHIFT  # whose softplus is the level
    axis = np.linspace(-1.0, 1.0, resolution, dtype=np.float32)
    squares = np.square(axis)
    radius = np.sqrt(squares[:, None, None] + squares[:, None] + squares)
    farthest = np.maximum(np.maximum(np.abs(axis)[:, None, None], np.abs(axis)[:, None]), np.abs(axis))
    step = 2.0 / (resolution - 1)
    inside = np.minimum(crop - radius, 1.0 - INSET * step - farthest) / step
    spread = max(float(np.std(density)), np.finfo(np.float32).tiny)
    field = np.clip(np.minimum((density - raw_level) / spread, inside), -1.0, 1.0).astype(np.float32)
    if cameras is not None:
        extinction = np.logaddexp(0.0, density + DENSITY_SHIFT).astype(np.float32)
        field = np.clip(np.minimum(close(field, extinction, side, crop, cameras), inside), -1.0, 1.0)
    field = ndimage.gaussian_filter(field.astype(np.float32), SMOOTHING, mode='nearest')
    if not (field > 0).any():
        densest = float(np.logaddexp(0.0, density[inside > 0].max(initial=-np.inf) + DENSITY_SHIFT))
        raise MeshError(
            f'nothing in the crop is denser than {level:g}, the densest point has {densest:.3g}: '
            'give a lower --mesh-level or a larger --mesh-crop.'
        )
    return Volume(_one_solid(field), side)


def _one_solid(field: Float[np.ndarray, 'R R R']) -> Float[np.ndarray, 'R R R']:
    """The field with nothing but its largest piece (pieces touch by faces), and that without cavities."""
    largest = largest_piece(field > 0)
    filled = ndimage.binary_fill_holes(largest)
    alone = np.where((field > 0) & ~largest, np.float32(-1.0), field)
    return np.where(filled & ~largest, np.float32(1.0), alone)


def _slabs(generator: TriPlaneGenerator, resolution: int) -> int:
    """How many layers of the grid are sampled at once."""
    return int(np.clip(generator.config.rendering.max_points // resolution**2, 1, resolution))
