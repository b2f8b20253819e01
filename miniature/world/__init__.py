"""A procedural world of heads: the ground truth that the miniature's networks are trained on and measured against.

`from_latent` turns latents into heads, `render` draws them in any style, `query` says what is where, `captions` says it
in words. All of it is a deterministic, jit- and vmap-able function of the heads and the cameras.
"""

from miniature.world.anatomy import Part
from miniature.world.captions import CLASSES, STYLE_PHRASES, captions, class_prompts, classes, vocabulary
from miniature.world.latent import ATTRIBUTES, LATENT_SIZE, Heads, attributes, from_latent, sample
from miniature.world.paint import paired_colours, worn_colours
from miniature.world.styles import STYLES, render, render_styles
from miniature.world.trace import BACKGROUND_RADIUS, Buffers, background_colour, buffers, query

__all__ = [
    'ATTRIBUTES',
    'BACKGROUND_RADIUS',
    'CLASSES',
    'LATENT_SIZE',
    'STYLES',
    'STYLE_PHRASES',
    'Buffers',
    'Heads',
    'Part',
    'attributes',
    'background_colour',
    'buffers',
    'captions',
    'class_prompts',
    'classes',
    'from_latent',
    'paired_colours',
    'query',
    'render',
    'render_styles',
    'sample',
    'vocabulary',
    'worn_colours',
]
