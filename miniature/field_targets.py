"""What the tri-plane field should hold at points in space: supervision without any ray marching.

Along a ray that meets a head, the field is empty before the surface, filled just behind it, and has the surface's
colour in a thin band around it. Where a ray meets nothing, the background is a coloured layer before its far shell.
Letters: N heads, R pixels of a side, P points.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from eg3d_jax.rays import rays
from miniature import views, world

FACE = (0.0, -0.02, 0.22)  # a point on the middle of most faces
HAIR = (0.0, 0.18, 0.0)  # one in the hair, or in the hat
CHEST = (0.0, -0.47, 0.0)  # a point in the clothes, at the lower edge of most pictures
FACE_SIZE = 0.42  # of the part of the picture that holds the face
COLOUR_BAND = (-0.006, 0.014)  # along the ray, around the surface
FILLED_BAND = (0.004, 0.02)  # behind it
NEAR_GAP, NEAR_REACH = 0.006, 0.08  # free points crowd just before the surface
BACKGROUND_BAND = 0.06  # thickness of the background's layer
NEAREST = 2.2  # distance from the camera at which free space begins
BACKGROUND_WEIGHT = 0.3  # cameras disagree on where it ends


class FieldTargets(NamedTuple):
    """Points, and what is asked of the field there.

    points: [N, P, 3] in the world. colour: [N, P, 3] in [0, 1], with colour_weight [N, P].
    filled: [N, P], 1 inside and 0 in free space, with filled_weight [N, P].
    """

    points: Float[Array, 'N P 3']
    colour: Float[Array, 'N P 3']
    colour_weight: Float[Array, 'N P']
    filled: Float[Array, 'N P']
    filled_weight: Float[Array, 'N P']


def field_rays(camera: Float[Array, 'N 25'], side: int, key: PRNGKeyArray) -> Float[Array, '2*N 25']:
    """Cameras whose side x side pixels are rays through each whole picture, then as many through its face.

    The grid of pixels is shifted at random by up to half a pixel.
    """
    jitter = jax.random.uniform(key, (2, camera.shape[0], 2), minval=-0.5, maxval=0.5) / side
    face_corner = views.project(camera, jnp.array(FACE)) - FACE_SIZE / 2
    whole = views.crop(camera, jitter[0], 1.0)
    return jnp.concatenate([whole, views.crop(camera, face_corner + FACE_SIZE * jitter[1], FACE_SIZE)])


def field_targets(
    seen: world.Buffers, camera: Float[Array, 'N 25'], key: PRNGKeyArray, stride: int = 1
) -> FieldTargets:
    """Targets along the rays of every stride-th pixel (in both directions) of what these cameras see."""
    n, side = seen.mask.shape[:2]
    _, directions = rays(camera, side)  # [N, R * R, 3]

    def every(image: Array) -> Array:
        grid = image.reshape(n, side, side, -1)[:, stride // 2 :: stride, stride // 2 :: stride]
        return grid.reshape(n, -1, grid.shape[-1])

    hit, depth = every(seen.mask)[..., 0], every(seen.depth)[..., 0]
    surface, colour, directions = every(seen.point), every(seen.colour), every(directions)
    band, filled, near, far = jax.random.uniform(key, (4, *hit.shape))
    inside_shell = jnp.sum(jnp.square(surface), axis=-1) < world.BACKGROUND_RADIUS**2 * 1.001

    layer = -BACKGROUND_BAND * jnp.stack([band, filled])  # the background's layer ends at the shell
    band = jnp.where(hit, COLOUR_BAND[0] + band * (COLOUR_BAND[1] - COLOUR_BAND[0]), layer[0])
    filled = jnp.where(hit, FILLED_BAND[0] + filled * (FILLED_BAND[1] - FILLED_BAND[0]), layer[1])
    gap = jnp.where(hit, NEAR_GAP, BACKGROUND_BAND + 0.02)
    near = -gap - NEAR_REACH * jnp.square(near)
    far = -gap - far * (depth - NEAREST - gap)
    offsets = jnp.concatenate([band, filled, near, far], axis=1)  # [N, 4 P]
    points = jnp.tile(surface, (1, 4, 1)) + offsets[..., None] * jnp.tile(directions, (1, 4, 1))

    known = jnp.where(hit, 1.0, BACKGROUND_WEIGHT * inside_shell)
    zeros, ones = jnp.zeros_like(known), jnp.ones_like(known)
    return FieldTargets(
        points=points,
        colour=jnp.tile(colour, (1, 4, 1)),
        colour_weight=jnp.concatenate([known, known, zeros, zeros], axis=1),
        filled=jnp.concatenate([ones, ones, zeros, zeros], axis=1),
        filled_weight=jnp.concatenate([zeros, known, ones, ones], axis=1),
    )
