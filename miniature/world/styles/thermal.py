"""A thermal image: warm skin, cooler hair and cloth, cold glass and metal, in the false colours of a heat camera."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from miniature.world.anatomy import Part
from miniature.world.styles.marks import blur, is_part, luminance
from miniature.world.trace import Buffers
from miniature.world.vectors import smoothstep

_TEMPERATURES = {
    Part.NOTHING: 0.10,
    Part.SKIN: 0.86,
    Part.HAIR: 0.42,
    Part.BEARD: 0.58,
    Part.CLOTHES: 0.50,
    Part.TRIM: 0.44,
    Part.GLASSES: 0.16,
    Part.HEADWEAR: 0.34,
    Part.BAND: 0.40,
    Part.EARRING: 0.22,
}
_PALETTE = np.asarray(  # cold to hot
    [
        (0.03, 0.01, 0.16),
        (0.22, 0.03, 0.45),
        (0.55, 0.07, 0.52),
        (0.87, 0.25, 0.32),
        (0.98, 0.55, 0.10),
        (0.99, 0.84, 0.25),
        (1.00, 0.99, 0.82),
    ],
    np.float32,
)
_BLUR = 0.006  # of the camera's lens, as a share of the picture's width


def thermal(seen: Buffers) -> Float[Array, 'N R R 3']:
    base = jnp.asarray([_TEMPERATURES[part] for part in Part])[seen.part]
    y, z = seen.point[..., 1], seen.point[..., 2]
    wet = jnp.where(is_part(seen, Part.SKIN), smoothstep(0.90, 0.96, luminance(seen.albedo)), 0.0)
    lines_ = jnp.where(is_part(seen, Part.SKIN), seen.ink, 0.0)
    nose = smoothstep(0.20, 0.24, z) * smoothstep(0.08, 0.02, jnp.abs(y + 0.045))
    facing = jnp.where(seen.mask, 0.15 * (seen.normal[..., 2] - 0.6), 0.05 * y)
    strands = jnp.where(is_part(seen, Part.HAIR), 0.03 * seen.strand, 0.0)
    heat = base + facing + strands - 0.16 * wet - 0.24 * lines_ - 0.22 * nose
    heat = jnp.clip(blur(heat, _BLUR * heat.shape[1]), 0.0, 1.0)
    knots = np.linspace(0.0, 1.0, len(_PALETTE), dtype=np.float32)
    return jnp.stack([jnp.interp(heat, knots, _PALETTE[:, channel]) for channel in range(3)], axis=-1)
