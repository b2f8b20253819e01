"""95 % confidence intervals: of means, of shares, and of distances between sets.

G groups of samples.
"""

import math

import numpy as np
import scipy.stats
from jaxtyping import Float

LEVEL = 0.95

Interval = tuple[float, float]


def of_mean(mean: float, standard_error: float) -> Interval | None:
    """The normal interval; None where there is no standard error."""
    if not math.isfinite(standard_error):
        return None
    half = float(scipy.stats.norm.ppf((1 + LEVEL) / 2)) * standard_error
    return mean - half, mean + half


def of_share(hits: int, count: int) -> Interval | None:
    """Wilson's interval of a share; None where nothing was counted. It is no point where the share is 0 or 1."""
    if not count:
        return None
    z, share = float(scipy.stats.norm.ppf((1 + LEVEL) / 2)), hits / count
    scale = 1 + z**2 / count
    middle = (share + z**2 / (2 * count)) / scale
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / scale
    low = max(middle - half, 0.0) if hits else 0.0  # exactly, and not what rounding makes of it
    return low, min(middle + half, 1.0) if hits < count else 1.0


def of_jackknife(value: float, without: Float[np.ndarray, 'G']) -> Interval | None:
    """The interval of the delete-a-group jackknife, with Student's t of G - 1 degrees of freedom.

    A bias that depends on the number of samples, such as that of the Frechet distance, is the same in all of `without`,
    and so leaves the interval's width alone; drawing samples with repetition would not.

    Args:
        value: what all samples gave.
        without: what they gave when each group was left out in turn.
    """
    without = np.asarray(without, np.float64)
    groups = len(without)
    if groups < 2 or not np.isfinite(without).all():
        return None
    error = math.sqrt((groups - 1) / groups * float(np.sum(np.square(without - without.mean()))))
    half = float(scipy.stats.t.ppf((1 + LEVEL) / 2, groups - 1)) * error
    return value - half, value + half
