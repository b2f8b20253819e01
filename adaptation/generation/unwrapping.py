"""A flat map of a surface: charts, each seen along one axis, packed into a square texture.

Every triangle is seen along the axis that it faces most; connected triangles of one axis are a chart. Such a chart
covers itself only where the surface winds like a spiral staircase, which heads do not.

P vertices, F triangles, U vertices of the map (a vertex on the border of several charts is there once for each).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

DIRECTIONS = np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32)
SMOOTHING = 8  # rounds in which triangles take over the direction that most of their neighbours have
STEEPEST = 0.3  # smallest cosine between a triangle's normal and the direction that it takes over
GUTTER = 2  # texels around a chart
FITTING_ROUNDS = 24  # of the search for the scale


class Unwrapped(NamedTuple):
    """vertex: which vertex of the surface each one of the map is. faces: triangles of the map, in the surface's order.
    texel: (column, row) in texels of the square texture, from its upper left corner."""

    vertex: Int[np.ndarray, 'U']
    faces: Int[np.ndarray, 'F 3']
    texel: Float[np.ndarray, 'U 2']


def unwrap(vertices: Float[np.ndarray, 'P 3'], faces: Int[np.ndarray, 'F 3'], resolution: int) -> Unwrapped:
    """Maps a surface to a texture of `resolution` texels a side, all of it at one scale.

    Raises:
        ValueError: the texture is too small for the charts.
    """
    neighbours = _neighbours(faces)
    direction = _directions(vertices, faces, neighbours)
    chart = _charts(direction, neighbours)
    corners, corner_index = np.unique(chart[:, None].astype(np.int64) * len(vertices) + faces, return_inverse=True)
    chart_of, vertex = corners // len(vertices), corners % len(vertices)
    direction_of = np.zeros(chart.max() + 1, np.int64)
    direction_of[chart] = direction
    flat = _flatten(vertices[vertex], direction_of[chart_of])

    lowest, highest = (np.full((len(direction_of), 2), sign * np.inf) for sign in (1, -1))
    np.minimum.at(lowest, chart_of, flat)
    np.maximum.at(highest, chart_of, flat)
    scale, places = _fit(highest - lowest, resolution)
    texel = (flat - lowest[chart_of]) * scale + places[chart_of] + GUTTER
    return Unwrapped(vertex, corner_index.reshape(faces.shape), texel.astype(np.float32))


def _neighbours(faces: Int[np.ndarray, 'F 3']) -> Int[np.ndarray, 'E 2']:
    """Pairs of triangles that share an edge."""
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)  # F 3 2 -> (F 3) 2
    owner = np.repeat(np.arange(len(faces)), 3)
    order = np.lexsort(edges.T)
    edges, owner = edges[order], owner[order]
    same = (edges[1:] == edges[:-1]).all(axis=1)
    return np.stack([owner[:-1][same], owner[1:][same]], axis=1)


def _directions(
    vertices: Float[np.ndarray, 'P 3'], faces: Int[np.ndarray, 'F 3'], neighbours: Int[np.ndarray, 'E 2']
) -> Int[np.ndarray, 'F']:
    """The index of the direction that each triangle is seen from."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    normals = np.cross(b - a, c - a)
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
    cosines = normals @ DIRECTIONS.T
    direction = np.argmax(cosines, axis=1)
    both = np.concatenate([neighbours, neighbours[:, ::-1]])
    for _ in range(SMOOTHING):
        votes = np.zeros_like(cosines)
        np.add.at(votes, (both[:, 0], direction[both[:, 1]]), 1.0)
        votes[np.arange(len(faces)), direction] += 0.5  # a tie changes nothing
        direction = np.argmax(
            np.where(cosines >= np.minimum(STEEPEST, cosines.max(axis=1))[:, None], votes, -1), axis=1
        )
    return direction


def _charts(direction: Int[np.ndarray, 'F'], neighbours: Int[np.ndarray, 'E 2']) -> Int[np.ndarray, 'F']:
    """The chart that each triangle belongs to, counted from 0."""
    joined = neighbours[direction[neighbours[:, 0]] == direction[neighbours[:, 1]]]
    count = len(direction)
    graph = coo_array((np.ones(len(joined), np.int8), (joined[:, 0], joined[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _flatten(points: Float[np.ndarray, 'U 3'], direction: Int[np.ndarray, 'U']) -> Float[np.ndarray, 'U 2']:
    """The two coordinates across the direction; what is up in the world is up in the texture, where there is an up."""
    axis = direction % 3
    column = np.where(axis == 0, points[:, 2], points[:, 0])
    row = np.where(axis == 1, points[:, 2], -points[:, 1])
    return np.stack([column, row], axis=1)


def _fit(sizes: Float[np.ndarray, 'K 2'], resolution: int) -> tuple[float, Float[np.ndarray, 'K 2']]:
    """(texels a world unit, upper left corners) of rectangles packed into the square, as large as they fit."""
    low, high, best = 0.0, resolution / max(float(sizes.max()), 1e-9), _shelves(sizes, 0.0, resolution)
    if best is None:
        raise ValueError(
            f'a texture of {resolution} texels a side has no room for the {len(sizes)} charts of this surface: '
            'ask for a larger one.'
        )
    for _ in range(FITTING_ROUNDS):
        middle = (low + high) / 2
        places = _shelves(sizes, middle, resolution)
        if places is None:
            high = middle
        else:
            low, best = middle, places
    return low, best


def _shelves(sizes: Float[np.ndarray, 'K 2'], scale: float, resolution: int) -> Float[np.ndarray, 'K 2'] | None:
    """Corners of rectangles laid on shelves, the highest first; None where they do not fit."""
    texels = np.ceil(sizes * scale).astype(int) + 2 * GUTTER + 1
    places = np.zeros(sizes.shape)
    left = top = shelf = 0
    for index in np.lexsort((-texels[:, 0], -texels[:, 1])):
        width, height = texels[index]
        if left + width > resolution:
            left, top, shelf = 0, top + shelf, 0
        if width > resolution or top + height > resolution:
            return None
        places[index] = left, top
        left, shelf = left + width, max(shelf, height)
    return places
