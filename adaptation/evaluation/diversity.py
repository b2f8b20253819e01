"""How different the samples are from one another, and how many merely copy the reference.

Distances are cosine distances, 1 - cos, of unit-norm embeddings. N samples, D features, G groups.
"""

import numpy as np
from jaxtyping import Float

from adaptation.evaluation.streaming import Moments

COPY_QUANTILE = 0.05  # as near to the reference as the nearest 5 % of pairs of different heads are to each other
PAIRED = 1000  # samples at most whose pairs are looked at one by one


def mean_distance(moments: Moments) -> float:
    """The mean distance between two different samples, exactly, from the mean of all (two or more).

    Of unit vectors, the sum of x_i x_j over different i and j is |sum x|^2 - N.
    """
    n = moments.count
    return 1.0 - (n**2 * float(moments.mean @ moments.mean) - n) / (n * (n - 1))


def mean_distances_without_each(groups: list[Moments]) -> Float[np.ndarray, 'G']:
    """The mean distance without each group of samples in turn."""
    rest = [[other for other in groups if other is not group] for group in groups]
    return np.asarray([mean_distance(Moments.merged(part)) for part in rest])


def copy_threshold(embeddings: Float[np.ndarray, 'N D']) -> float:
    """The distance that only 5 % of the pairs of different pictures fall short of: the yardstick of a copy."""
    rows = np.asarray(embeddings[:PAIRED], np.float64)
    distances = 1.0 - rows @ rows.T
    return float(np.quantile(distances[np.triu_indices(len(rows), 1)], COPY_QUANTILE))


def copies(embeddings: Float[np.ndarray, 'N D'], reference: Float[np.ndarray, 'D'], threshold: float) -> int:
    """How many samples are nearer to the reference than the threshold."""
    return int(np.sum(1.0 - np.asarray(embeddings, np.float64) @ reference < threshold))
