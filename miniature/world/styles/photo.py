"""The world as it is lit."""

from __future__ import annotations

from jaxtyping import Array, Float

from miniature.world.trace import Buffers


def photo(seen: Buffers) -> Float[Array, 'N R R 3']:
    return seen.colour
