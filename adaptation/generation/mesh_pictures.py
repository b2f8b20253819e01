"""Pictures of meshes, to look at them from any side: with their own colours, or as grey clay under a lamp.

S side of a picture in pixels, P vertices, F triangles, Q pixels of triangles.
"""

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from adaptation.generation.meshes import Mesh
from adaptation.generation.sight import locate
from adaptation.generation.textures import barycentric, candidates

SUPERSAMPLING = 2  # pixels a side that are averaged into one
PAPER = 255
CLAY = 235  # grey of clay that faces the lamp
SHADE = 0.35  # share of it that clay keeps that turns away
LAMP = (0.4, -0.5, -0.77)  # towards the lamp: right, down, forward of the camera


def draw_mesh(
    mesh: Mesh, camera: Float[np.ndarray, '25'], side: int, *, clay: bool = False
) -> UInt8[np.ndarray, 'S S 3']:
    """What a camera sees of a mesh, on white paper.

    Args:
        mesh: its texture is shown where it has one, the colours of its vertices elsewhere.
        camera: cam2world and intrinsics.
        side: of the picture, in pixels.
        clay: grey, lit from the upper right before the camera, so that the shape shows.
    """
    fine = SUPERSAMPLING * side
    face, share = _nearest(mesh, camera, fine)
    seen = np.flatnonzero(face >= 0)
    pixels = np.full((fine * fine, 3), float(PAPER), np.float32)
    pixels[seen] = _clay(mesh, camera, face[seen], share[seen]) if clay else _colours(mesh, face[seen], share[seen])
    picture = np.round(pixels).clip(0, PAPER).astype(np.uint8).reshape(fine, fine, 3)
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BOX))


def _nearest(
    mesh: Mesh, camera: Float[np.ndarray, '25'], side: int
) -> tuple[Int[np.ndarray, 'S2'], Float[np.ndarray, 'S2 3']]:
    """Of each pixel, row by row: the nearest triangle (-1: none), and the shares of its corners there."""
    cam2world = camera[:16].reshape(4, 4)
    vertices, faces = mesh.surface.vertices, mesh.surface.faces
    inverse = 1.0 / ((vertices - cam2world[:3, 3]) @ cam2world[:3, 2])  # of the distance: linear in the picture
    corners = (locate(vertices, camera) * side)[faces].astype(np.float64)  # F 3 2
    face, share = np.full(side * side, -1, np.int64), np.zeros((side * side, 3), np.float32)
    nearest = np.zeros(side * side)
    for part, column, row in candidates(corners, side):
        weight, inside = barycentric(corners[part], column, row)
        part, weight, pixel = part[inside], weight[inside], (row * side + column)[inside]
        towards = weight * inverse[faces[part]]
        near = towards.sum(axis=1)
        order = np.argsort(near, kind='stable')  # of several triangles in one pixel, the nearest is written last
        order = order[near[order] > nearest[pixel[order]]]
        chosen = pixel[order]
        nearest[chosen], face[chosen] = near[order], part[order]
        share[chosen] = towards[order] / near[order, None]
    return face, share


def _colours(mesh: Mesh, face: Int[np.ndarray, 'Q'], share: Float[np.ndarray, 'Q 3']) -> Float[np.ndarray, 'Q 3']:
    if mesh.texture is None:
        return np.einsum('qc,qcd->qd', share, mesh.colours[mesh.surface.faces[face]].astype(np.float32))
    flat, pixels = mesh.texture
    place = np.einsum('qc,qcd->qd', share, flat.texel[flat.faces[face]])
    column, row = np.clip(place, 0, len(pixels) - 1).astype(np.int64).T
    return pixels[row, column].astype(np.float32)


def _clay(
    mesh: Mesh, camera: Float[np.ndarray, '25'], face: Int[np.ndarray, 'Q'], share: Float[np.ndarray, 'Q 3']
) -> Float[np.ndarray, 'Q 1']:
    lamp = camera[:16].reshape(4, 4)[:3, :3] @ np.asarray(LAMP, np.float32)
    normals = np.einsum('qc,qcd->qd', share, mesh.surface.normals[mesh.surface.faces[face]])
    cosine = normals @ lamp / np.maximum(np.linalg.norm(normals, axis=1), 1e-9)
    return CLAY * (SHADE + (1.0 - SHADE) * np.clip(0.5 + 0.5 * cosine, 0.0, 1.0))[:, None]
