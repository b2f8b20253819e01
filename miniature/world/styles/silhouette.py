"""Cut paper: layers of dark card before a glowing sheet, parted by thin gaps of light."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from miniature.world.anatomy import Part
from miniature.world.styles.marks import blend, edges, is_part, lines, luminance, saturate
from miniature.world.trace import Buffers
from miniature.world.vectors import smoothstep

_CARD = (0.10, 0.10, 0.17)
_GLOW = (1.0, 0.93, 0.78)


def silhouette(seen: Buffers) -> Float[Array, 'N R R 3']:
    x, y = seen.point[..., 0], seen.point[..., 1]
    halo = smoothstep(0.62, 0.10, jnp.sqrt(x * x + jnp.square(y - 0.05) + 1e-9))
    sheet = blend(saturate(seen.albedo, 1.3) * 0.92, _GLOW, halo * 0.7)
    step = jnp.asarray([0.0, 0.10, 0.02, 0.0, 0.05, 0.15, 0.0, 0.06, 0.18, 0.30])[seen.part]
    card = jnp.asarray(_CARD) + step[..., None] * jnp.asarray([0.9, 0.9, 1.15])
    gaps = lines(edges(seen)[1], 1.3) * 0.75
    whites = jnp.where(is_part(seen, Part.SKIN), smoothstep(0.90, 0.95, luminance(seen.albedo)), 0.0)
    card = blend(card, (0.93, 0.80, 0.60), jnp.maximum(gaps, whites * 0.95 * (1.0 - seen.ink)))
    return jnp.clip(jnp.where(seen.mask[..., None], card, sheet), 0.0, 1.0)
