"""A woodblock print: ink outlines that swell and thin, a few flat muted colours, and a sky that fades (bokashi)."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from miniature.world.anatomy import Part
from miniature.world.styles.marks import blend, edges, is_part, lines, luminance, noise, paper, saturate
from miniature.world.trace import Buffers
from miniature.world.vectors import smoothstep

_PAPER = (0.945, 0.900, 0.790)
_INK = (0.12, 0.10, 0.14)
_PALE_SKIN = (0.975, 0.890, 0.770)
_INDIGO = (0.17, 0.29, 0.50)


def ukiyoe(seen: Buffers) -> Float[Array, 'N R R 3']:
    sheet = paper(seen.depth.shape, _PAPER, 0.014) / jnp.asarray(_PAPER)
    printed = jnp.where(seen.mask[..., None], _inks(seen), _sky(seen)) * sheet
    outer, inner = edges(seen)
    swell = 0.5 + 0.5 * noise(seen.point, 11.0)
    outline = jnp.maximum(lines(outer, 1.3 + 1.9 * swell), lines(inner, 1.2 + 1.0 * swell) * 0.95)
    features = jnp.where(is_part(seen, Part.SKIN), seen.ink, 0.0)
    strands = jnp.where(is_part(seen, Part.HAIR, Part.BEARD), smoothstep(0.70, 0.98, seen.strand) * 0.60, 0.0)
    ink = jnp.maximum(jnp.maximum(outline, features), strands)
    return jnp.clip(blend(printed, _INK, ink), 0.0, 1.0)


def _inks(seen: Buffers) -> Array:
    """Flat colours: skin lifted towards the paper, everything else muted, one step of shade."""
    bright = luminance(seen.albedo)
    muted = saturate(seen.albedo, 0.74)
    cloth = blend(muted * 0.94, _PAPER, jnp.full(bright.shape, 0.10))
    hair = muted * (0.60 + 0.32 * bright[..., None]) + 0.02
    colour = jnp.where(is_part(seen, Part.HAIR, Part.BEARD)[..., None], hair, cloth)
    shaded = smoothstep(0.76, 0.72, seen.shading) * jnp.where(bright > 0.25, 0.17, 0.05)
    colour = colour * (1.0 - shaded[..., None])
    return jnp.where(is_part(seen, Part.SKIN)[..., None], _face(seen), colour)


def _face(seen: Buffers) -> Array:
    """Skin is printed pale, whatever its colour; eyes, lips and cheeks keep some of theirs."""
    away = jnp.max(jnp.abs(seen.albedo - _flat_skin(seen)), axis=-1)
    return blend(_kept(seen), _PALE_SKIN, 0.78 - 0.50 * smoothstep(0.10, 0.28, away))


def _kept(seen: Buffers) -> Array:
    return blend(saturate(seen.albedo, 0.85), _PAPER, 0.25 * smoothstep(0.8, 0.95, luminance(seen.albedo)))


def _flat_skin(seen: Buffers) -> Array:
    """The skin's own colour: the median over what is seen of it."""
    skin = is_part(seen, Part.SKIN)[..., None]
    flat = jnp.where(skin, seen.albedo, jnp.nan).reshape(seen.albedo.shape[0], -1, 3)
    median = jnp.nan_to_num(jnp.nanmedian(flat, axis=1), nan=0.5)
    return median[:, None, None, :]


def _sky(seen: Buffers) -> Array:
    """The head's background colour, mostly dissolved in the paper, under a fading band of indigo."""
    y = seen.point[..., 1] + 0.03 * seen.point[..., 0]
    wall = blend(saturate(seen.albedo, 0.9), _PAPER, jnp.full(y.shape, 0.62))
    return blend(wall, _INDIGO, smoothstep(0.17, 0.46, y) * 0.88)
