"""Confidence intervals against textbook values."""

import numpy as np
import pytest

from adaptation.evaluation import intervals


def test_of_mean():
    assert intervals.of_mean(2.0, 0.5) == pytest.approx((2 - 1.959964 * 0.5, 2 + 1.959964 * 0.5))
    assert intervals.of_mean(2.0, float('nan')) is None


def test_of_share_is_wilsons():
    assert intervals.of_share(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    low, high = intervals.of_share(0, 100)
    assert low == 0.0  # and not what rounding makes of it
    assert high == pytest.approx(0.0370, abs=1e-4)
    assert intervals.of_share(0, 0) is None


def test_jackknife_of_a_mean_is_students_interval():
    values = np.random.default_rng(0).standard_normal(9)
    without = np.array([np.delete(values, index).mean() for index in range(9)])
    half = 2.306004 * values.std(ddof=1) / 3  # Student's t of 8 degrees of freedom
    assert intervals.of_jackknife(values.mean(), without) == pytest.approx((values.mean() - half, values.mean() + half))


def test_jackknife_of_one_group_or_of_no_numbers_is_none():
    assert intervals.of_jackknife(1.0, np.array([1.0])) is None
    assert intervals.of_jackknife(1.0, np.array([1.0, np.nan])) is None
