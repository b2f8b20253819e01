"""The side of a head that no camera saw: closed smoothly, where the generator's density means nothing.

Behind what is seen, a generator is free to put anything, and puts a mirrored face there, with spikes. Its density is
kept in a band behind each surface that a camera of its distribution sees. Deeper than that, the head is what lies

- behind the first surface of every view (the visual hull: what is seen through is empty), and
- before a back that the middle view's silhouette is inflated to: its distance behind the rim is the root of the
  solution of Poisson's equation, laplacian(u) = -4 with u = 0 on the silhouette, which of a disc makes a sphere, of an
  ellipse an ellipsoid, and of a thin thing a thin one.

Where the silhouette ends only because the crop does, the back may end at any depth (a natural boundary). An object that
is seen from all around has no such side, and is left as it is. R points of a side of the grid, s side of a map.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve

from adaptation.generation.sight import Sight, locate, trace

RESOLUTION = 72  # largest side of the grid on which all of this is done: what is closed is smooth
BAND = 0.06  # of the cube's side, behind what is seen: where the density is believed
OVERLAP = 0.5  # of the band, that the closing reaches into it
CURVATURE = 4.0  # minus the laplacian: that of a sphere's squared thickness
STIFFNESS = 0.1  # of the cube's side: length over which the surface through the rim smooths the rim's depths
UNBOUNDED = 1e-6  # added to the laplacian, so that a silhouette that nothing bounds is very thick, and not infinitely
SMOOTHING = 1.5  # steps of that grid, standard deviation, over the edges of the closing


def close(
    field: Float[np.ndarray, 'R R R'],
    extinction: Float[np.ndarray, 'R R R'],
    side: float,
    crop: float,
    cameras: Float[np.ndarray, 'V 25'],
) -> Float[np.ndarray, 'R R R']:
    """The field with its unseen side closed; values outside of [-1, 1] mean no more than these.

    Args:
        field: positive inside; see `volumes.Volume`.
        extinction: density after the activation, in 1 / world unit.
        side: of the cube that the grid spans, in world units.
        crop: radius of the sphere that holds the head, in halves of the side.
        cameras: the middle one first; see `sight.sight_cameras`.
    """
    fine = len(field)
    coarse = min(fine, RESOLUTION)
    dense = _resize(extinction, coarse)
    step, reach, band = side / (coarse - 1), crop * side / 2, BAND * side
    points = _grid(side, coarse)
    sights = [trace(dense, side, camera, reach) for camera in cameras]
    behind = np.min([_behind(sight, points) for sight in sights], axis=0)
    behind = np.clip(behind, -2.0 * band, 2.0 * band)
    before = _before_back(sights[0], points, side)
    inside = np.minimum(behind - OVERLAP * band, before)
    inside = ndimage.gaussian_filter(np.clip(inside.reshape(3 * (coarse,)) / step, -2.0, 2.0), SMOOTHING)
    seen = _resize(((band - behind) / step).reshape(3 * (coarse,)), fine)
    closed: Float[np.ndarray, 'R R R'] = np.maximum(np.minimum(field, seen), _resize(inside, fine))
    return closed.astype(np.float32)


def _behind(sight: Sight, points: Float[np.ndarray, 'P 3']) -> Float[np.ndarray, 'P']:
    """How far points lie behind the first surface; minus infinity where the view sees none."""
    row, column = sight.pixel(locate(points, sight.camera))
    distance = np.linalg.norm(points - sight.camera[:16].reshape(4, 4)[:3, 3], axis=1)
    return distance - sight.depth[row, column]


def _before_back(sight: Sight, points: Float[np.ndarray, 'P 3'], side: float) -> Float[np.ndarray, 'P']:
    """How far points lie before the back that this view's silhouette is inflated to."""
    silhouette = largest_piece(np.isfinite(sight.depth))
    resolution = len(sight.depth)
    if not silhouette.any():
        return np.full(len(points), -side)
    eye = sight.camera[:16].reshape(4, 4)[:3, 3]
    pixel = float(np.linalg.norm(eye) / (sight.camera[16] * resolution))  # its side at the origin, in world units
    centre = (np.arange(resolution) + 0.5) / resolution - 0.5
    within = np.hypot(centre[:, None], centre) < 0.5 - 1.5 / resolution  # of the sphere's own silhouette
    back = inflate(sight.depth, silhouette, within, pixel, STIFFNESS * side)
    nearest = ndimage.distance_transform_edt(~silhouette, return_distances=False, return_indices=True)
    place = locate(points, sight.camera)[:, ::-1].T * resolution - 0.5  # rows, columns
    far = ndimage.map_coordinates(back[nearest[0], nearest[1]], place, order=1, mode='nearest')
    return far - np.linalg.norm(points - eye, axis=1)


