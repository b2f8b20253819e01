"""Depth differences and occupancies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eg3d_jax
from adaptation.evaluation import geometry
from adaptation.leaves import named_leaves, with_leaves


def test_depth_difference_counts_what_both_show():
    first = np.asarray([[[1.0, 2.0], [3.0, 4.0]]] * 2, np.float32)
    second = first + np.asarray([[0.1, -0.3], [9.0, 9.0]], np.float32)
    seen = np.asarray([[[1.0, 1.0], [1.0, 0.4]], [[0.0, 0.0], [0.0, 0.0]]], np.float32)
    also = np.asarray([[[1.0, 0.5], [0.0, 1.0]]] * 2, np.float32)
    difference = np.asarray(jax.jit(geometry.depth_difference)(first, second, seen, also))
    assert difference[0] == pytest.approx(0.2, rel=1e-5)
    assert np.isnan(difference[1])  # nothing to compare in the second image


def test_grid_is_regular_and_fills_the_cube():
    points = np.asarray(jax.jit(geometry.grid_points, static_argnums=0)(2.0))
    assert points.shape == (geometry.GRID**3, 3)
    side = 2.0 / geometry.GRID
    np.testing.assert_allclose(points.min(axis=0), -1 + side / 2, rtol=1e-6)
    np.testing.assert_allclose(points.max(axis=0), 1 - side / 2, rtol=1e-6)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-6)
    assert len(np.unique(points.round(5), axis=0)) == geometry.GRID**3


def test_drift_and_overlap():
    first = jnp.asarray([[1.0, 0.6, 0.0, 0.0], [0.1, 0.1, 0.0, 0.0]])
    second = jnp.asarray([[0.5, 0.2, 0.8, 0.0], [0.1, 0.1, 0.0, 0.4]])
    np.testing.assert_allclose(
        jax.jit(geometry.occupancy_drift)(first, second), [(0.5 + 0.4 + 0.8) / 4, 0.1], rtol=1e-6
    )
    overlap = np.asarray(jax.jit(geometry.occupancy_iou)(first, second))
    assert overlap[0] == pytest.approx(1 / 3)  # of three cells that either has, one is in both
    assert np.isnan(overlap[1])


def test_occupancy_follows_the_density(tiny_generator: eg3d_jax.TriPlaneGenerator):
    """Where the decoder's density is a constant, so is the occupancy: 1 - exp(-softplus(s - 1) side)."""
    leaves = named_leaves(tiny_generator)
    last = 'decoder.net.2'
    weight, bias = leaves[f'{last}.weight'], leaves[f'{last}.bias']
    constant = with_leaves(
        tiny_generator, {f'{last}.weight': jnp.zeros_like(weight), f'{last}.bias': jnp.full_like(bias, 30.0)}
    )
    planes = jnp.zeros((1, 3, 4, 4, tiny_generator.config.backbone.plane_channels))
    found = np.asarray(jax.jit(geometry.occupancy)(constant, planes))
    side = tiny_generator.config.rendering.box_warp / geometry.GRID
    np.testing.assert_allclose(found, 1 - np.exp(-29.0 * side), rtol=1e-5)
