"""Several domains in one generator: leaves that all share, and what each domain adds to them by a code.

    leaf(c) = shared + sum_k c_k own_k

A one-hot code c is a domain; other codes lie between domains, or beyond. What a domain adds to a matrix or kernel is of
low rank, left_k right_k; to a vector, or where factors would not even halve it, it is whole, and then the shared leaf
stays the source's: it would only move all domains along with one. The leaves are named in one flat dictionary: `NAME`
is shared, `NAME.own` or `NAME.own_left` and `NAME.own_right` hold all domains' parts.

K domains, A rank, I inputs of a matrix (the product of a kernel's axes but the last), O its outputs.
"""

import math
import zlib
from collections.abc import Container, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

OWN, LEFT, RIGHT = '.own', '.own_left', '.own_right'

Leaves = dict[str, Array]


def first_leaves(source: Mapping[str, Array], domains: int, rank: int, key: PRNGKeyArray) -> Leaves:
    """The leaves that training starts from, at which every domain is the source.

    Args:
        source: leaves by name.
        domains: how many.
        rank: of what a domain adds to a matrix.
        key: of the left factors, normal of variance 1 / rank; the right ones are 0.
    """
    leaves: Leaves = {}
    for name, leaf in source.items():
        leaves[name] = leaf
        if (sides := _sides(leaf.shape, rank)) is None:
            leaves[name + OWN] = jnp.zeros((domains, *leaf.shape), leaf.dtype)
            continue
        inputs, outputs = sides
        drawn = jax.random.normal(jax.random.fold_in(key, zlib.crc32(name.encode())), (domains, inputs, rank))
        leaves[name + LEFT] = drawn / math.sqrt(rank)
        leaves[name + RIGHT] = jnp.zeros((domains, rank, outputs), leaf.dtype)
    return leaves


def trains(name: str, leaves: Container[str]) -> bool:
    """Whether training moves this leaf: not where each domain has the whole of it."""
    return name + OWN not in leaves


def is_own(name: str) -> bool:
    """Whether this leaf holds domains' own parts, one after the other along its first axis."""
    return name.endswith((OWN, LEFT, RIGHT))


def shared_name(name: str) -> str:
    """What the generator calls this leaf, or the one that it is added to."""
    return name.removesuffix(RIGHT).removesuffix(LEFT).removesuffix(OWN)


def domain_leaves(leaves: Mapping[str, Array], code: Float[Array, 'K']) -> Leaves:
    """The ordinary leaves of the generator of a code; works under `jax.jit`."""
    made: Leaves = {}
    for name, leaf in leaves.items():
        if is_own(name):
            continue
        if name + OWN in leaves:
            made[name] = leaf + jnp.tensordot(code, leaves[name + OWN], 1)
        else:
            own = jnp.einsum('k,kia,kao->io', code, leaves[name + LEFT], leaves[name + RIGHT])
            made[name] = leaf + own.reshape(leaf.shape)  # [I, O] -> the kernel's own axes
    return made


def misfitting(leaves: Mapping[str, np.ndarray], source: Mapping[str, Array], domains: int) -> list[str]:
    """Names of the leaves that are no part of a source of several domains, or have a wrong shape or no counterpart."""
    bad = []
    for name, leaf in leaves.items():
        base, dot, kind = name.rpartition('.own')
        if not dot:
            whole = name + OWN in leaves or {name + LEFT, name + RIGHT} <= leaves.keys()
            fits = whole and name in source and source[name].shape == leaf.shape
        elif base not in source or base not in leaves:
            fits = False
        else:
            shape = source[base].shape
            left, right = leaves.get(base + LEFT, leaf), leaves.get(base + RIGHT, leaf)
            whole_shape = (domains, *shape)
            factors = left.ndim == right.ndim == 3 and left.shape[0] == right.shape[0] == domains
            matrix = (math.prod(shape[:-1]), *shape[-1:])
            fits = (
                leaf.shape == whole_shape
                if kind == ''
                else factors and left.shape[2] == right.shape[1] and (left.shape[1], right.shape[2]) == matrix
            )
        if not fits:
            bad.append(name)
    return bad


def _sides(shape: tuple[int, ...], rank: int) -> tuple[int, int] | None:
    """Inputs and outputs of a matrix whose factors are at most half its size; None: it is kept whole."""
    if len(shape) < 2:
        return None
    inputs, outputs = math.prod(shape[:-1]), shape[-1]
    return (inputs, outputs) if 2 * rank * (inputs + outputs) <= inputs * outputs else None
