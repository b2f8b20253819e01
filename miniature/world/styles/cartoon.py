"""A cartoon: saturated colours in three tones, bold dark outlines, a bright disc behind the head."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from miniature.world.anatomy import Part
from miniature.world.styles.marks import blend, edges, is_part, lines, noise, saturate
from miniature.world.trace import Buffers
from miniature.world.vectors import smoothstep

_INK = (0.07, 0.05, 0.09)
_TONES = ((0.68, 0.75), (0.90, 0.36))  # thresholds of the shading, and how much of the next shade lies below them
_SHADE = (0.62, 0.56, 0.70)  # what shade multiplies colours with: cool


def cartoon(seen: Buffers) -> Float[Array, 'N R R 3']:
    colour = saturate(seen.albedo, 1.45) * 1.06
    shade = jnp.zeros(seen.shading.shape)
    for threshold, amount in _TONES:
        shade = jnp.maximum(shade, amount * smoothstep(threshold + 0.012, threshold - 0.012, seen.shading))
    shaded = blend(colour, colour * jnp.asarray(_SHADE), shade)
    gleam = jnp.where(
        is_part(seen, Part.HAIR, Part.HEADWEAR, Part.EARRING), smoothstep(1.185, 1.205, seen.shading), 0.0
    )
    lit = blend(shaded, (1.0, 1.0, 1.0), gleam * 0.30)
    picture = jnp.where(seen.mask[..., None], lit, _backdrop(seen))
    outer, inner = edges(seen)
    weight = 0.5 + 0.5 * noise(seen.point, 9.0)
    ink = jnp.maximum(lines(outer, 2.5 + 0.7 * weight), lines(inner, 1.7 + 0.6 * weight))
    features = jnp.where(is_part(seen, Part.SKIN), seen.ink, 0.0)
    return jnp.clip(blend(picture, _INK, jnp.maximum(ink, features)), 0.0, 1.0)


def _backdrop(seen: Buffers) -> Array:
    x, y = seen.point[..., 0], seen.point[..., 1] - 0.05
    colour = saturate(seen.albedo, 1.9)
    disc = smoothstep(0.366, 0.360, jnp.sqrt(x * x + y * y + 1e-9))
    return blend(colour, jnp.clip(colour * 0.55 + 0.45, 0.0, 1.0), disc)
