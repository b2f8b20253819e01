"""All that an evaluation has counted so far, and its file.

N rows of a batch.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from adaptation.errors import AdaptationError
from adaptation.evaluation.streaming import Arrays, Kept, Mean, Moments
from eg3d_jax.files import replacing

GROUPS = 8  # of samples that the jackknife leaves out in turn
KEPT = 5000  # rows at most of each network and set that are kept for what needs pairs
META = 'meta'


class FeatureSet:
    """One network's features of one set of pictures: moments by groups, and the first rows."""

    def __init__(self, groups: int, *, covariance: bool):
        self._covariance = covariance
        self._count = groups  # of groups
        self.groups: list[Moments] = []  # empty until a row comes
        self.kept = Kept(KEPT)

    def add(self, rows: Float[np.ndarray, 'N D'], places: Float[np.ndarray, 'N']) -> None:
        """Takes in a batch, each row with its place in the whole stream, from 0 up to but not including 1."""
        if not self.groups:
            self._make(rows.shape[1])
        groups = (places * self._count).astype(int)
        for group in np.unique(groups):
            self.groups[group].add(rows[groups == group])
        self.kept.add(rows)

    def _make(self, dimension: int) -> None:
        self.groups = [Moments(dimension, covariance=self._covariance) for _ in range(self._count)]

    @property
    def moments(self) -> Moments:
        """Of all rows; there must have been one."""
        return Moments.merged(self.groups)

    def arrays(self) -> Arrays:
        """All that it knows."""
        parts = {f'{index}': group.arrays() for index, group in enumerate(self.groups)}
        return _joined({**parts, 'kept': self.kept.arrays()})

    def restore(self, arrays: Arrays) -> None:
        """Takes up what `arrays` returned."""
        self.kept.restore(_below(arrays, 'kept'))
        if '0/mean' in arrays:
            self._make(len(arrays['0/mean']))
            for index, group in enumerate(self.groups):
                group.restore(_below(arrays, f'{index}'))


class Statistics:
    """Everything counted. Features are by set ('source', 'adapted', 'target') and network, values by name.

    Attributes:
        features: covariances are kept of the networks that measure distances.
        values: of what is a number per sample.
    """

    def __init__(self, distances: tuple[str, ...], others: tuple[str, ...]):
        """Distances and others are names of networks; the first kind is that of which covariances are needed."""
        self.features = {
            (kind, name): FeatureSet(GROUPS if _in_groups(kind, name, distances) else 1, covariance=name in distances)
            for kind in ('source', 'adapted', 'target')
            for name in (*distances, *others)
        }
        self.values: dict[str, Mean] = {}

    def add_features(self, kind: str, rows: Mapping[str, np.ndarray], places: Float[np.ndarray, 'N']) -> None:
        """Takes in a batch of a set, by network; those that are not wanted are passed over. Places: see FeatureSet."""
        for (wanted, name), features in self.features.items():
            if wanted == kind:
                features.add(rows[name], places)

    def add_values(self, values: Mapping[str, Float[np.ndarray, 'N']]) -> None:
        """Takes in numbers per sample."""
        for name, numbers in values.items():
            self.values.setdefault(name, Mean()).add(numbers)

    def save(self, path: Path, meta: Mapping[str, Any]) -> None:
        """Writes all of it, and what else is to be known, atomically."""
        features = {f'features/{kind}/{name}': part.arrays() for (kind, name), part in self.features.items()}
        values = {f'values/{name}': mean.arrays() for name, mean in self.values.items()}
        arrays: dict[str, Any] = {**_joined({**features, **values}), META: np.asarray(json.dumps(meta))}
        with replacing(path) as temporary, temporary.open('wb') as file:
            np.savez(file, **arrays)

    def restore(self, arrays: Arrays) -> None:
        """Takes up what `load` returned."""
        for (kind, name), part in self.features.items():
            part.restore(_below(arrays, f'features/{kind}/{name}'))
        for name in {key.split('/')[1] for key in arrays if key.startswith('values/')}:
            self.values[name] = Mean()
            self.values[name].restore(_below(arrays, f'values/{name}'))


def load(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """What `Statistics.save` wrote: its arrays, and what else was to be known.

    Raises:
        AdaptationError: the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return arrays, json.loads(str(arrays.pop(META)))
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise AdaptationError(f'{path} is damaged ({error}): delete it to begin this evaluation anew.') from None


def _in_groups(kind: str, name: str, distances: tuple[str, ...]) -> bool:
    """Intervals are of the adapted samples, and of their diversity as a share of the source's."""
    return kind == 'adapted' or (kind == 'source' and name not in distances)


def _joined(parts: Mapping[str, Arrays]) -> Arrays:
    return {f'{name}/{key}': array for name, part in parts.items() for key, array in part.items()}


def _below(arrays: Arrays, name: str) -> Arrays:
    start = f'{name}/'
    return {key.removeprefix(start): array for key, array in arrays.items() if key.startswith(start)}
