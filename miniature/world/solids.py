"""Solids with closed-form ray intersections: quadrics cut by slabs, minus one quadric cut by slabs.

Everything in the world is a union of such solids. `intersect` finds where a ray enters one, `distance` says how far a
point is from its surface; both describe the same solid exactly, and both say which of its surfaces is meant.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from miniature.world.vectors import Scalar, Vector

WORLD_AXES = (Vector(1.0, 0.0, 0.0), Vector(0.0, 1.0, 0.0), Vector(0.0, 0.0, 1.0))
FAR = 9.0  # farther than anything in the world; an unbounded side of a slab
_FLAT = 1e-9  # added where a ray runs along a cylinder or a slab, to keep quotients finite


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Quadric:
    """An ellipsoid, or an elliptic cylinder where a radius is infinite: |(p - center) . axes / radii| <= 1."""

    center: Vector
    radii: Vector
    axes: tuple[Vector, Vector, Vector] | None = None  # unit vectors; None: the world's

    def local(self, v: Vector) -> Vector:
        if self.axes is not None:
            v = Vector(*(v.dot(axis) for axis in self.axes))
        return Vector(v.x / self.radii.x, v.y / self.radii.y, v.z / self.radii.z)

    def gradient(self, q: Vector) -> Vector:
        """The world-space gradient of |q|^2 / 2 at the local point q."""
        g = Vector(q.x / self.radii.x, q.y / self.radii.y, q.z / self.radii.z)
        if self.axes is None:
            return g
        a, b, c = self.axes
        return a * g.x + b * g.y + c * g.z


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Slab:
    """The points with low <= normal . p <= high; `normal` has unit length."""

    normal: Vector
    low: Scalar
    high: Scalar


def below(normal: Vector, height: Scalar) -> Slab:
    return Slab(normal, -FAR, height)


def above(normal: Vector, height: Scalar) -> Slab:
    return Slab(normal, height, FAR)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Body:
    """A convex body: a quadric cut by slabs."""

    quadric: Quadric
    slabs: tuple[Slab, ...] = ()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Solid:
    """A convex body minus another one; `part` says what it is made of, `present` whether this head has it.

    Its surfaces are numbered: the body's quadric, the low and the high side of each of its slabs, then the cutter's.
    """

    body: Body
    part: Scalar
    cutter: Body | None = None
    present: Scalar = True


class Matrix(NamedTuple):
    """A 3 x 3 matrix by its columns."""

    x: Vector
    y: Vector
    z: Vector


class Ray(NamedTuple):
    """Points origin + t * direction; directions have unit length."""

    origin: Vector
    direction: Vector


class _Crossing(NamedTuple):
    """Where rays enter and leave a convex body (enter > leave: they miss it), and through which surfaces."""

    enter: Array
    leave: Array
    entered: Array
    left: Array


def intersect(solid: Solid, ray: Ray) -> tuple[Array, Array]:
    """Returns the ray parameter at which rays enter the solid (infinity: never) and the number of the surface met.

    The rays must start outside of the solid, or before it: the parameter may be negative.
    """
    outer = _cross_body(solid.body, ray)
    t, surface = outer.enter, outer.entered
    if solid.cutter is not None:
        inner = _cross_body(solid.cutter, ray)
        within = (inner.enter < t) & (t < inner.leave)
        t = jnp.where(within, inner.leave, t)
        surface = jnp.where(within, inner.left + _surface_count(solid.body), surface)
    return jnp.where((t < outer.leave) & solid.present, t, jnp.inf), surface


def distance(solid: Solid, p: Vector) -> tuple[Array, Array]:
    """Returns the distance of points to the surface, negative inside, and the number of the nearest surface.

    The zero set is exact; the value is a first-order approximation of the Euclidean distance near it.
    """
    d, surface = _body_distance(solid.body, p)
    if solid.cutter is not None:
        cut, cut_surface = _body_distance(solid.cutter, p)
        carved = -cut > d
        d = jnp.where(carved, -cut, d)
        surface = jnp.where(carved, cut_surface + _surface_count(solid.body), surface)
    return jnp.where(solid.present, d, FAR), surface


def gradients(solid: Solid) -> list[tuple[Matrix, Vector]]:
    """Returns, for each surface in order, the matrix and the offset that make (matrix @ p + offset) its outward normal.

    The normals are not of unit length.
    """
    outward = _body_gradients(solid.body)
    if solid.cutter is not None:
        outward += [
            (Matrix(-matrix.x, -matrix.y, -matrix.z), -offset) for matrix, offset in _body_gradients(solid.cutter)
        ]
    return outward


def _surface_count(body: Body) -> int:
    return 1 + 2 * len(body.slabs)


def _body_gradients(body: Body) -> list[tuple[Matrix, Vector]]:
    quadric = body.quadric
    matrix = Matrix(*(quadric.gradient(quadric.local(axis)) for axis in WORLD_AXES))
    still = Vector(0.0, 0.0, 0.0)
    flat = Matrix(still, still, still)
    slabs = [(flat, normal) for slab in body.slabs for normal in (-slab.normal, slab.normal)]
    return [(matrix, -quadric.gradient(quadric.local(quadric.center))), *slabs]


def _cross_body(body: Body, ray: Ray) -> _Crossing:
    crossing = _cross_quadric(body.quadric, ray)
    for index, slab in enumerate(body.slabs):
        crossing = _cross_slab(crossing, slab, 1 + 2 * index, ray)
    return crossing


def _cross_quadric(quadric: Quadric, ray: Ray) -> _Crossing:
    o, d = quadric.local(ray.origin - quadric.center), quadric.local(ray.direction)
    a, b, c = d.dot(d) + _FLAT, o.dot(d), o.dot(o) - 1.0
    discriminant = b * b - a * c
    hit, root = discriminant > 0.0, jnp.sqrt(jnp.maximum(discriminant, 0.0))
    surface = jnp.zeros(hit.shape, jnp.int32)
    enter, leave = jnp.where(hit, (-b - root) / a, jnp.inf), jnp.where(hit, (-b + root) / a, -jnp.inf)
    return _Crossing(enter, leave, surface, surface)


def _cross_slab(crossing: _Crossing, slab: Slab, first_surface: int, ray: Ray) -> _Crossing:
    height, slope = slab.normal.dot(ray.origin), slab.normal.dot(ray.direction)
    inverse = 1.0 / jnp.where(jnp.abs(slope) > _FLAT, slope, _FLAT)
    to_low, to_high = (slab.low - height) * inverse, (slab.high - height) * inverse
    enter, leave = jnp.minimum(to_low, to_high), jnp.maximum(to_low, to_high)
    later, sooner = enter > crossing.enter, leave < crossing.leave
    falls = (to_high < to_low).astype(jnp.int32)  # these rays enter through the high side
    return _Crossing(
        jnp.where(later, enter, crossing.enter),
        jnp.where(sooner, leave, crossing.leave),
        jnp.where(later, first_surface + falls, crossing.entered),
        jnp.where(sooner, first_surface + 1 - falls, crossing.left),
    )


def _body_distance(body: Body, p: Vector) -> tuple[Array, Array]:
    q = body.quadric.local(p - body.quadric.center)
    length = q.norm()
    d = length * (length - 1.0) / body.quadric.gradient(q).norm()
    surface = jnp.zeros(d.shape, jnp.int32)
    for index, slab in enumerate(body.slabs):
        height = slab.normal.dot(p)
        under, over = slab.low - height, height - slab.high
        to_slab = jnp.maximum(under, over)
        outside = to_slab > d
        surface = jnp.where(outside, 1 + 2 * index + (over > under).astype(jnp.int32), surface)
        d = jnp.where(outside, to_slab, d)
    return d, surface


def turned(degrees: float, axis: str) -> tuple[Vector, Vector, Vector]:
    """Axes of a quadric turned by an angle about the world's 'x', 'y' or 'z' axis (right-handed)."""
    c, s = float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees)))
    rows = {
        'x': (Vector(1.0, 0.0, 0.0), Vector(0.0, c, s), Vector(0.0, -s, c)),
        'y': (Vector(c, 0.0, -s), Vector(0.0, 1.0, 0.0), Vector(s, 0.0, c)),
        'z': (Vector(c, s, 0.0), Vector(-s, c, 0.0), Vector(0.0, 0.0, 1.0)),
    }
    return rows[axis]
