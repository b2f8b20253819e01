"""Where along the rays the field is evaluated: stratified depths, then depths where those found weight.

Letters: R any leading axes (batch, rays), S samples.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

DETERMINISTIC_JITTER = 0.5  # of a bin, where no key is given
WEIGHT_FLOOR = 0.01  # added to the smoothed weights, so that no bin is never sampled
PROBABILITY_FLOOR = 1e-5  # added before they are normalised
NARROWEST_BIN = 1e-5  # of probability; a narrower bin counts as one of width 1


def stratified_jitter(shape: tuple[int, ...], key: PRNGKeyArray | None) -> Float[Array, '...']:
    """Position of each sample in its bin, in [0, 1): random, or the middle where there is no key."""
    return jnp.full(shape, DETERMINISTIC_JITTER) if key is None else jax.random.uniform(key, shape)


def importance_quantiles(shape: tuple[int, ...], key: PRNGKeyArray | None) -> Float[Array, '...']:
    """Increasing quantiles in [0, 1] for `importance_depths`: uniformly random, or evenly spaced without a key.

    Sums of exponential variables over their total are distributed as sorted uniform ones, and cost no sorting.
    """
    if key is None:
        return jnp.broadcast_to(jnp.linspace(0.0, 1.0, shape[-1]), shape)
    sums = jnp.cumsum(jax.random.exponential(key, (*shape[:-1], shape[-1] + 1)), axis=-1)
    return sums[..., :-1] / sums[..., -1:]


def stratified_depths(jitter: Float[Array, '*R S'], start: float, end: float) -> Float[Array, '*R S']:
    """One depth in each of S bins, the first beginning at `start`, the last at `end` (it reaches beyond it)."""
    samples = jitter.shape[-1]
    return jnp.linspace(start, end, samples) + jitter * ((end - start) / (samples - 1))


def importance_depths(
    depths: Float[Array, '*R S'], weights: Float[Array, '*R S-1'], quantiles: Float[Array, '*R Q']
) -> Float[Array, '*R Q']:
    """Depths distributed as the (smoothed) compositing weights of the first pass. No gradient passes.

    Args:
        depths: of the first pass, increasing.
        weights: of its intervals.
        quantiles: in [0, 1], increasing. So are the depths returned.
    """
    depths, weights = jax.lax.stop_gradient((depths, weights))
    bins = 0.5 * (depths[..., :-1] + depths[..., 1:])
    probability = _smoothed(weights)[..., 1:-1] + PROBABILITY_FLOOR
    probability = probability / jnp.sum(probability, axis=-1, keepdims=True)
    cumulative = jnp.pad(jnp.cumsum(probability, axis=-1), [(0, 0)] * (depths.ndim - 1) + [(1, 0)])
    edges = bins[..., : cumulative.shape[-1]]  # as in the reference, the last bin edge is never reached

    # Both sequences increase, so the neighbours of a quantile are a maximum and a minimum: no search, no gather.
    passed = cumulative[..., None, :] <= quantiles[..., :, None]  # R Q S
    low, low_edge = (
        jnp.max(jnp.where(passed, x[..., None, :], x[..., None, :1]), axis=-1) for x in (cumulative, edges)
    )
    high, high_edge = (
        jnp.min(jnp.where(passed, x[..., None, -1:], x[..., None, :]), axis=-1) for x in (cumulative, edges)
    )
    width = high - low
    fraction = (quantiles - low) / jnp.where(width < NARROWEST_BIN, 1.0, width)
    # Rounding must not carry a depth into the next bin: the depths are in order, to the last bit.
    return jnp.minimum(low_edge + fraction * (high_edge - low_edge), high_edge)


def merge_order(
    first: Float[Array, '*R S'], second: Float[Array, '*R Q']
) -> tuple[Int[Array, '*R S+Q'], Int[Array, '*R S+Q']]:
    """(order, position) that merge two increasing sequences: entry k of the merged one is entry order[k] of their
    concatenation, whose entry i comes to be at position[i].

    Counting comparisons is far faster than sorting on a CPU, and as good elsewhere.
    """
    s, q = first.shape[-1], second.shape[-1]
    earlier_seconds = jnp.sum(second[..., None, :] < first[..., :, None], axis=-1)  # R S Q -> R S
    earlier_firsts = jnp.sum(first[..., None, :] <= second[..., :, None], axis=-1)  # R Q S -> R Q
    first_position = jnp.arange(s) + earlier_seconds
    position = jnp.concatenate([first_position, jnp.arange(q) + earlier_firsts], axis=-1)
    merged = jnp.arange(s + q)
    firsts_so_far = jnp.sum(first_position[..., None, :] <= merged[:, None], axis=-1)  # R S+Q S -> R S+Q
    is_first = jnp.any(first_position[..., None, :] == merged[:, None], axis=-1)
    return jnp.where(is_first, firsts_so_far - 1, s + merged - firsts_so_far), position


@jax.custom_vjp
def permute(x: Float[Array, '*R S'], order: Int[Array, '*R S'], position: Int[Array, '*R S']) -> Float[Array, '*R S']:
    """x[..., order]. Its gradient gathers by `position`, the inverse of `order`, instead of scattering."""
    return jnp.take_along_axis(x, order, axis=-1, mode='promise_in_bounds')


def _permute_forward(x: Array, order: Array, position: Array) -> tuple[Array, tuple[Array, Array]]:
    return permute(x, order, position), (order, position)


def _permute_backward(residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, None, None]:
    order, position = residuals
    return permute(gradient, position, order), None, None


permute.defvjp(_permute_forward, _permute_backward)


def _smoothed(weights: Float[Array, '*R S']) -> Float[Array, '*R S']:
    """Maximum over neighbouring pairs, then mean over neighbouring pairs, plus a floor."""
    edge = [(0, 0)] * (weights.ndim - 1) + [(1, 1)]
    padded = jnp.pad(weights, edge, constant_values=-jnp.inf)
    largest = jnp.maximum(padded[..., :-1], padded[..., 1:])
    return 0.5 * (largest[..., :-1] + largest[..., 1:]) + WEIGHT_FLOOR
