"""Heads seen by cameras, a batch at a time, as plain arrays.

N cameras, Z channels of z, L number of w vectors, D channels of w, S side of an image, s of a depth map.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import psutil
from jaxtyping import Array, Float, UInt8

from adaptation.generation.seeds import latents
from adaptation.step import frontal_cameras
from eg3d_jax import CameraConfig, GeneratorConfig, TriPlaneGenerator

WHITE = 255
MEMORY_SHARE = 0.25  # of what is free: a batch's arrays take no more
LARGEST_BATCH = {'cpu': 4}  # a CPU gains nothing from more
LARGEST_BATCH_ELSEWHERE = 16
BYTES = 4  # of a float32
LIVE_ARRAYS = 4  # of a layer's size that are alive at once, roughly


class Views(NamedTuple):
    """What cameras see: images in [-1, 1] (not clipped) and distances along the rays in world units."""

    images: Float[np.ndarray, 'N S S 3']
    depths: Float[np.ndarray, 'N s s']


@jax.jit
def _map(generator: TriPlaneGenerator, z: Array, conditioning: Array, truncation: Array) -> Array:
    return generator.mapping(z, conditioning, truncation)


@jax.jit
def _paint(generator: TriPlaneGenerator, ws: Array) -> Array:
    return generator.planes(ws)


@jax.jit
def _look(generator: TriPlaneGenerator, planes: Array, ws: Array, camera: Array) -> tuple[Array, Array]:
    rendered = generator.render(planes, camera)
    return generator.superresolve(rendered.feature_image, ws, rendered.points), rendered.depth[..., 0]


def map_seeds(
    generator: TriPlaneGenerator, seeds: Sequence[int], truncation: float, camera: CameraConfig
) -> Float[Array, 'N L D']:
    """w vectors of seeds, conditioned on the frontal camera."""
    z = jnp.asarray(latents(seeds, generator.config.z_dim))
    return map_latents(generator, z, frontal_cameras(len(seeds), camera), truncation)


def map_latents(
    generator: TriPlaneGenerator, z: Float[Array, 'N Z'], conditioning: Float[Array, 'N 25'], truncation: float
) -> Float[Array, 'N L D']:
    """w vectors of latents and conditioning cameras."""
    return _map(generator, z, conditioning, jnp.float32(truncation))


def paint(generator: TriPlaneGenerator, ws: Float[Array, '1 L D']) -> Float[Array, '1 3 H W C']:
    """The feature planes of one head."""
    return _paint(generator, ws)


def look(
    generator: TriPlaneGenerator, ws: Float[Array, 'W L D'], cameras: Float[Array, 'N 25'], batch_size: int
) -> Iterator[Views]:
    """What the cameras see of heads, in batches.

    Args:
        ws: one head for all cameras (its planes are painted once), or one for each.
        batch_size: cameras at a time. The last batch is filled up, so that one compiled program serves all.
    """
    count = len(cameras)
    batch_size = min(batch_size, count)
    planes = _paint(generator, ws) if len(ws) == 1 else None
    for start in range(0, count, batch_size):
        rows = np.minimum(np.arange(start, start + batch_size), count - 1)
        if planes is not None:
            batch = [jnp.broadcast_to(array, (batch_size, *array.shape[1:])) for array in (planes, ws)]
        else:
            batch = [_paint(generator, ws[rows]), ws[rows]]
        images, depths = _look(generator, *batch, cameras[rows])
        kept = min(batch_size, count - start)
        yield Views(np.asarray(images)[:kept], np.asarray(depths)[:kept])


def to_pixels(images: Float[np.ndarray, '*N S S 3']) -> UInt8[np.ndarray, '*N S S 3']:
    """Images in [-1, 1] (what lies outside is clipped) as bytes."""
    return np.round((np.clip(images, -1.0, 1.0) + 1.0) * (WHITE / 2)).astype(np.uint8)


def fitting_batch(config: GeneratorConfig) -> int:
    """How many cameras fit into the memory that is free, from a rough count of the arrays that rendering keeps."""
    device = jax.devices()[0]
    largest = LARGEST_BATCH.get(device.platform, LARGEST_BATCH_ELSEWHERE)
    return int(np.clip(MEMORY_SHARE * _free_bytes(device) / bytes_per_view(config), 1, largest))


def bytes_per_view(config: GeneratorConfig) -> int:
    """About what one camera's rendering takes."""
    rendering, decoder = config.rendering, config.decoder
    points = rendering.neural_resolution**2 * (rendering.depth_resolution + rendering.importance_resolution)
    per_point = config.backbone.plane_channels + decoder.hidden_channels + decoder.feature_channels
    top = config.backbone.resolution
    planes = top**2 * (config.backbone.channels(top) + 3 * config.backbone.plane_channels)
    image = config.image_resolution**2 * max(config.superresolution.channels)
    return BYTES * LIVE_ARRAYS * (min(points, rendering.max_points) * per_point + planes + image)


def _free_bytes(device: jax.Device) -> int:
    stats = device.memory_stats() if device.platform != 'cpu' else None
    if stats and 'bytes_limit' in stats:
        return int(stats['bytes_limit'] - stats.get('bytes_in_use', 0))
    return int(psutil.virtual_memory().available)
