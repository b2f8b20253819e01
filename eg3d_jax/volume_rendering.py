"""Two-pass volume rendering of tri-planes with the mid-point ray marcher.

Letters: N batch, M rays, S samples of a ray, Q of them importance samples, F colour features, K parts, R any leading
axes.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from eg3d_jax.config import RenderingConfig
from eg3d_jax.layers import softplus
from eg3d_jax.rays import rays
from eg3d_jax.samplers import (
    importance_depths,
    importance_quantiles,
    merge_order,
    permute,
    stratified_depths,
    stratified_jitter,
)
from eg3d_jax.triplane import TriPlaneDecoder, sample_planes

DENSITY_SHIFT = -1.0  # added before the softplus, so that an untrained field is mostly empty
TRANSMITTANCE_FLOOR = 1e-10  # added to each factor of the transmittance
SMALLEST_TOTAL = 1e-30  # of a ray's weights, whose inverse is still finite


class RenderOutput(NamedTuple):
    """What `render` returns: h = w pixels, F colour features.

    feature_image: [N, h, w, F], in [-1, 1] but for the sigmoid's small margin; its first three channels are the RGB.
    depth: [N, h, w, 1], mean distance from the camera along the ray, in world units.
    weights_sum: [N, h, w, 1], the ray's accumulated weight in [0, 1].
    points: [N, h, w, 3], the points at that depth, in world space; no gradient reaches back through them.
    """

    feature_image: Float[Array, 'N h w F']
    depth: Float[Array, 'N h w 1']
    weights_sum: Float[Array, 'N h w 1']
    points: Float[Array, 'N h w 3']


class _RayBatch(NamedTuple):
    """What is known of the rays before anything is looked up in the planes."""

    origins: Float[Array, 'N M 3']
    directions: Float[Array, 'N M 3']
    jitter: Float[Array, 'N M S']
    quantiles: Float[Array, 'N M Q']


class _Rendered(NamedTuple):
    """Per ray, before the depth is clamped to the image's range."""

    features: Float[Array, 'N M F']
    depth: Float[Array, 'N M']
    weights_sum: Float[Array, 'N M']
    nearest: Float[Array, 'N M']
    farthest: Float[Array, 'N M']


def render(
    planes: Float[Array, 'N 3 H W C'],
    decoder: TriPlaneDecoder,
    camera: Float[Array, 'N 25'],
    config: RenderingConfig,
    key: PRNGKeyArray | None = None,
    resolution: int | None = None,
) -> RenderOutput:
    """Render the planes through `decoder` (EG3D, section 4.2).

    Args:
        planes: feature planes.
        camera: cam2world and intrinsics.
        key: for the jitter of the depths and for the importance samples; None: the deterministic mode.
        resolution: side of the feature image; None: the config's.

    Reverse-mode differentiable with respect to the planes and the decoder; the camera is taken as a constant. Where the
    config's `max_points` makes it render in parts, its numbers are the same, and its gradient computes each part again.
    It then goes through the batch image by image: to spread a batch over devices, call it under `jax.shard_map`.
    """
    resolution = config.neural_resolution if resolution is None else resolution
    origins, directions = jax.lax.stop_gradient(rays(camera, resolution))
    n, m = origins.shape[:2]
    jitter_key, quantile_key = (None, None) if key is None else jax.random.split(key)
    jitter = stratified_jitter((n, m, config.depth_resolution), jitter_key)
    quantiles = importance_quantiles((n, m, config.importance_resolution), quantile_key)
    rendered = _render_in_parts(planes, decoder, _RayBatch(origins, directions, jitter, quantiles), config)
    nearest = jnp.min(rendered.nearest, axis=1, keepdims=True)
    farthest = jnp.max(rendered.farthest, axis=1, keepdims=True)
    depth = jnp.clip(rendered.depth, nearest, farthest)
    points = jax.lax.stop_gradient(origins + depth[..., None] * directions)
    images = (rendered.features, depth[..., None], rendered.weights_sum[..., None], points)
    return RenderOutput(*(image.reshape(n, resolution, resolution, -1) for image in images))


def interval_weights(depths: Float[Array, '*R S'], densities: Float[Array, '*R S']) -> Float[Array, '*R S-1']:
    """Compositing weights of the intervals between neighbouring samples, from densities before any activation."""
    deltas = depths[..., 1:] - depths[..., :-1]
    density = softplus(0.5 * (densities[..., 1:] + densities[..., :-1]) + DENSITY_SHIFT)
    optical_depth = density * deltas
    # The running product of what passes, as a sum of logarithms: faster, forward and backward.
    passed = jnp.log(jnp.exp(-optical_depth[..., :-1]) + TRANSMITTANCE_FLOOR)
    transmittance = jnp.exp(jnp.pad(jnp.cumsum(passed, axis=-1), [(0, 0)] * (depths.ndim - 1) + [(1, 0)]))
    return -jnp.expm1(-optical_depth) * transmittance


