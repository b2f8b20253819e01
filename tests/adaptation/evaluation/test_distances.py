"""Distances between sets of features, against their equations written out."""

import numpy as np
import pytest
import scipy.linalg

from adaptation.evaluation import kernel_distance
from adaptation.evaluation.frechet import FrechetTarget
from adaptation.evaluation.kernel_distance import cmmd, gaussian_kernel, kid, polynomial_kernel, unbiased_mmd
from adaptation.evaluation.streaming import Moments

RNG = np.random.default_rng(0)


def moments(rows: np.ndarray) -> Moments:
    result = Moments(rows.shape[1], covariance=True)
    result.add(rows)
    return result


def features(count: int, dimension: int, shift: float = 0.0) -> np.ndarray:
    """Correlated, positive and small, as pooled features of networks are."""
    mixing = np.random.default_rng(9).standard_normal((dimension, dimension)) / dimension**0.5
    return np.maximum(RNG.standard_normal((count, dimension)) @ mixing + shift, 0.0)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def pytorch_fid(one: np.ndarray, other: np.ndarray) -> float:
    """The published formula on mean and covariance, by the matrix square root."""
    gap = one.mean(axis=0) - other.mean(axis=0)
    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    root = scipy.linalg.sqrtm(first @ second)
    return float(gap @ gap + np.trace(first) + np.trace(second) - 2 * np.trace(root).real)


class TestFrechet:
    @pytest.mark.parametrize(('count', 'dimension'), [(400, 1), (400, 16), (300, 64)])
    def test_equals_the_published_formula(self, count: int, dimension: int):
        one, other = features(count, dimension, 0.3), features(count + 50, dimension)
        if dimension == 1:  # sqrtm takes no scalars: |m1 - m2|^2 + (s1 - s2)^2
            expected = (one.mean() - other.mean()) ** 2 + (one.std(ddof=1) - other.std(ddof=1)) ** 2
        else:
            expected = pytorch_fid(one, other)
        assert expected > 0.01
        assert FrechetTarget(moments(other)).distance(moments(one)) == pytest.approx(expected, abs=1e-3, rel=1e-4)

    def test_is_zero_to_itself_also_where_the_covariance_is_singular(self):
        for rows in (features(200, 20), features(10, 20)):
            # the roots of eigenvalues of 1e-16 are 1e-8: no more digits than that
            assert FrechetTarget(moments(rows)).distance(moments(rows)) == pytest.approx(0.0, abs=1e-6)

    def test_of_singular_covariances(self):
        # All of one set lies on an axis, all of the other on another: the covariances' product is 0.
        line = RNG.standard_normal(100)
        one, other = np.zeros((100, 3)), np.zeros((100, 3))
        one[:, 0], other[:, 1] = line, 2 * line
        gap = line.mean() ** 2 + (2 * line.mean()) ** 2
        expected = gap + line.var(ddof=1) + 4 * line.var(ddof=1)
        assert FrechetTarget(moments(other)).distance(moments(one)) == pytest.approx(expected, rel=1e-6)

    def test_without_each_group(self):
        rows, target = features(90, 6, 0.2), FrechetTarget(moments(features(200, 6)))
        groups = np.split(rows, 3)
        values = target.without_each([moments(group) for group in groups])
        rest = [np.concatenate([groups[1], groups[2]]), np.concatenate([groups[0], groups[2]]), rows[:60]]
        np.testing.assert_allclose(values, [target.distance(moments(part)) for part in rest], rtol=1e-9)


class TestKernelDistances:
    def test_unbiased_mmd_is_its_double_sum(self):
        x, y = features(5, 3), features(4, 3, 0.5)
        for kernel in (polynomial_kernel, gaussian_kernel):
            xx = np.mean([kernel(x[[i]], x[[j]]) for i in range(5) for j in range(5) if i != j])
            yy = np.mean([kernel(y[[i]], y[[j]]) for i in range(4) for j in range(4) if i != j])
            xy = np.mean([kernel(x[[i]], y[[j]]) for i in range(5) for j in range(4)])
            assert unbiased_mmd(x, y, kernel) == pytest.approx(xx + yy - 2 * xy, rel=1e-9, abs=1e-12)

    def test_kernels(self):
        x, y = np.array([[1.0, 2.0]]), np.array([[3.0, -1.0], [0.0, 0.0]])
        np.testing.assert_allclose(polynomial_kernel(x, y), [[(1 / 2 + 1) ** 3, 1.0]])
        expected = 1000 * np.exp([-13 / 200, -5 / 200])
        np.testing.assert_allclose(gaussian_kernel(x, y), [expected])

    def test_cmmd_is_the_whole_sets_and_does_not_depend_on_blocks(self):
        x, y = unit(features(61, 8, 0.5)), unit(features(43, 8))
        result = cmmd(x, y)
        assert result.value == pytest.approx(unbiased_mmd(x, y, gaussian_kernel), rel=1e-7)
        parts = np.array_split(x, kernel_distance.GROUPS)
        rest = np.concatenate(parts[:2] + parts[3:])
        assert result.without[2] == pytest.approx(unbiased_mmd(rest, y, gaussian_kernel), rel=1e-7)

    def test_kid_of_sets_of_one_size_is_one_subset(self):
        x, y = features(40, 8, 0.3), features(40, 8)
        result = kid(x, y, seed=0)
        assert result.value == pytest.approx(unbiased_mmd(x, y, polynomial_kernel), rel=1e-9)
        assert result.deviation == 0.0

    def test_kid_of_subsets(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(kernel_distance, 'KID_SUBSET', 30)
        x, y = features(200, 8, 0.3), features(150, 8)
        result = kid(x, y, seed=0)
        whole = unbiased_mmd(x, y, polynomial_kernel)
        assert result.deviation > 0
        assert abs(result.value - whole) < 4 * result.deviation / 10  # 100 subsets, nearly independent
        assert kid(x, y, seed=0).value == result.value
        assert kid(x, y, seed=1).value != result.value

    def test_kid_of_one_distribution_is_about_zero(self):
        rows = features(400, 8)
        same, other = kid(rows[:200], rows[200:], seed=0), kid(rows[:200], rows[200:] + 0.5, seed=0)
        assert abs(same.value) < 0.1 * other.value
