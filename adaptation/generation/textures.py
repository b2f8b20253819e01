"""Filling a texture: which triangle each texel lies in, values carried over from vertices, and margins around charts.

T texels of a side, F triangles, U vertices of the map, K covered texels.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from adaptation.generation.unwrapping import Unwrapped

CANDIDATES = 2**21  # texels looked at together
INSIDE = -1e-4  # smallest barycentric coordinate of a texel that counts as inside


class Coverage(NamedTuple):
    """texel: (column, row) of each covered texel. face: the triangle it lies in. share: of that triangle's corners."""

    texel: Int[np.ndarray, 'K 2']
    face: Int[np.ndarray, 'K']
    share: Float[np.ndarray, 'K 3']

    def carry(self, values: Float[np.ndarray, 'U C'], faces: Int[np.ndarray, 'F 3']) -> Float[np.ndarray, 'K C']:
        """Values at texels from values at vertices."""
        corners = faces[self.face]
        return sum(self.share[:, i, None] * values[corners[:, i]] for i in range(3)).astype(np.float32)


def cover(unwrapped: Unwrapped, resolution: int) -> Coverage:
    """The texels whose centres lie in triangles. Texel (0, 0) has its centre at (0.5, 0.5)."""
    corners = unwrapped.texel[unwrapped.faces].astype(np.float64)  # [F, 3, 2]
    face = np.full((resolution, resolution), -1, np.int32)
    share = np.zeros((resolution, resolution, 3), np.float32)
    for part, column, row in candidates(corners, resolution):
        weight, inside = barycentric(corners[part], column, row)
        face[row[inside], column[inside]] = part[inside]
        share[row[inside], column[inside]] = weight[inside]
    rows, columns = np.nonzero(face >= 0)
    return Coverage(np.stack([columns, rows], axis=1), face[rows, columns], share[rows, columns])


def fill(coverage: Coverage, colours: Float[np.ndarray, 'K C'], resolution: int) -> Float[np.ndarray, 'T T C']:
    """The texture. Texels of no triangle take the colour of the nearest that is, so that no seam shows when it is
    filtered or reduced."""
    texture = np.zeros((resolution, resolution, colours.shape[1]), np.float32)
    empty: Bool[np.ndarray, 'T T'] = np.ones((resolution, resolution), bool)
    columns, rows = coverage.texel.T
    texture[rows, columns] = colours
    empty[rows, columns] = False
    nearest = ndimage.distance_transform_edt(empty, return_distances=False, return_indices=True)
    return texture[nearest[0], nearest[1]]


def candidates(
    corners: Float[np.ndarray, 'F 3 2'], resolution: int
) -> Iterator[tuple[Int[np.ndarray, 'Q'], Int[np.ndarray, 'Q'], Int[np.ndarray, 'Q']]]:
    """(triangle, column, row) of all texels in the triangles' bounding rectangles, some triangles at a time."""
    lowest = np.clip(np.floor(corners.min(axis=1) - 0.5), 0, resolution - 1).astype(np.int64)
    highest = np.clip(np.ceil(corners.max(axis=1) - 0.5), 0, resolution - 1).astype(np.int64)
    sizes = highest - lowest + 1
    counts = sizes.prod(axis=1)
    ends = np.cumsum(counts)
    start = 0
    while start < len(corners):
        done = ends[start] - counts[start]
        stop = max(int(np.searchsorted(ends, done + CANDIDATES, side='right')), start + 1)
        part = np.repeat(np.arange(start, stop), counts[start:stop])
        within = np.arange(len(part)) - (ends[part] - counts[part] - done)
        column, row = within % sizes[part, 0], within // sizes[part, 0]
        yield part, lowest[part, 0] + column, lowest[part, 1] + row
        start = stop


def barycentric(
    corners: Float[np.ndarray, 'Q 3 2'], column: Int[np.ndarray, 'Q'], row: Int[np.ndarray, 'Q']
) -> tuple[Float[np.ndarray, 'Q 3'], Bool[np.ndarray, 'Q']]:
    """(shares of the triangles' corners at the texels' centres, whether these lie inside)."""
    a, b, c = (corners[:, i] for i in range(3))
    point = np.stack([column, row], axis=1) + 0.5
    area = _cross(b - a, c - a)
    area = np.where(area == 0, np.inf, area)
    weight = np.stack([_cross(b - point, c - point), _cross(c - point, a - point)], axis=1) / area[:, None]
    weight = np.concatenate([weight, 1.0 - weight.sum(axis=1, keepdims=True)], axis=1)
    return weight, (weight >= INSIDE).all(axis=1) & np.isfinite(area)


def _cross(first: Float[np.ndarray, 'Q 2'], second: Float[np.ndarray, 'Q 2']) -> Float[np.ndarray, 'Q']:
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
