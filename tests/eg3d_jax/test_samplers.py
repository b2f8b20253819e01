"""Properties of the depth samplers and of merging."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eg3d_jax.samplers import (
    importance_depths,
    importance_quantiles,
    merge_order,
    permute,
    stratified_depths,
    stratified_jitter,
)

RAYS, SAMPLES = 40, 16


def first_pass(seed: int) -> tuple[jax.Array, jax.Array]:
    jitter_key, weight_key = jax.random.split(jax.random.key(seed))
    depths = stratified_depths(stratified_jitter((RAYS, SAMPLES), jitter_key), 2.0, 3.0)
    return depths, jax.random.uniform(weight_key, (RAYS, SAMPLES - 1)) ** 4


class TestStratified:
    def test_without_a_key_each_depth_is_in_the_middle(self):
        depths = stratified_depths(stratified_jitter((1, 5), None), 2.0, 3.0)
        np.testing.assert_allclose(depths[0], [2.125, 2.375, 2.625, 2.875, 3.125], rtol=1e-6)

    def test_random_depths_stay_in_their_bins(self):
        depths, _ = first_pass(0)
        starts = np.linspace(2.0, 3.0, SAMPLES)
        assert np.all((depths >= starts - 1e-6) & (depths <= starts + 1.0 / (SAMPLES - 1) + 1e-6))
        assert np.std(depths[:, 0]) > 0


class TestQuantiles:
    def test_even_ones_reach_both_ends(self):
        np.testing.assert_allclose(importance_quantiles((2, 3), None), [[0.0, 0.5, 1.0]] * 2)

    def test_random_ones_are_sorted_uniform_ones(self):
        quantiles = np.asarray(importance_quantiles((4000, 3), jax.random.key(0)))
        assert np.all(np.diff(quantiles, axis=-1) >= 0)
        assert np.all((quantiles >= 0) & (quantiles <= 1))
        # The k-th of three sorted uniform variables has mean k / 4.
        np.testing.assert_allclose(quantiles.mean(axis=0), [0.25, 0.5, 0.75], atol=0.02)


def searched_depths(depths: np.ndarray, weights: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """A plain transcription for one ray: search, then interpolate linearly."""
    bins = 0.5 * (depths[1:] + depths[:-1])
    padded = np.pad(weights, 1, constant_values=-np.inf)
    largest = np.maximum(padded[1:], padded[:-1])
    smoothed = 0.5 * (largest[1:] + largest[:-1]) + 0.01
    probability = smoothed[1:-1] + 1e-5
    cumulative = np.concatenate([[0.0], np.cumsum(probability / probability.sum())])
    result = []
    for quantile in quantiles:
        index = np.searchsorted(cumulative, quantile, side='right')
        below, above = max(index - 1, 0), min(index, len(cumulative) - 1)
        width = cumulative[above] - cumulative[below]
        fraction = (quantile - cumulative[below]) / (1.0 if width < 1e-5 else width)
        result.append(bins[below] + fraction * (bins[above] - bins[below]))
    return np.array(result)


class TestImportance:
    @pytest.mark.parametrize('key', [None, jax.random.key(3)], ids=['even', 'random'])
    def test_against_a_plain_search(self, key):
        depths, weights = first_pass(1)
        quantiles = importance_quantiles((RAYS, 12), key)
        actual = importance_depths(depths, weights, quantiles)
        for ray in range(RAYS):
            arguments = (np.asarray(array[ray], np.float64) for array in (depths, weights, quantiles))
            np.testing.assert_allclose(actual[ray], searched_depths(*arguments), atol=1e-5)

    def test_depths_are_in_order_to_the_last_bit(self):
        depths, weights = first_pass(2)
        fine = importance_depths(depths, weights, importance_quantiles((RAYS, 300), jax.random.key(4)))
        assert np.all(np.diff(fine, axis=-1) >= 0)

    def test_they_gather_where_the_weight_is(self):
        depths = stratified_depths(stratified_jitter((1, 32), None), 2.0, 3.0)
        weights = jnp.zeros((1, 31)).at[0, 15].set(1.0)
        fine = importance_depths(depths, weights, importance_quantiles((1, 101), None))
        assert np.mean(np.abs(fine - depths[0, 15]) < 0.1) > 0.6

    def test_no_gradient_passes(self):
        depths, weights = first_pass(3)
        quantiles = importance_quantiles((RAYS, 5), None)
        gradient = jax.grad(lambda weights: jnp.sum(importance_depths(depths, weights, quantiles)))(weights)
        np.testing.assert_array_equal(gradient, 0.0)


class TestMerging:
    def test_it_sorts(self):
        first, second = (jnp.sort(jax.random.uniform(jax.random.key(seed), (RAYS, 9 + seed))) for seed in (0, 1))
        second = second.at[:, 3].set(first[:, 4]).sort()  # ties
        both = jnp.concatenate([first, second], axis=-1)
        order, position = merge_order(first, second)
        np.testing.assert_array_equal(order, np.argsort(both, axis=-1, kind='stable'))
        np.testing.assert_array_equal(permute(both, order, position), np.sort(both, axis=-1))
        np.testing.assert_array_equal(permute(permute(both, order, position), position, order), both)

    def test_gradient_goes_back_to_where_it_came_from(self):
        order, position = jnp.array([[2, 0, 1]]), jnp.array([[1, 2, 0]])
        x = jnp.array([[1.0, 2.0, 3.0]])
        gradient = jax.grad(lambda x: jnp.sum(permute(x, order, position) * jnp.array([[10.0, 20.0, 30.0]])))(x)
        np.testing.assert_array_equal(gradient, [[20.0, 30.0, 10.0]])
