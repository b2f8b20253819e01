"""Casting rays into the world, and asking it about points.

Letters: N heads, R pixels along a side (after supersampling), P points.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from miniature.world.anatomy import Landmarks, Part, landmarks, solids
from miniature.world.latent import Heads
from miniature.world.light import gloss, openness, shade
from miniature.world.paint import paint, strand_pattern
from miniature.world.scene import Scene, assemble, first_hit, nearest_surface, smooth_skin
from miniature.world.solids import Ray
from miniature.world.vectors import Scalar, Vector, clip, grey, select, vector

BACKGROUND_RADIUS = 0.5  # of the sphere around the origin on whose far side the background is painted


class Buffers(NamedTuple):
    """What every pixel of the supersampled picture sees.

    Attributes:
      mask: whether a head is hit.
      depth: distance from the camera along the ray of unit direction, as EG3D's depth; of the background, where nothing
        is hit.
      point: the world point at that depth.
      normal: outward unit normal in the world; zero where nothing is hit.
      albedo: colour without light, in [0, 1]; the background's colour where nothing is hit.
      colour: colour with light, in [0, 1]; the same.
      shading: brightness of the light alone, 1 where nothing is hit.
      ink: share of painted facial lines, in [0, 1].
      strand: stripes of the hair in [-1, 1], constant along a strand.
      part: a `Part`.
    """

    mask: Bool[Array, 'N R R']
    depth: Float[Array, 'N R R']
    point: Float[Array, 'N R R 3']
    normal: Float[Array, 'N R R 3']
    albedo: Float[Array, 'N R R 3']
    colour: Float[Array, 'N R R 3']
    shading: Float[Array, 'N R R']
    ink: Float[Array, 'N R R']
    strand: Float[Array, 'N R R']
    part: Int[Array, 'N R R']


class _Figure(NamedTuple):
    """A head as it is traced: its attributes, its landmarks and its solids."""

    head: Heads
    marks: Landmarks
    scene: Scene


class _Surface(NamedTuple):
    """Lit surface points of one head."""

    normal: Vector
    albedo: Vector
    colour: Vector
    shading: Scalar
    ink: Array


def camera_rays(camera: Float[Array, '25'], resolution: int) -> tuple[Ray, Array]:
    """Returns the rays through pixel centres, row by row, and how far from the camera each of them starts.

    They start where they pass the world's origin most closely, not at the camera: near the solids, float32 is precise.
    """
    cam2world, intrinsics = camera[:16].reshape(4, 4), camera[16:].reshape(3, 3)
    ticks = (jnp.arange(resolution, dtype=jnp.float32) + 0.5) / resolution
    u, v = jnp.tile(ticks, resolution), jnp.repeat(ticks, resolution)
    y = (v - intrinsics[1, 2]) / intrinsics[1, 1]
    x = (u - intrinsics[0, 2] - intrinsics[0, 1] * y) / intrinsics[0, 0]
    right, down, ahead, position = (vector(cam2world[:3, column]) for column in range(4))
    direction = (right * x + down * y + ahead).unit()
    start = -direction.dot(position)
    return Ray(position + direction * start, direction), start


@jax.jit
def _build(heads: Heads) -> _Figure:
    """Builds all heads; apart from the tracing, so that it is compiled once for pictures of any size."""

    def one(head: Heads) -> _Figure:
        marks = landmarks(head)
        return _Figure(head, marks, assemble(solids(head, marks)))

    return jax.vmap(one)(heads)


def _light(figure: _Figure, p: Vector, normal: Vector, part: Array) -> _Surface:
    normal = smooth_skin(figure.scene, p, normal, part == Part.SKIN)
    albedo, ink = paint(figure.head, figure.marks, part, p)
    light = shade(normal, openness(figure.scene, p, normal))
    lit = clip(albedo * light + grey(gloss(part, normal)))
    return _Surface(normal, albedo, lit, light.dot(grey(1.0 / 3.0)), ink)


def _background_at(head: Heads, p: Vector) -> Vector:
    """A wall that brightens behind the head and darkens downwards, as a function of points on the far shell."""
    colour = vector(head.colours['background'])
    depth = 0.06 + 0.16 * head.amount('background_gradient')
    glow = jnp.maximum(1.0 - (p.x * p.x + jnp.square(p.y - 0.1)) / 0.45, 0.0)
    factor = 1.0 - depth * (0.5 - p.y) + 0.10 * glow
    return clip(colour * factor)


def _trace(figure: _Figure, camera: Array, resolution: int) -> Buffers:
    ray, start = camera_rays(camera, resolution)
    t, normal, part = first_hit(figure.scene, ray)
    mask = t < jnp.inf
    closest = ray.origin.dot(ray.origin)
    wall = jnp.sqrt(jnp.maximum(BACKGROUND_RADIUS**2 - closest, 0.0))
    t = jnp.where(mask, t, wall)
    p = ray.origin + ray.direction * t
    surface = _light(figure, p, normal, part)
    wall_colour = _background_at(figure.head, p)

    def picture(values: Scalar | Vector) -> Array:
        if isinstance(values, Vector):
            return values.array().reshape(resolution, resolution, 3)
        return jnp.broadcast_to(values, mask.shape).reshape(resolution, resolution)

    return Buffers(
        mask=picture(mask),
        depth=picture(start + t),
        point=picture(p),
        normal=picture(select(mask, surface.normal, surface.normal * 0.0)),
        albedo=picture(select(mask, surface.albedo, wall_colour)),
        colour=picture(select(mask, surface.colour, wall_colour)),
        shading=picture(jnp.where(mask, surface.shading, 1.0)),
        ink=picture(jnp.where(mask, surface.ink, 0.0)),
        strand=picture(strand_pattern(figure.head, figure.marks, p)),
        part=picture(jnp.where(mask, part, Part.NOTHING)),
    )


def buffers(heads: Heads, cameras: Float[Array, 'N 25'], resolution: int = 256) -> Buffers:
    """Renders heads into buffers without antialiasing: one sample at the centre of each pixel.

    Args:
      heads: N heads.
      cameras: cam2world (row-major, OpenCV axes) and normalised intrinsics, as EG3D's; outside of the box |x|, |y|,
        |z| <= 0.5.
      resolution: pixels along a side.
    """
    return _trace_all(_build(heads), cameras, resolution)


@partial(jax.jit, static_argnums=2)
def _trace_all(figures: _Figure, cameras: Array, resolution: int) -> Buffers:
    return jax.vmap(lambda figure, camera: _trace(figure, camera, resolution))(figures, cameras)


def query(heads: Heads, points: Float[Array, 'N P 3']) -> tuple[Float[Array, 'N P'], Float[Array, 'N P 3']]:
    """Asks heads about world points.

    Returns:
      The signed distance to the surface (negative inside of any solid; exact in sign, approximate in value), and the
      lit colour in [0, 1] of the nearest surface, continued off the surface: meant for a thin band around it.
    """
    return _query_all(_build(heads), points)


@jax.jit
def _query_all(figures: _Figure, points: Array) -> tuple[Array, Array]:
    def one(figure: _Figure, points: Array) -> tuple[Array, Array]:
        p = vector(points)
        d, normal, part = nearest_surface(figure.scene, p)
        return d, _light(figure, p, normal, part).colour.array()

    return jax.vmap(one)(figures, points)


@jax.jit
def background_colour(heads: Heads, points: Float[Array, 'N P 3']) -> Float[Array, 'N P 3']:
    """Returns the background's colour in [0, 1] at points of its shell.

    The shell is the far side of the sphere of `BACKGROUND_RADIUS` around the origin; a ray that misses the sphere meets
    the background where it passes the origin most closely.
    """
    return jax.vmap(lambda head, points: _background_at(head, vector(points)).array())(heads, points)
