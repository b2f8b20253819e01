"""Squared maximum mean discrepancies between two sets of features: KID and CMMD.

N samples of one set, M of the other, D features, G groups.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

KID_SUBSETS = 100  # as published implementations have it
KID_SUBSET = 1000  # samples of each; all, where there are fewer
CMMD_SIGMA = 10.0  # arXiv 2401.09603, section 4
CMMD_SCALE = 1000.0
GROUPS = 8  # that the jackknife leaves out in turn

Rows = Float[np.ndarray, 'N D']
Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]


class KernelDistance(NamedTuple):
    """A distance, its deviation over subsets (0 where there is one), and its values without each group of samples."""

    value: float
    deviation: float
    without: Float[np.ndarray, 'G']


def polynomial_kernel(x: Rows, y: Float[np.ndarray, 'M D']) -> Float[np.ndarray, 'N M']:
    """(x y / D + 1)^3, KID's (Binkowski et al. 2018, arXiv 1801.01401)."""
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def gaussian_kernel(x: Rows, y: Float[np.ndarray, 'M D']) -> Float[np.ndarray, 'N M']:
    """1000 exp(-|x - y|^2 / (2 sigma^2)) with sigma 10, CMMD's (Jayasumana et al. 2024, arXiv 2401.09603)."""
    squared = np.sum(np.square(x), axis=1)[:, None] + np.sum(np.square(y), axis=1) - 2.0 * x @ y.T
    return CMMD_SCALE * np.exp(-np.maximum(squared, 0.0) / (2.0 * CMMD_SIGMA**2))


def unbiased_mmd(x: Rows, y: Float[np.ndarray, 'M D'], kernel: Kernel) -> float:
    """The unbiased estimate of the squared MMD; between sets of one distribution it is as often below 0 as above.

    Both sets need two rows at least.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return _mean_of_pairs(kernel(x, x)) + _mean_of_pairs(kernel(y, y)) - 2.0 * float(np.mean(kernel(x, y)))


def _mean_of_pairs(matrix: Float[np.ndarray, 'N N']) -> float:
    n = len(matrix)
    return float((np.sum(matrix) - np.trace(matrix)) / (n * (n - 1)))


def kid(samples: Rows, target: Float[np.ndarray, 'M D'], seed: int) -> KernelDistance:
    """The kernel distance of Inception features: mean and deviation over subsets drawn without repetition.

    Args:
        samples, target: features; a subset takes at most as many as the smaller set has.
        seed: of the subsets.
    """
    rng, size = np.random.default_rng(seed), min(KID_SUBSET, len(samples), len(target))
    values = []
    for _ in range(1 if size == len(samples) == len(target) else KID_SUBSETS):
        chosen = (rng.choice(len(rows), size, replace=False) for rows in (samples, target))
        x, y = (rows[index] for rows, index in zip((samples, target), chosen, strict=True))
        values.append(unbiased_mmd(x, y, polynomial_kernel))
    _, without = _with_jackknife(samples, target, polynomial_kernel)
    return KernelDistance(float(np.mean(values)), float(np.std(values)), without)


def cmmd(samples: Rows, target: Float[np.ndarray, 'M D']) -> KernelDistance:
    """The kernel distance of unit-norm CLIP embeddings, by the paper's unbiased estimate.

    (The paper's program keeps the pairs of a sample with itself, which adds up to 1000 (1 - mean k) (1/N + 1/M).)
    """
    value, without = _with_jackknife(samples, target, gaussian_kernel)
    return KernelDistance(value, 0.0, without)


class _Sums(NamedTuple):
    """Sums of kernel values. counts: samples of each group; within: pairs of different samples, by their groups."""

    counts: Float[np.ndarray, 'G']
    within: Float[np.ndarray, 'G G']
    across: Float[np.ndarray, 'G']


def _sums(samples: Rows, target: Float[np.ndarray, 'M D'], kernel: Kernel) -> tuple[_Sums, float]:
    """Sums over the samples' groups, and over the pairs of the target; a block of the kernel matrix at a time."""
    groups = [np.asarray(part, np.float64) for part in np.array_split(samples, GROUPS)]
    targets = [np.asarray(part, np.float64) for part in np.array_split(target, GROUPS)]
    within, across = _sums_of_pairs(groups, kernel), [sum(np.sum(kernel(x, y)) for y in targets) for x in groups]
    counts = np.asarray([len(part) for part in groups], np.float64)
    return _Sums(counts, within, np.asarray(across)), float(np.sum(_sums_of_pairs(targets, kernel)))


def _sums_of_pairs(parts: list[np.ndarray], kernel: Kernel) -> Float[np.ndarray, 'G G']:
    sums = np.zeros((len(parts), len(parts)))
    for i, x in enumerate(parts):
        for j, y in enumerate(parts[: i + 1]):
            matrix = kernel(x, y)
            sums[i, j] = sums[j, i] = np.sum(matrix) - (np.trace(matrix) if i == j else 0.0)
    return sums


def _from_sums(sums: _Sums, target_pairs: float, target_count: int) -> float:
    n, m = float(np.sum(sums.counts)), target_count
    within, across = float(np.sum(sums.within)), float(np.sum(sums.across))
    return within / (n * (n - 1)) + target_pairs / (m * (m - 1)) - 2.0 * across / (n * m)


def _with_jackknife(
    samples: Rows, target: Float[np.ndarray, 'M D'], kernel: Kernel
) -> tuple[float, Float[np.ndarray, 'G']]:
    """The unbiased estimate of all samples, and of those without each group in turn."""
    sums, target_pairs = _sums(samples, target, kernel)
    without = []
    for group in range(GROUPS):
        rest = np.arange(GROUPS) != group
        left = _Sums(sums.counts[rest], sums.within[np.ix_(rest, rest)], sums.across[rest])
        without.append(_from_sums(left, target_pairs, len(target)))
    return _from_sums(sums, target_pairs, len(target)), np.asarray(without)
