"""The Frechet distance between Gaussians fitted to two sets of features (FID: Heusel et al. 2017, arXiv 1706.08500).

D features, G groups of samples.
"""

import numpy as np
import scipy.linalg
from jaxtyping import Float

from adaptation.evaluation.streaming import Moments


class FrechetTarget:
    """A set that others are compared with. Its covariance's root is computed once."""

    def __init__(self, target: Moments):
        self._mean, self._covariance = target.mean, target.covariance
        values, vectors = scipy.linalg.eigh(self._covariance)
        self._root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T

    def distance(self, samples: Moments) -> float:
        """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)).

        The trace of the root is taken from the eigenvalues of C2^(1/2) C1 C2^(1/2), which has those of C1 C2 and is
        symmetric: no complex part and no offset on the diagonal, also where a covariance is singular.
        """
        gap, covariance = samples.mean - self._mean, samples.covariance
        values = scipy.linalg.eigvalsh(self._root @ covariance @ self._root)
        cross = float(np.sum(np.sqrt(np.maximum(values, 0.0))))
        return float(gap @ gap + np.trace(covariance) + np.trace(self._covariance) - 2.0 * cross)

    def without_each(self, groups: list[Moments]) -> Float[np.ndarray, 'G']:
        """The distance of the samples without each group in turn."""
        rest = [[other for other in groups if other is not group] for group in groups]
        return np.asarray([self.distance(Moments.merged(part)) for part in rest])
