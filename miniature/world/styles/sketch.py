"""A pencil drawing on warm white paper: outlines, facial lines, and hatching that follows the form."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from miniature.world.anatomy import Part
from miniature.world.styles.marks import blend, edges, hatching, is_part, lines, luminance, noise, paper
from miniature.world.trace import Buffers
from miniature.world.vectors import smoothstep

_PAPER = (0.970, 0.950, 0.910)
_GRAPHITE = (0.15, 0.15, 0.165)
_PERIOD = 0.031  # of the strokes, in world units
_ALONG, _ACROSS = (0.72, 0.66, 0.20), (-0.74, 0.62, 0.26)  # normals of the planes that strokes run along


def sketch(seen: Buffers) -> Float[Array, 'N R R 3']:
    outer, inner = edges(seen)
    pressure = 0.5 + 0.5 * noise(seen.point, 16.0)
    outline = lines(outer, 1.45 + 0.85 * pressure) * (0.74 + 0.24 * pressure)
    within = lines(inner, 1.20 + 0.60 * pressure) * (0.58 + 0.30 * pressure)
    drawn = jnp.maximum(jnp.maximum(outline, within), _features(seen))
    graphite = 1.0 - (1.0 - drawn) * (1.0 - _strokes(seen)) * (1.0 - _wash(seen))
    return blend(paper(seen.depth.shape, _PAPER, 0.008), _GRAPHITE, graphite)


def _features(seen: Buffers) -> Array:
    """Lids, brows, mouth and wrinkles; frames of glasses are shaded rather than outlined."""
    darkness = 1.0 - luminance(seen.albedo)
    skin = jnp.where(is_part(seen, Part.SKIN), seen.ink * (0.52 + 0.42 * darkness), 0.0)
    return jnp.maximum(skin, is_part(seen, Part.GLASSES) * (0.52 + 0.22 * darkness))


def _strokes(seen: Buffers) -> Array:
    """Hatching: along strands of hair, and along planes that cut the form elsewhere; crossed in the deepest shade."""
    darkness = 1.0 - luminance(seen.albedo)
    shade = smoothstep(0.98, 0.50, seen.shading)
    hair = is_part(seen, Part.HAIR, Part.BEARD)
    skin = is_part(seen, Part.SKIN)
    tone = jnp.where(skin, 0.78 * shade, jnp.clip(0.70 * jnp.square(darkness) + 0.45 * shade, 0.0, 0.85))
    along = hatching(seen.point @ jnp.asarray(_ALONG), _PERIOD, tone)
    deep = jnp.where(skin, smoothstep(0.55, 1.2, shade), smoothstep(0.55, 1.1, tone)) * 0.6
    across = hatching(seen.point @ jnp.asarray(_ACROSS), _PERIOD, deep)
    formed = jnp.maximum(along * jnp.where(skin, 0.42, 0.50), across * 0.40)
    start = 0.80 - 1.35 * darkness
    tousled = smoothstep(start, start + 0.5, seen.strand + 0.30 * shade) * (0.46 + 0.30 * darkness)
    return jnp.where(seen.mask & ~is_part(seen, Part.GLASSES), jnp.where(hair, tousled, formed), 0.0)


def _wash(seen: Buffers) -> Array:
    """A light rub of graphite that keeps dark things darker than light ones."""
    darkness = jnp.square(1.0 - luminance(seen.albedo))
    strength = jnp.where(is_part(seen, Part.SKIN), 0.20, jnp.where(is_part(seen, Part.HAIR, Part.BEARD), 0.42, 0.28))
    rubbed = jnp.where(is_part(seen, Part.GLASSES), 0.0, strength * darkness)
    eyes = jnp.where(is_part(seen, Part.SKIN), smoothstep(0.45, 0.85, darkness) * 0.55, 0.0)
    return jnp.where(seen.mask, rubbed + eyes + 0.06 * smoothstep(1.0, 0.5, seen.shading), 0.0)
