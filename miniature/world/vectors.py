"""Vectors as three separate arrays, so that long batches of points stay contiguous and vectorise well."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Scalar: TypeAlias = Any  # a number, or an array of numbers

_TINY = 1e-12  # keeps square roots and divisions finite where a vector vanishes


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Vector:
    """A vector, or an array of vectors, in world coordinates (x right, y up, z out of the face)."""

    x: Scalar
    y: Scalar
    z: Scalar

    def __add__(self, other: Vector) -> Vector:
        return Vector(self.x + other.x, self.y + other.y, self.z + other.z)

    def __sub__(self, other: Vector) -> Vector:
        return Vector(self.x - other.x, self.y - other.y, self.z - other.z)

    def __mul__(self, other: Vector | Scalar) -> Vector:
        """Scales by a number, or component by component by a vector."""
        if isinstance(other, Vector):
            return Vector(self.x * other.x, self.y * other.y, self.z * other.z)
        return Vector(self.x * other, self.y * other, self.z * other)

    def __neg__(self) -> Vector:
        return Vector(-self.x, -self.y, -self.z)

    def dot(self, other: Vector) -> Scalar:
        return self.x * other.x + self.y * other.y + self.z * other.z

    def norm(self) -> Scalar:
        return jnp.sqrt(self.dot(self) + _TINY)

    def unit(self) -> Vector:
        return self * jax.lax.rsqrt(self.dot(self) + _TINY)

    def mirrored(self, side: float) -> Vector:
        """Reflects to the other side of the face where `side` is -1."""
        return Vector(self.x * side, self.y, self.z)

    def array(self) -> Float[Array, '... 3']:
        return jnp.stack(jnp.broadcast_arrays(self.x, self.y, self.z), axis=-1)


def vector(array: Float[Array, '... 3']) -> Vector:
    return Vector(array[..., 0], array[..., 1], array[..., 2])


def grey(value: Scalar) -> Vector:
    """The colour, or the vector, with three equal components."""
    return Vector(value, value, value)


def select(mask: Array, chosen: Vector, other: Vector) -> Vector:
    return Vector(
        jnp.where(mask, chosen.x, other.x), jnp.where(mask, chosen.y, other.y), jnp.where(mask, chosen.z, other.z)
    )


def clip(colour: Vector) -> Vector:
    """Limits a colour to [0, 1]."""
    return Vector(*(jnp.clip(channel, 0.0, 1.0) for channel in (colour.x, colour.y, colour.z)))


def mix(first: Vector, second: Vector, amount: Scalar) -> Vector:
    """Linear interpolation: `first` at amount 0, `second` at 1."""
    return first + (second - first) * amount


def smoothstep(low: Scalar, high: Scalar, value: Scalar) -> Array:
    """Rises smoothly from 0 at `low` to 1 at `high` (falls, if `low` is the larger)."""
    t = jnp.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
