"""Distances between sets of pictures."""

import numpy as np
import pytest
from skimage import color

from benchmarks.target_domain import Samples, depth_change, diversity, frechet, medians, reinhard


def gaussian(mean: np.ndarray, deviation: np.ndarray, count: int = 400, seed: int = 0) -> np.ndarray:
    """Samples whose mean and covariance are exactly these."""
    x = np.random.default_rng(seed).standard_normal((count, len(mean)))
    x -= x.mean(axis=0)
    white = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return white * deviation + mean


def test_frechet_follows_its_equation_for_aligned_gaussians():
    one = gaussian(np.array([0.0, 1.0, -2.0]), np.array([1.0, 2.0, 0.5]))
    other = gaussian(np.array([3.0, 1.0, -1.0]), np.array([0.5, 1.0, 0.5]), seed=1)
    expected = 3.0**2 + 1.0**2 + 0.5**2 + 1.0**2
    assert frechet(one, other) == pytest.approx(expected, rel=1e-6)
    assert frechet(other, one) == pytest.approx(expected, rel=1e-6)


def test_frechet_is_zero_for_equal_sets_and_blind_to_rotations_of_both():
    rng = np.random.default_rng(2)
    one, other = rng.standard_normal((200, 8)), rng.standard_normal((300, 8)) * 1.5 + 0.3
    rotation = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    assert frechet(one, one) == pytest.approx(0.0, abs=1e-9)
    assert frechet(one @ rotation, other @ rotation) == pytest.approx(frechet(one, other), rel=1e-9)


def test_frechet_of_one_point_repeated():
    cloud = gaussian(np.array([1.0, 0.0]), np.array([2.0, 1.0]))
    point = np.tile([[1.0, 3.0]], (50, 1))
    assert frechet(point, cloud) == pytest.approx(9.0 + 4.0 + 1.0, rel=1e-6)


def test_diversity_is_the_mean_distance_of_pairs():
    points = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    assert diversity(points) == pytest.approx((5.0 + 5.0 + 0.0) / 3)


def test_colour_transfer_takes_the_references_statistics_and_keeps_the_drawing():
    rng = np.random.default_rng(0)
    images = rng.uniform(-0.2, 0.2, (2, 16, 16, 3)).astype(np.float32)
    reference = np.clip(rng.normal([0.1, 0.0, -0.1], 0.05, (16, 16, 3)), -1, 1).astype(np.float32)
    moved = reinhard(images, reference)
    wanted = color.rgb2lab((reference + 1) / 2)
    for image, source in zip(moved, images, strict=True):
        lab = color.rgb2lab((image + 1) / 2)
        np.testing.assert_allclose(lab.mean(axis=(0, 1)), wanted.mean(axis=(0, 1)), atol=0.05)
        np.testing.assert_allclose(lab.std(axis=(0, 1)), wanted.std(axis=(0, 1)), atol=0.05)
        before = color.rgb2lab((source + 1) / 2)[..., 0].ravel()
        assert np.corrcoef(before, lab[..., 0].ravel())[0, 1] > 0.999


def test_depth_change_is_a_share_of_the_range():
    images = np.zeros((1, 4, 4, 3), np.float32)
    near, far = (Samples(images, np.full((1, 2, 2, 1), depth, np.float32)) for depth in (2.5, 2.6))
    assert depth_change(near, far, 2.0) == pytest.approx(0.05, rel=1e-5)
    assert depth_change(near, near, 2.0) == 0.0


def test_medians_of_several_runs():
    reports = [
        {'style': 'sketch', 'samples': 4, 'frechet': {'adapted': value, 'floor': 1.0}, 'fall': 1.0 - value}
        for value in (0.5, 0.1, 0.2)
    ]
    assert medians(reports) == {'frechet': {'adapted': 0.2, 'floor': 1.0}, 'fall': 0.8}