def inflate(
    depth: Float[np.ndarray, 's s'],
    silhouette: Bool[np.ndarray, 's s'],
    within: Bool[np.ndarray, 's s'],
    pixel: float,
    stiffness: float,
) -> Float[np.ndarray, 's s']:
    """Depths of the back of a silhouette, 0 outside of it; see the top of this file.

    Args:
        depth: of the front. Only that of the silhouette's rim matters.
        silhouette: one connected piece.
        within: where a pixel that is not of the silhouette is empty; elsewhere nothing is known of it.
        pixel: its side in world units.
        stiffness: in world units; see `STIFFNESS`.
    """
    number = np.where(silhouette, np.cumsum(silhouette).reshape(silhouette.shape) - 1, -1)
    count = int(silhouette.sum())
    first, second = _joined(number)
    pairs = (np.append(first, second), np.append(second, first))
    edges = sparse.coo_array((np.ones(2 * len(first)), pairs), shape=(count, count))
    empty = np.pad(within & ~silhouette, 1)
    touching = empty[:-2, 1:-1].astype(int) + empty[2:, 1:-1] + empty[1:-1, :-2] + empty[1:-1, 2:]
    bounds = touching[silhouette].astype(np.float64)
    natural = sparse.diags_array(edges.sum(axis=1)) - edges
    squared = spsolve((natural + sparse.diags_array(bounds + UNBOUNDED)).tocsc(), np.full(count, CURVATURE * pixel**2))
    rim = np.minimum(bounds, 1.0) if bounds.any() else np.ones(count)
    through = spsolve((natural * (stiffness / pixel) + sparse.diags_array(rim)).tocsc(), rim * depth[silhouette])
    back = np.zeros(silhouette.shape)
    back[silhouette] = through + np.sqrt(np.maximum(squared, 0.0))
    return back


def _joined(number: Int[np.ndarray, 's s']) -> tuple[Int[np.ndarray, 'E'], Int[np.ndarray, 'E']]:
    """The numbers of neighbouring pixels that both have one (not -1)."""
    first = np.concatenate([number[:-1].ravel(), number[:, :-1].ravel()])
    second = np.concatenate([number[1:].ravel(), number[:, 1:].ravel()])
    both = (first >= 0) & (second >= 0)
    return first[both], second[both]


def largest_piece(mask: Bool[np.ndarray, '...']) -> Bool[np.ndarray, '...']:
    """The largest connected piece of a picture or a volume (pieces touch by their sides); nothing has none."""
    labels, count = ndimage.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return labels == 1 + np.argmax(sizes) if count else mask


def _resize(values: Float[np.ndarray, 'R R R'], resolution: int) -> Float[np.ndarray, 'S S S']:
    """The same cube, from face to face, with so many points of a side."""
    return values if resolution == len(values) else ndimage.zoom(values, resolution / len(values), order=1)


def _grid(side: float, resolution: int) -> Float[np.ndarray, 'P 3']:
    axis = np.linspace(-side / 2, side / 2, resolution, dtype=np.float32)
    return np.stack(np.meshgrid(axis, axis, axis, indexing='ij'), axis=-1).reshape(-1, 3)
