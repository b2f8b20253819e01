"""What the miniature's generator is trained on: the field at points, and pictures of parts of the view.

All terms are means of absolute differences unless said otherwise; colours are compared in [0, 1].
Letters: N heads, R rendered pixels of a side, P points.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from eg3d_jax import TriPlaneGenerator, render, sample_planes
from eg3d_jax.config import RGB_CHANNELS
from eg3d_jax.superresolution import WS_PER_BLOCK, Superresolution
from miniature import views, world
from miniature.field_targets import CHEST, FACE, HAIR, FieldTargets

FILLED_SCALE = 0.1  # from raw density to the logit of "filled": a logit of 5 is a density of 50
PATCH = 0.375  # side of the rendered part of the picture
AROUND = ((FACE, 0.24), (HAIR, 0.5), (CHEST, 0.5))  # what parts are around; how far they are shifted, in all
MARGIN = 4  # pixels of G2's picture along a part's border, where it sees less than it does in a whole picture
WEIGHTS = {
    'colour': 1.5,
    'filled': 0.4,
    'raw': 1.0,
    'image': 2.0,
    'square': 20.0,
    'gradient': 0.7,
    'depth': 1.0,
    'opacity': 0.3,
}


def field_losses(
    generator: TriPlaneGenerator, planes: Float[Array, 'N 3 H W C'], targets: FieldTargets
) -> dict[str, Float[Array, '']]:
    """'colour' (absolute difference) and 'filled' (logistic loss of the density) at the targets' points."""
    features = sample_planes(planes, targets.points, generator.config.rendering.box_warp)
    colours, density = generator.decoder(features)
    colour_error = jnp.mean(jnp.abs(colours[..., :RGB_CHANNELS] - targets.colour), axis=-1)
    logistic = optax.sigmoid_binary_cross_entropy(FILLED_SCALE * (density - 1.0), targets.filled)
    return {
        'colour': _weighted_mean(colour_error, targets.colour_weight),
        'filled': _weighted_mean(logistic, targets.filled_weight),
    }


class PictureTargets(NamedTuple):
    """A part of each head's true picture: R rendered pixels and 2 R final ones along a side, colours in [0, 1].

    `inner` is 1 at pixels of which G2 sees as much as in the whole picture, 0 at the others.
    """

    raw: Float[Array, 'N R R 3']
    image: Float[Array, 'N 2*R 2*R 3']
    inner: Float[Array, 'N 2*R 2*R 1']
    depth: Float[Array, 'N R R 1']
    hit: Float[Array, 'N R R 1']


def picture_targets(seen: world.Buffers, corner: Float[Array, 'N 2']) -> PictureTargets:
    """Targets from buffers of 4 x 4 samples for each rendered pixel, of parts with these upper left corners (u, v)."""
    image = _pool(seen.colour)
    hit = _pool(_pool(seen.mask[..., None].astype(jnp.float32)))
    return PictureTargets(
        raw=_pool(image),
        image=image,
        inner=inner_pixels(corner, image.shape[1]),
        depth=_pool(_pool(seen.depth[..., None])),
        hit=(hit > 0.99).astype(jnp.float32),
    )


def inner_pixels(corner: Float[Array, 'N 2'], side: int) -> Float[Array, 'N H W 1']:
    """1 at a part's pixels that are `MARGIN` away from its border, or where that is the whole picture's border too.

    Args:
        corner: the parts' upper left corners (u, v), in units of the picture's side.
        side: of a part, in G2's pixels.
    """
    place = jnp.arange(side)
    starts_picture, ends_picture = corner < 1e-3, corner > 1 - PATCH - 1e-3
    along = (starts_picture[..., None] | (place >= MARGIN)) & (ends_picture[..., None] | (place < side - MARGIN))
    return (along[:, 1, :, None] & along[:, 0, None, :])[..., None].astype(jnp.float32)


