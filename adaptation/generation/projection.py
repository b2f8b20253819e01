"""Colours of surface points from pictures of them.

A point takes the colours of the views that see it: those that look at it squarely count most, and what lies behind
something else, or at the rim of the head, not at all. Where no view sees it, it takes the field's own colour, which is
first brought in line with the pictures: the super-resolution draws in other colours than the field. Or, where the field
means nothing, the colours around are continued along the surface.

V views, P points, F triangles, S side of a picture.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve

from adaptation.generation.sight import locate
from adaptation.generation.volumes import Volume

GRAZING = 0.2  # cosine between normal and view below which a view is not asked
SHARPNESS = 3.0  # exponent of the cosine: the larger, the more the squarest view decides
FIELD_WEIGHT = 0.02  # of the field's colour beside the views', so that these fade out rather than end
LIFT = 2.0  # grid steps above the surface at which looking towards the camera begins
MARCH = 1.0  # grid steps between two looks
EDGE = 0.04  # of a picture's side: within it, its weight falls to nothing
STIFFNESS = 0.01  # how much a difference between neighbouring points counts beside what a view says of one
RIDGE = 1e-4  # how much the correction of the field's colours keeps to leaving them alone, against a seen point's 1


class View(NamedTuple):
    """camera: 25 numbers. image: in [0, 1]."""

    camera: Float[np.ndarray, '25']
    image: Float[np.ndarray, 'S S 3']

    @property
    def eye(self) -> Float[np.ndarray, '3']:
        """Where the camera stands."""
        return self.camera[:16].reshape(4, 4)[:3, 3]


def weigh(
    points: Float[np.ndarray, 'P 3'], normals: Float[np.ndarray, 'P 3'], view: View, volume: Volume
) -> Float[np.ndarray, 'P']:
    """How much a view has to say about points of the surface: 0 where it does not see them, at most 1."""
    towards = view.eye - points
    towards = towards / np.linalg.norm(towards, axis=1, keepdims=True)
    cosine = np.sum(normals * towards, axis=1)
    weight = np.clip((cosine - GRAZING) / (1.0 - GRAZING), 0.0, 1.0) ** SHARPNESS
    place = locate(points, view.camera)
    margin = np.minimum(place, 1.0 - place).min(axis=1)
    weight = weight * np.clip(margin / EDGE, 0.0, 1.0)
    asked = np.flatnonzero(weight)
    weight[asked] *= _in_sight(points[asked], normals[asked], towards[asked], volume)
    return weight.astype(np.float32)


def blend(
    points: Float[np.ndarray, 'P 3'],
    weights: Float[np.ndarray, 'V P'],
    views: list[View],
    field: Float[np.ndarray, 'P 3'],
) -> Float[np.ndarray, 'P 3']:
    """Colours in [0, 1] of points.

    Args:
        weights: of each view, see `weigh`.
        field: the field's own colours, in [0, 1].
    """
    summed, total = gather(points, weights, views)
    own = _in_line(field, summed / np.maximum(total, 1e-12), total[:, 0])
    return np.clip((summed + FIELD_WEIGHT * own) / (total + FIELD_WEIGHT), 0.0, 1.0)


def gather(
    points: Float[np.ndarray, 'P 3'], weights: Float[np.ndarray, 'V P'], views: list[View]
) -> tuple[Float[np.ndarray, 'P 3'], Float[np.ndarray, 'P 1']]:
    """(sum of the views' colours times their weights, sum of the weights)."""
    total = np.zeros((len(points), 1), np.float32)
    summed = np.zeros((len(points), 3), np.float32)
    for weight, view in zip(weights, views, strict=True):
        seen = np.flatnonzero(weight)
        side = len(view.image)
        column, row = locate(points[seen], view.camera).T * side - 0.5
        colour = [ndimage.map_coordinates(view.image[..., c], [row, column], order=1, mode='nearest') for c in range(3)]
        summed[seen] += weight[seen, None] * np.stack(colour, axis=1)
        total[seen] += weight[seen, None]
    return summed, total


def continue_colours(
    faces: Int[np.ndarray, 'F 3'], summed: Float[np.ndarray, 'P 3'], total: Float[np.ndarray, 'P 1']
) -> Float[np.ndarray, 'P 3']:
    """Colours in [0, 1] of a surface's vertices: where views see them, about what these say; elsewhere harmonic, each
    the mean of its neighbours.

    Args:
        summed, total: what `gather` returns for the vertices.
    """
    count = len(summed)
    sides = faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)  # F 3 2 -> (F 3) 2
    edges = sparse.coo_array((np.full(len(sides), STIFFNESS), sides.T), shape=(count, count))
    edges = edges + edges.T  # each edge is there twice, once from either triangle
    seen = total[:, 0].astype(np.float64) + RIDGE**2  # what no view reaches takes the mean of all
    mean = summed.sum(axis=0) / max(float(total.sum()), 1e-12)
    matrix = (sparse.diags_array(edges.sum(axis=1) + seen) - edges).tocsc()
    solved = spsolve(matrix, summed.astype(np.float64) + RIDGE**2 * mean, permc_spec='MMD_AT_PLUS_A')
    return np.clip(solved, 0.0, 1.0).astype(np.float32)


def _in_sight(
    points: Float[np.ndarray, 'P 3'],
    normals: Float[np.ndarray, 'P 3'],
    towards: Float[np.ndarray, 'P 3'],
    volume: Volume,
) -> Float[np.ndarray, 'P']:
    """1 where nothing of the volume lies between a point and the camera, else 0."""
    solid = volume.field > 0
    last = len(solid) - 1
    place = volume.grid_place(points) + LIFT * normals
    clear = np.ones(len(points), bool)
    underway = np.arange(len(points))
    while len(underway):
        index = np.rint(place[underway]).astype(np.int32)
        underway_inside = ((index >= 0) & (index <= last)).all(axis=1)
        underway, index = underway[underway_inside], index[underway_inside]
        hit = solid[index[:, 0], index[:, 1], index[:, 2]]
        clear[underway[hit]] = False
        underway = underway[~hit]
        place[underway] += MARCH * towards[underway]
    return clear.astype(np.float32)


def _in_line(
    field: Float[np.ndarray, 'P 3'], seen: Float[np.ndarray, 'P 3'], weight: Float[np.ndarray, 'P']
) -> Float[np.ndarray, 'P 3']:
    """The field's colours after the affine change that brings those of seen points closest to what is seen."""
    total = float(weight.sum())
    if total <= 0:
        return field
    known = np.concatenate([field, np.ones((len(field), 1), np.float32)], axis=1).astype(np.float64)
    weighted = known * (weight / total)[:, None]
    unchanged = np.eye(4, 3)
    change = np.linalg.solve(
        weighted.T @ known + RIDGE * np.eye(4), weighted.T @ seen.astype(np.float64) + RIDGE * unchanged
    )
    return np.clip(known @ change, 0.0, 1.0).astype(np.float32)
