"""The union of a head's solids: what a ray meets first, and what is nearest to a point.

Solids of the same structure are stacked and scanned over, which keeps both the compiled program and its memory small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from miniature.world.solids import FAR, Ray, Solid, distance, gradients, intersect
from miniature.world.vectors import Vector, select

_BLENDED = 3  # skull, jaw and nose, which come first: their normals melt into each other
_BLEND_REACH = 0.035


class Scene(NamedTuple):
    """The solids of one head.

    Attributes:
      groups: solids of equal structure, stacked along a leading axis, each group with the index of the first surface of
        each solid.
      surfaces: [T, 13] of all surfaces: matrix (column by column) and offset of the normal, and the part.
      blended: the solids whose normals melt into each other.
    """

    groups: tuple[tuple[Solid, Array], ...]
    surfaces: Array
    blended: tuple[Solid, ...]


def assemble(solids: Sequence[Solid]) -> Scene:
    """Stacks solids of the same structure."""
    solids = [jax.tree.map(lambda leaf: jnp.asarray(leaf), solid) for solid in solids]
    by_structure: dict[object, list[Solid]] = {}
    for solid in solids:
        by_structure.setdefault(jax.tree.structure(solid), []).append(solid)
    groups, tables, count = [], [], 0
    for members in by_structure.values():
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
        table = jax.vmap(_surface_rows)(stacked)  # [K, S, 13]
        size, surfaces, columns = table.shape
        groups.append((stacked, count + surfaces * jnp.arange(size, dtype=jnp.int32)))
        tables.append(table.reshape(size * surfaces, columns))
        count += size * surfaces
    return Scene(tuple(groups), jnp.concatenate(tables), tuple(solids[:_BLENDED]))


def _surface_rows(solid: Solid) -> Array:
    rows = []
    for matrix, offset in gradients(solid):
        columns = [component for v in (*matrix, offset) for component in (v.x, v.y, v.z)]
        rows.append(jnp.stack([jnp.asarray(value, jnp.float32) for value in (*columns, solid.part)]))
    return jnp.stack(rows)


def first_hit(scene: Scene, ray: Ray) -> tuple[Array, Vector, Array]:
    """Returns the ray parameter of the nearest hit (infinity: none), its outward unit normal and its part."""
    t, surface = _nearest(scene, lambda solid: intersect(solid, ray), jnp.full_like(ray.direction.x, jnp.inf))
    p = ray.origin + ray.direction * jnp.where(t < jnp.inf, t, 0.0)
    return t, *_surface_at(scene, surface, p)


def nearest_surface(scene: Scene, p: Vector) -> tuple[Array, Vector, Array]:
    """Returns the signed distance to the union of the solids, and the unit normal and part of the nearest one."""
    d, surface = _nearest(scene, lambda solid: distance(solid, p), jnp.full_like(p.x, FAR))
    return d, *_surface_at(scene, surface, p)


def nearest_distance(scene: Scene, p: Vector) -> Array:
    """Returns the signed distance to the union of the solids."""
    return _nearest(scene, lambda solid: distance(solid, p), jnp.full_like(p.x, FAR))[0]


def _nearest(scene: Scene, measure: Callable[[Solid], tuple[Array, Array]], farthest: Array) -> tuple[Array, Array]:
    """Returns the smallest measure over all solids and the index of the surface that it belongs to."""

    def step(best: tuple[Array, Array], member: tuple[Solid, Array]) -> tuple[tuple[Array, Array], None]:
        solid, first = member
        value, surface = measure(solid)
        closer = value < best[0]
        return (jnp.where(closer, value, best[0]), jnp.where(closer, first + surface, best[1])), None

    best = (farthest, jnp.zeros(farthest.shape, jnp.int32))
    for group in scene.groups:
        best, _ = jax.lax.scan(step, best, group)
    return best


def _surface_at(scene: Scene, surface: Array, p: Vector) -> tuple[Vector, Array]:
    """Returns the unit normal and the part of surfaces at points on them."""
    row = scene.surfaces[surface]
    columns = [Vector(row[:, 3 * i], row[:, 3 * i + 1], row[:, 3 * i + 2]) for i in range(4)]
    normal = columns[0] * p.x + columns[1] * p.y + columns[2] * p.z + columns[3]
    return normal.unit(), row[:, 12].astype(jnp.int32)


def smooth_skin(scene: Scene, p: Vector, normal: Vector, on_skin: Array) -> Vector:
    """Melts the normals of skull, jaw and nose into each other where these meet."""
    total = p * 0.0
    for solid in scene.blended:
        matrix, offset = gradients(solid)[0]
        outward = matrix.x * p.x + matrix.y * p.y + matrix.z * p.z + offset
        weight = jnp.square(jnp.maximum(1.0 - jnp.abs(distance(solid, p)[0]) / _BLEND_REACH, 0.0))
        total = total + outward.unit() * weight
    return select(on_skin & (total.dot(total) > 0.25), total.unit(), normal)
