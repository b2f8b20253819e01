"""Diversity and copies of the reference."""

import numpy as np
import pytest

from adaptation.evaluation import diversity
from adaptation.evaluation.streaming import Moments

RNG = np.random.default_rng(0)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def moments(rows: np.ndarray) -> Moments:
    result = Moments(rows.shape[1], covariance=False)
    result.add(rows)
    return result


def pairwise(rows: np.ndarray) -> float:
    return float(np.mean([1 - rows[i] @ rows[j] for i in range(len(rows)) for j in range(len(rows)) if i != j]))


def test_mean_distance_is_that_of_all_pairs():
    rows = unit(RNG.standard_normal((30, 5)) + 0.5)
    assert diversity.mean_distance(moments(rows)) == pytest.approx(pairwise(rows), rel=1e-10)
    groups = np.split(rows, 3)
    values = diversity.mean_distances_without_each([moments(group) for group in groups])
    assert values[2] == pytest.approx(pairwise(rows[:20]), rel=1e-10)


def test_one_picture_for_all_has_no_diversity():
    rows = np.tile(unit(RNG.standard_normal(5)), (10, 1))
    assert diversity.mean_distance(moments(rows)) == pytest.approx(0.0, abs=1e-12)


def test_copies_are_nearer_than_heads_are_to_each_other():
    heads = unit(RNG.standard_normal((400, 8)))
    threshold, reference = diversity.copy_threshold(heads), unit(RNG.standard_normal(8))
    near = unit(reference + 0.01 * RNG.standard_normal((400, 8)))
    assert diversity.copies(near, reference, threshold) == 400
    assert diversity.copies(-near, reference, threshold) == 0
    # Other heads of the same world: about 5 % of them; the deviation of 400 such draws is 1.1 %.
    others = unit(RNG.standard_normal((400, 8)))
    assert diversity.copies(others, reference, threshold) / 400 == pytest.approx(0.05, abs=0.045)


def test_the_threshold_is_of_different_pictures_only():
    # Among 3 pictures there are 3 pairs; a picture's distance to itself, 0, is not one of them.
    assert diversity.copy_threshold(np.eye(3)) == pytest.approx(1.0)
