"""No edges where the source has none. Ours, beside the paper's four losses.

A super-resolution module that is to draw dark lines learns to sharpen: it darkens one side of an outline and lightens
the other, so that heads stand in a pale ring, fringes get colours, and a frame runs along the picture's border, where
convolutions see zeros. A CLIP hardly minds. This loss asks how steep an adapted image is, pixel by pixel, where the
source's image of the same latents and cameras is flat. Styles do make outlines steeper, and some have grain and gentle
gradients of their own: what is less than three times as steep as the source nearby, or a little steeper than nothing,
costs nothing. Colours may be no steeper than the source's: ink is dark, not colourful.

It is meant for styles of flat areas and outlines; of hatching it would see nothing but edges.

N batch, H side of an image.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from adaptation.fine_detail import LUMA, gaussian_blur
from adaptation.palette import chroma

DEVIATION = 1.0  # in pixels, of the blur before: steps of a single pixel are noise
NEAR = 5  # pixels along the side of the square in which the source's steepest step counts
STEEPER = 3.0  # how many times as steep as that lightness may be
ALLOWED = 0.04  # steepness of lightness, from one pixel to the next, that costs nothing anywhere; of chroma a third
CHROMA = 3.0  # what steepness of chroma counts, beside that of lightness
SMALLEST = 1e-4  # steepness; below it the root's gradient would grow without bound


def new_edges_loss(images: Float[Array, 'N H H 3'], source: Float[Array, 'N H H 3']) -> Float[Array, '']:
    """The mean of the `new_edges`; 0: the images have no edge where the source has none."""
    return jnp.mean(new_edges(images, source))


def new_edges(images: Float[Array, 'N H H 3'], source: Float[Array, 'N H H 3']) -> Float[Array, 'N h h']:
    """How much steeper than allowed images are, at all pixels but the last ones of rows and columns.

    max(0, g(I_t) - 3 max g(I_s) - 0.04) of lightness + 3 max(0, g(I_t) - max g(I_s) - 0.04 / 3) of chroma; g is the
    length of the step to the next pixels below and at the right, after a slight blur, and max g the largest of it in a
    square of 5 pixels.

    Args:
        images: the adapted generator's, in [-1, 1].
        source: those of the source generator, for the same latents and cameras.
    """
    lightness, tint = _steepness(images)
    of_source, tint_of_source = map(_largest_nearby, _steepness(source))
    edges = jnp.maximum(lightness - STEEPER * of_source - ALLOWED, 0)
    fringes = jnp.maximum(tint - tint_of_source - ALLOWED / 3, 0)
    return edges + CHROMA * fringes


def _steepness(images: Float[Array, 'N H H 3']) -> tuple[Float[Array, 'N h h'], Float[Array, 'N h h']]:
    """The step from each pixel but the last ones of its row and column to the next: of lightness, and of chroma."""
    lightness = jnp.sum(images * jnp.asarray(LUMA), axis=-1, keepdims=True)
    smooth = gaussian_blur(jnp.concatenate([lightness, chroma(images)], axis=-1), DEVIATION)
    here = smooth[:, :-1, :-1]
    squares = jnp.square(smooth[:, 1:, :-1] - here) + jnp.square(smooth[:, :-1, 1:] - here)
    return _root(squares[..., 0]), _root(squares[..., 1] + squares[..., 2])


def _root(squares: Float[Array, 'N h h']) -> Float[Array, 'N h h']:
    return jnp.sqrt(jnp.maximum(squares, SMALLEST**2))


def _largest_nearby(steepness: Float[Array, 'N h h']) -> Float[Array, 'N h h']:
    return jax.lax.reduce_window(steepness, -jnp.inf, jax.lax.max, (1, NEAR, NEAR), (1, 1, 1), 'SAME')
