"""Statistics of a stream equal those of all of it at once, and survive being put aside."""

from collections.abc import Callable

import numpy as np
import pytest

from adaptation.evaluation.streaming import Kept, Mean, Moments

ROWS = np.random.default_rng(0).standard_normal((50, 4)) * [1.0, 2.0, 0.1, 5.0] + 1000.0  # far from 0: no cancellation


def test_mean_and_standard_error_leave_out_what_is_not_a_number():
    values = np.array([1.0, np.nan, 4.0, 2.0, np.nan, 7.0, np.nan])
    mean = Mean()
    for part in (values[:2], values[2:6], values[6:]):
        mean.add(part)
    present = values[~np.isnan(values)]
    assert mean.count == 4
    assert mean.mean == pytest.approx(present.mean())
    assert mean.standard_error == pytest.approx(present.std(ddof=1) / 2)


def test_one_sample_has_no_standard_error():
    mean = Mean()
    mean.add(np.array([3.0]))
    assert mean.mean == 3.0
    assert np.isnan(mean.standard_error)


@pytest.mark.parametrize('sizes', [(50,), (1, 49), (7, 0, 13, 30)])
def test_moments_of_batches(sizes: tuple[int, ...]):
    moments = Moments(4, covariance=True)
    for part in np.split(ROWS, np.cumsum(sizes)[:-1]):
        moments.add(part)
    np.testing.assert_allclose(moments.mean, ROWS.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(moments.covariance, np.cov(ROWS, rowvar=False), rtol=1e-9, atol=1e-9)


def test_moments_of_parts_are_those_of_all():
    parts = [Moments(4, covariance=True) for _ in range(4)]
    for part, rows in zip(parts, np.split(ROWS, [3, 3, 30]), strict=True):
        part.add(rows)
    merged = Moments.merged(parts)
    assert merged.count == 50
    np.testing.assert_allclose(merged.covariance, np.cov(ROWS, rowvar=False), rtol=1e-9, atol=1e-9)
    assert parts[0].count == 3  # the parts stay as they were
    np.testing.assert_allclose(parts[0].covariance, np.cov(ROWS[:3], rowvar=False), rtol=1e-9, atol=1e-9)


def test_no_covariance_that_was_not_asked_for():
    moments = Moments(4, covariance=False)
    moments.add(ROWS)
    with pytest.raises(ValueError, match='no covariance'):
        _ = moments.covariance


def test_kept_are_the_first_up_to_the_bound():
    kept = Kept(5)
    for part in np.split(ROWS, [3, 9]):
        kept.add(part)
    np.testing.assert_allclose(kept.rows, ROWS[:5], rtol=1e-6)  # kept in float32


@pytest.mark.parametrize('make', [lambda: Moments(4, covariance=True), lambda: Kept(20)])
def test_put_aside_and_taken_up(make: Callable[[], Moments | Kept]):
    straight, first, second = make(), make(), make()
    for part in (ROWS[:12], ROWS[12:]):
        straight.add(part)
    first.add(ROWS[:12])
    second.restore(first.arrays())
    second.add(ROWS[12:])
    for name, array in straight.arrays().items():
        np.testing.assert_array_equal(second.arrays()[name], array)


def test_mean_put_aside_and_taken_up():
    mean, again = Mean(), Mean()
    mean.add(ROWS[:, 0])
    again.restore(mean.arrays())
    assert (again.count, again.mean, again.standard_error) == (mean.count, mean.mean, mean.standard_error)
