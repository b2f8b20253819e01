"""The styles a head can be drawn in, each a function of the buffers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from miniature.world.latent import Heads
from miniature.world.styles.cartoon import cartoon
from miniature.world.styles.photo import photo
from miniature.world.styles.silhouette import silhouette
from miniature.world.styles.sketch import sketch
from miniature.world.styles.stained_glass import stained_glass
from miniature.world.styles.thermal import thermal
from miniature.world.styles.ukiyoe import ukiyoe
from miniature.world.trace import Buffers, buffers

_STYLES: dict[str, Callable[[Buffers], Array]] = {
    'photo': photo,
    'sketch': sketch,
    'ukiyoe': ukiyoe,
    'cartoon': cartoon,
    'silhouette': silhouette,
    'stained_glass': stained_glass,
    'thermal': thermal,
}
STYLES = tuple(_STYLES)


def render(
    heads: Heads,
    cameras: Float[Array, 'N 25'],
    style: str = 'photo',
    resolution: int = 128,
    supersample: int = 2,
) -> Float[Array, 'N {resolution} {resolution} 3']:
    """Draws heads.

    Args:
      heads: N heads.
      cameras: as in `buffers`.
      style: one of `STYLES`.
      resolution: pixels along a side.
      supersample: samples along a side of each pixel, averaged.

    Returns:
      Images in [-1, 1].

    Raises:
      ValueError: the style is unknown.
    """
    return render_styles(heads, cameras, resolution, supersample, (style,))[style]


def render_styles(
    heads: Heads,
    cameras: Float[Array, 'N 25'],
    resolution: int = 128,
    supersample: int = 2,
    styles: Sequence[str] = STYLES,
) -> dict[str, Float[Array, 'N {resolution} {resolution} 3']]:
    """Draws heads in several styles at the cost of casting their rays once; arguments, images, errors as in
    `render`."""
    if unknown := [style for style in styles if style not in _STYLES]:
        raise ValueError(f"Unknown style '{unknown[0]}'; choose one of: {', '.join(STYLES)}.")
    seen = buffers(heads, cameras, resolution * supersample)
    return {style: _draw(seen, style, supersample) for style in styles}


@partial(jax.jit, static_argnums=(1, 2))
def _draw(seen: Buffers, style: str, supersample: int) -> Array:
    fine = _STYLES[style](seen)
    n, size = fine.shape[0], fine.shape[1] // supersample
    blocks = fine.reshape(n, size, supersample, size, supersample, 3)  # [N, H, s, W, s, 3]
    return jnp.mean(blocks, axis=(2, 4)) * 2.0 - 1.0
