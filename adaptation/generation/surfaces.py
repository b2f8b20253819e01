"""The surface of a volume, by marching cubes.

The axes stay the generator's own, which are glTF's: right-handed, +y up, the face looking along +z; world units.
P vertices, F triangles.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from adaptation.generation.volumes import Volume


class Surface(NamedTuple):
    """vertices: in world units. faces: counter-clockwise seen from outside. normals: of the vertices, outwards."""

    vertices: Float[np.ndarray, 'P 3']
    faces: Int[np.ndarray, 'F 3']
    normals: Float[np.ndarray, 'P 3']
    watertight: bool


def extract(volume: Volume) -> Surface:
    """The surface on which the field is zero."""
    import trimesh
    from skimage.measure import marching_cubes

    found, faces, *_ = marching_cubes(volume.field, 0.0, spacing=(volume.step,) * 3, allow_degenerate=False)
    mesh = trimesh.Trimesh(found - volume.side / 2, faces)  # merges what lies in the same place
    if mesh.volume < 0:
        mesh.invert()
    return Surface(
        vertices=np.asarray(mesh.vertices, np.float32),
        faces=np.asarray(mesh.faces, np.int32),
        normals=np.asarray(mesh.vertex_normals, np.float32),
        watertight=bool(mesh.is_watertight),
    )
