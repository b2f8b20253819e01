"""The world's colours: named palettes, well apart from each other, in sRGB [0, 1]."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

HAIR = {
    'black': (0.13, 0.11, 0.13),
    'brown': (0.42, 0.25, 0.14),
    'red': (0.76, 0.27, 0.10),
    'blonde': (0.94, 0.76, 0.36),
    'white': (0.92, 0.90, 0.87),
    'pink': (0.95, 0.52, 0.66),
    'blue': (0.22, 0.42, 0.78),
    'green': (0.28, 0.60, 0.40),
}
CLOTHES = {
    'red': (0.80, 0.18, 0.18),
    'orange': (0.95, 0.52, 0.16),
    'yellow': (0.97, 0.80, 0.24),
    'green': (0.22, 0.58, 0.34),
    'blue': (0.20, 0.40, 0.76),
    'purple': (0.52, 0.32, 0.68),
    'white': (0.93, 0.92, 0.90),
    'black': (0.19, 0.19, 0.23),
}
BACKGROUND = {
    'cream': (0.96, 0.90, 0.78),
    'peach': (0.97, 0.77, 0.66),
    'mint': (0.69, 0.87, 0.77),
    'sky': (0.64, 0.82, 0.93),
    'lilac': (0.79, 0.73, 0.91),
    'slate': (0.44, 0.50, 0.58),
}
EYES = {
    'brown': (0.42, 0.23, 0.10),
    'amber': (0.78, 0.50, 0.12),
    'green': (0.25, 0.58, 0.28),
    'blue': (0.20, 0.50, 0.85),
    'grey': (0.50, 0.55, 0.60),
}
GLASSES = {
    'black': (0.12, 0.12, 0.15),
    'red': (0.80, 0.16, 0.20),
    'gold': (0.86, 0.66, 0.22),
    'blue': (0.16, 0.36, 0.72),
}
EARRINGS = {'gold': (0.95, 0.74, 0.22), 'pearl': (0.95, 0.93, 0.90), 'jade': (0.20, 0.68, 0.55)}

SKIN = {  # a curve rather than a palette: every mixture of neighbours is a skin
    'pale': (0.99, 0.86, 0.77),
    'fair': (0.96, 0.76, 0.62),
    'tan': (0.84, 0.60, 0.43),
    'brown': (0.62, 0.40, 0.27),
    'dark': (0.40, 0.25, 0.18),
}

BLEND = 0.08  # share of a colour's interval, at each end, over which it turns into its neighbour


def curve(palette: dict[str, tuple[float, float, float]], u: Float[Array, '...']) -> Float[Array, '... 3']:
    """Piecewise linear through the palette's colours, the first at u = 0 and the last at u = 1."""
    colours = np.asarray(list(palette.values()), np.float32)
    knots = np.linspace(0.0, 1.0, len(colours), dtype=np.float32)
    return jnp.stack([jnp.interp(u, knots, colours[:, channel]) for channel in range(3)], axis=-1)


def pick(palette: dict[str, tuple[float, float, float]], u: Float[Array, '...']) -> Float[Array, '... 3']:
    """One of the palette's colours, each on its own interval of u in [0, 1], blended only near the borders."""
    colours = np.asarray(list(palette.values()), np.float32)
    count = len(colours)
    inner = np.arange(1, count)
    knots = np.sort(np.concatenate([[0.0], inner - BLEND, inner + BLEND, [count]])).astype(np.float32) / count
    stops = np.repeat(colours, 2, axis=0)
    return jnp.stack([jnp.interp(u, knots, stops[:, channel]) for channel in range(3)], axis=-1)


def index(palette: dict[str, tuple[float, float, float]], u: Float[Array, '...']) -> Array:
    """The index of the palette colour that `pick` takes at u (the nearer one where it blends)."""
    return jnp.clip((u * len(palette)).astype(jnp.int32), 0, len(palette) - 1)
