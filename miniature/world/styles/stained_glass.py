"""A church window: panes of luminous glass in leads, cut along the parts and along planes through the world."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from miniature.world.anatomy import Part
from miniature.world.styles.marks import blend, borders, edges, is_part, lines, noise, saturate
from miniature.world.trace import Buffers

_LEAD = (0.06, 0.06, 0.075)
_CUT = (0.55, 0.80, 0.22)  # normal of the planes that cut the solids' panes
_PANE = 0.17  # distance between these planes, in world units
_RAYS = 10  # panes of the background around the head


def stained_glass(seen: Buffers) -> Float[Array, 'N R R 3']:
    face = is_part(seen, Part.SKIN)
    pane = jnp.where(seen.mask, _panes(seen), _window(seen))
    whole = is_part(seen, Part.SKIN, Part.BEARD, Part.GLASSES, Part.EARRING)
    pane = jnp.where(whole, 0, pane)  # faces stay in one pane: leads across the eyes would hide them
    tint = jnp.sin(pane * 12.9898 + seen.part * 4.1)
    glass = saturate(seen.albedo, 1.8) * (0.98 + jnp.where(face, 0.05, 0.20) * tint)[..., None]
    ripple = 1.0 + 0.06 * noise(seen.point, 30.0) + 0.12 * (seen.point[..., 1] + seen.point[..., 0])
    glass = jnp.clip(glass * ripple[..., None] * 1.06, 0.0, 1.0)
    outer, inner = edges(seen)
    inner = jnp.maximum(inner, borders(pane) * ~is_part(seen, Part.GLASSES))
    leads = jnp.maximum(lines(outer, 3.2), lines(inner, jnp.where(whole, 1.5, 2.2)))
    return blend(glass, _LEAD, jnp.maximum(leads, jnp.where(face, seen.ink, 0.0)))


def _panes(seen: Buffers) -> Array:
    """The number of the pane that points of the solids lie in."""
    height = seen.point @ jnp.asarray(_CUT) / _PANE + 0.2 * jnp.sin(7.0 * seen.point[..., 0])
    return jnp.floor(height).astype(jnp.int32)


def _window(seen: Buffers) -> Array:
    """The number of the pane of the background: rays around the head, broken by a ring."""
    x, y = seen.point[..., 0], seen.point[..., 1] - 0.03
    ray = jnp.floor((jnp.arctan2(y, x) / (2.0 * jnp.pi) + 0.525) * _RAYS).astype(jnp.int32) % _RAYS
    return 100 + ray * 2 + (x * x + y * y > 0.43**2)