def picture_losses(
    generator: TriPlaneGenerator,
    planes: Float[Array, 'N 3 H W C'],
    ws: Float[Array, 'N L D'],
    targets: PictureTargets,
    camera: Float[Array, 'N 25'],
    key: PRNGKeyArray,
) -> dict[str, Float[Array, '']]:
    """'raw', 'depth', 'opacity', 'image', 'square' (of the image's error) and 'gradient' of the parts of the pictures
    that these cameras see."""
    rendered = render(planes, generator.decoder, camera, generator.config.rendering, key, targets.raw.shape[1])
    raw = rendered.feature_image[..., :RGB_CHANNELS] * 0.5 + 0.5
    image = superresolve_patch(generator.superresolution, rendered.feature_image, ws) * 0.5 + 0.5
    return {
        'raw': jnp.mean(jnp.abs(raw - targets.raw)),
        'depth': _weighted_mean(jnp.abs(rendered.depth - targets.depth), targets.hit),
        'opacity': jnp.mean(1.0 - rendered.weights_sum),
        'image': _weighted_mean(jnp.abs(image - targets.image).mean(-1, keepdims=True), targets.inner),
        'square': _weighted_mean(jnp.square(image - targets.image).mean(-1, keepdims=True), targets.inner),
        'gradient': gradient_difference(image, targets.image, targets.inner),
    }


def superresolve_patch(
    g2: Superresolution, feature_image: Float[Array, 'N h h F'], ws: Float[Array, 'N L D']
) -> Float[Array, 'N H H 3']:
    """G2 on a part of a feature image, which is not resized; without noise G2 is the same everywhere in the picture."""
    last_ws = jnp.repeat(ws[:, -1:], WS_PER_BLOCK, axis=1)
    x, image = g2.block0(feature_image, feature_image[..., :RGB_CHANNELS], last_ws, noise_mode='none')
    return g2.block1(x, image, last_ws, noise_mode='none')[1]


def total(losses: dict[str, Float[Array, '']]) -> Float[Array, '']:
    """The losses' weighted sum."""
    return sum((WEIGHTS[name] * value for name, value in losses.items()), jnp.zeros(()))


def patch_corners(camera: Float[Array, 'N 25'], resolution: int, key: PRNGKeyArray) -> Float[Array, 'N 2']:
    """Corners (u, v) of parts on the pixel grid, in turns around face, hair, chest, and any pixel.

    The middle is drawn, and the part moved into the picture: its edges are seen as often as the rest of it.
    """
    n = camera.shape[0]
    some, anywhere = jax.random.uniform(key, (2, n, 2))
    middles = [views.project(camera, jnp.array(point)) + shift * (some - 0.5) for point, shift in AROUND]
    middle = jnp.stack([*middles, anywhere])[jnp.arange(n) % (len(AROUND) + 1), jnp.arange(n)]
    return jnp.round(jnp.clip(middle - PATCH / 2, 0.0, 1 - PATCH) * resolution) / resolution


def _pool(x: Array) -> Array:
    """Means over blocks of 2 x 2 pixels."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))


def gradient_difference(
    image: Float[Array, 'N H W 3'], target: Float[Array, 'N H W 3'], counted: Float[Array, 'N H W 1'] | None = None
) -> Float[Array, '']:
    """Mean absolute difference of the steps to the next pixels, of the pixels that are counted (None: all)."""
    error = image - target
    counted = jnp.ones_like(error[..., :1]) if counted is None else counted
    down = jnp.abs(error[:, 1:] - error[:, :-1]).mean(-1, keepdims=True)
    right = jnp.abs(error[:, :, 1:] - error[:, :, :-1]).mean(-1, keepdims=True)
    return _weighted_mean(down, counted[:, 1:] * counted[:, :-1]) + _weighted_mean(
        right, counted[:, :, 1:] * counted[:, :, :-1]
    )


def _weighted_mean(values: Array, weights: Array) -> Array:
    return jnp.sum(values * weights) / (jnp.sum(weights) + 1e-6)
