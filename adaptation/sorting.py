"""Sorted values and their gradients, fast on CPUs: what the distances of distributions are made of.

XLA's sort on CPUs compares floats one pair at a time through a comparator, and its gradient sorts positions along with
them. Whole numbers it sorts several times as fast. So floats are sorted by their bits, in which, once those of negative
ones are turned round, larger numbers are larger floats; and a value finds its place, which its gradient comes from, by
bisection. Elsewhere (GPU, TPU), XLA's own sort does it.

P rows, V values.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

MAGNITUDE = 0x7FFFFFFF  # the bits of a float but its sign


def sort_rows(values: Float[Array, 'P V']) -> Float[Array, 'P V']:
    """The values of each row in ascending order, differentiable; finite values alone are expected."""
    return lax.platform_dependent(values, cpu=_sort_bits, default=_sort)


def _sort(values: Float[Array, 'P V']) -> Float[Array, 'P V']:
    return jnp.sort(values, axis=1)


@jax.custom_vjp
def _sort_bits(values: Float[Array, 'P V']) -> Float[Array, 'P V']:
    return _from_keys(lax.sort(_to_keys(values), dimension=1))


def _forward(values: Float[Array, 'P V']) -> tuple[Float[Array, 'P V'], tuple[Int[Array, 'P V'], Int[Array, 'P V']]]:
    keys = _to_keys(values)
    ordered = lax.sort(keys, dimension=1)
    return _from_keys(ordered), (keys, ordered)


def _backward(
    kept: tuple[Int[Array, 'P V'], Int[Array, 'P V']], gradient: Float[Array, 'P V']
) -> tuple[Float[Array, 'P V']]:
    keys, ordered = kept
    places = jax.vmap(jnp.searchsorted)(ordered, keys)  # of equal values the first: all have its gradient
    return (jnp.take_along_axis(gradient, places, axis=1),)


_sort_bits.defvjp(_forward, _backward)


def _to_keys(values: Float[Array, 'P V']) -> Int[Array, 'P V']:
    """Whole numbers in the order of the values."""
    return _turned(lax.bitcast_convert_type(values, jnp.int32))


def _from_keys(keys: Int[Array, 'P V']) -> Float[Array, 'P V']:
    return lax.bitcast_convert_type(_turned(keys), jnp.float32)


def _turned(bits: Int[Array, 'P V']) -> Int[Array, 'P V']:
    """Negative ones with their other bits turned round: its own inverse."""
    return jnp.where(bits < 0, bits ^ MAGNITUDE, bits)
