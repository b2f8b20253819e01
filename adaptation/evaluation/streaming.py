"""Statistics of a stream of samples in constant memory, in float64, that can be put aside and taken up again.

N rows of a batch, D features, K rows that are kept.
"""

import math

import numpy as np
from jaxtyping import Float

Arrays = dict[str, np.ndarray]


class Mean:
    """Mean and standard error of a number per sample. What is not a number is left out: see `count`."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self._squares = 0.0  # sum of squared deviations from the mean

    def add(self, values: Float[np.ndarray, 'N']) -> None:
        """Takes in a batch."""
        values = np.asarray(values, np.float64)
        values = values[~np.isnan(values)]
        if not len(values):
            return
        total, mean = self.count + len(values), float(values.mean())
        gap = mean - self.mean
        self._squares += float(np.sum(np.square(values - mean))) + gap**2 * self.count * len(values) / total
        self.mean += gap * len(values) / total
        self.count = total

    @property
    def standard_error(self) -> float:
        """Of the mean; NaN for fewer than two samples."""
        return math.sqrt(self._squares / (self.count - 1) / self.count) if self.count > 1 else math.nan

    def arrays(self) -> Arrays:
        """All that it knows."""
        return {'values': np.asarray([self.count, self.mean, self._squares], np.float64)}

    def restore(self, arrays: Arrays) -> None:
        """Takes up what `arrays` returned."""
        count, self.mean, self._squares = arrays['values'].tolist()
        self.count = int(count)


class Moments:
    """Mean and, where asked for, covariance of feature vectors."""

    def __init__(self, dimension: int, *, covariance: bool):
        self.count = 0
        self.mean = np.zeros(dimension)
        self._scatter = np.zeros((dimension, dimension)) if covariance else None  # sum of outer products about the mean

    def add(self, rows: Float[np.ndarray, 'N D']) -> None:
        """Takes in a batch."""
        if not len(rows):
            return
        rows = np.asarray(rows, np.float64)
        mean = rows.mean(axis=0)
        centred = rows - mean
        self._merge(len(rows), mean, None if self._scatter is None else centred.T @ centred)

    def _merge(self, count: int, mean: np.ndarray, scatter: np.ndarray | None) -> None:
        total, gap = self.count + count, mean - self.mean
        if self._scatter is not None and scatter is not None:
            self._scatter += scatter
            self._scatter += np.outer(gap, gap * (self.count * count / total))
        self.mean = self.mean + gap * (count / total)
        self.count = total

    @property
    def covariance(self) -> Float[np.ndarray, 'D D']:
        """The unbiased one, as `numpy.cov` has it.

        Raises:
            ValueError: none was asked for, or there are fewer than two samples.
        """
        if self._scatter is None or self.count < 2:
            raise ValueError(f'there is no covariance of {self.count} samples here')
        return self._scatter / (self.count - 1)

    @staticmethod
    def merged(parts: 'list[Moments]') -> 'Moments':
        """The moments of all samples of the parts (one or more, of one kind)."""
        first = parts[0]
        result = Moments(len(first.mean), covariance=first._scatter is not None)
        for part in parts:
            if part.count:
                result._merge(part.count, part.mean, part._scatter)
        return result

    def arrays(self) -> Arrays:
        """All that it knows."""
        scatter = {} if self._scatter is None else {'scatter': self._scatter}
        return {'count': np.asarray(self.count), 'mean': self.mean, **scatter}

    def restore(self, arrays: Arrays) -> None:
        """Takes up what `arrays` returned."""
        self.count, self.mean = int(arrays['count']), arrays['mean']
        if self._scatter is not None:
            self._scatter = arrays['scatter']


class Kept:
    """The first rows of a stream, up to a bound, for what needs pairs.

    Where the stream's order is random, they are as good a sample of it as any.
    """

    def __init__(self, most: int):
        self.most = most
        self._batches: list[np.ndarray] = []
        self._count = 0

    def add(self, rows: Float[np.ndarray, 'N D']) -> None:
        """Takes in a batch, or as much of it as there is room for."""
        taken = np.asarray(rows[: self.most - self._count], np.float32)
        if len(taken):
            self._batches.append(taken)
            self._count += len(taken)

    @property
    def rows(self) -> Float[np.ndarray, 'K D']:
        """What was kept."""
        return np.concatenate(self._batches) if self._batches else np.zeros((0, 0), np.float32)

    def arrays(self) -> Arrays:
        """All that it knows."""
        return {'rows': self.rows}

    def restore(self, arrays: Arrays) -> None:
        """Takes up what `arrays` returned."""
        rows = arrays['rows']
        self._batches, self._count = ([rows] if len(rows) else []), len(rows)