def _render_in_parts(planes: Array, decoder: TriPlaneDecoder, batch: _RayBatch, config: RenderingConfig) -> _Rendered:
    """All rays at once; or, where those are too many points, image by image, and each image in equal parts."""
    n, m = batch.origins.shape[:2]
    points_per_ray = config.depth_resolution + config.importance_resolution
    if n * m * points_per_ray <= config.max_points:
        return _render_rays(planes, decoder, batch, config)

    parts = -(-m * points_per_ray // config.max_points)
    size = -(-m // parts)
    missing = ((0, 0), (0, parts * size - m), (0, 0))
    filled = jax.tree.map(lambda array: jnp.pad(array, missing, mode='edge'), batch)
    split = jax.tree.map(lambda array: array.reshape(n, parts, 1, size, array.shape[-1]), filled)  # N M . -> N K 1 M .

    @partial(jax.checkpoint, prevent_cse=False)
    def render_part(image_planes: Array, part: _RayBatch) -> _Rendered:
        return _render_rays(image_planes[None], decoder, part, config)

    def render_image(image: tuple[Array, _RayBatch]) -> _Rendered:
        return jax.lax.map(partial(render_part, image[0]), image[1])

    rendered = jax.lax.map(render_image, (planes, split))
    return jax.tree.map(lambda array: array.reshape(n, parts * size, *array.shape[4:])[:, :m], rendered)


def _render_rays(planes: Array, decoder: TriPlaneDecoder, batch: _RayBatch, config: RenderingConfig) -> _Rendered:
    def decode(depths: Array) -> tuple[Array, Array]:
        points = batch.origins[:, :, None, :] + depths[..., None] * batch.directions[:, :, None, :]  # N M S 3
        n, m, s, _ = points.shape
        colours, densities = decoder(sample_planes(planes, points.reshape(n, m * s, 3), config.box_warp))
        return colours.reshape(n, m, s, -1), densities.reshape(n, m, s)

    depths = stratified_depths(batch.jitter, config.ray_start, config.ray_end)
    colours, densities = decode(depths)
    if config.importance_resolution == 0:
        weights = interval_weights(depths, densities)
        return _composite(depths, weights, [colours], [_sample_weights(weights)], config.white_back)

    fine_depths = importance_depths(depths, interval_weights(depths, densities), batch.quantiles)
    fine_colours, fine_densities = decode(fine_depths)
    order, position = merge_order(depths, fine_depths)
    merged_depths = permute(jnp.concatenate([depths, fine_depths], axis=-1), order, position)
    merged_densities = permute(jnp.concatenate([densities, fine_densities], axis=-1), order, position)
    weights = interval_weights(merged_depths, merged_densities)
    # The weights are brought back to the colours' order, and not the (many more) colours into theirs.
    sample_weights = permute(_sample_weights(weights), position, order)
    parts = jnp.split(sample_weights, [config.depth_resolution], axis=-1)
    return _composite(merged_depths, weights, [colours, fine_colours], parts, config.white_back)


def _sample_weights(weights: Array) -> Array:
    """Weights of the samples: half the weight of each interval that a sample bounds, [.., S - 1] to [.., S]."""
    padded = jnp.pad(weights, [(0, 0)] * (weights.ndim - 1) + [(1, 1)])
    return 0.5 * (padded[..., :-1] + padded[..., 1:])


def _composite(
    depths: Array, weights: Array, colours: list[Array], sample_weights: list[Array], white_back: bool
) -> _Rendered:
    """Depths and weights of intervals along the rays; colours and sample weights in groups, in any order."""
    total = jnp.sum(weights, axis=-1)
    features = sum(
        (jnp.einsum('nms,nmsf->nmf', *group) for group in zip(sample_weights, colours, strict=True)),
        start=(1.0 - total)[..., None] if white_back else jnp.zeros(()),
    )
    # Scaled to a sum of about 1 before they are divided by it: the quotient's gradient holds the square of its divisor,
    # and the total of a ray through empty space is small enough for that to overflow.
    scaled = weights * jax.lax.stop_gradient(1.0 / jnp.maximum(total, SMALLEST_TOTAL))[..., None]
    scaled_total = jnp.sum(scaled, axis=-1)
    distance = jnp.sum(scaled * 0.5 * (depths[..., 1:] + depths[..., :-1]), axis=-1)
    hit = scaled_total > 0
    depth = jnp.where(hit, distance / jnp.where(hit, scaled_total, 1.0), jnp.inf)
    return _Rendered(2.0 * features - 1.0, depth, total, depths[..., 0], depths[..., -1])
