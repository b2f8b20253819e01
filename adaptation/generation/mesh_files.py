"""Meshes -> files: `.ply` with vertex colours, `.glb` (binary glTF 2.0) with a texture, or with vertex colours.

A textured `.glb` holds no vertex colours, for glTF would multiply the two. Its material is unlit (KHR_materials_unlit):
the light is in the colours. glTF takes vertex colours as linear and textures as sRGB; PLY says nothing, and gets sRGB.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from adaptation.generation.defaults import GLB, MESH_FORMATS, PLY
from adaptation.generation.meshes import Mesh, Texture
from eg3d_jax.files import replacing

UNLIT = 'KHR_materials_unlit'
WHITE = 255


def save_mesh(mesh: Mesh, path: Path) -> None:
    """Writes the mesh as the format that the path's ending names, atomically.

    Raises:
        ValueError: another ending.
        OSError: it cannot be written.
    """
    form = path.suffix.removeprefix('.')
    if form not in MESH_FORMATS:
        raise ValueError(f'{path} must end in .{" or .".join(MESH_FORMATS)}')
    content = _ply(mesh) if form == PLY else _glb(mesh)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _ply(mesh: Mesh) -> bytes:
    content: bytes = _with_vertex_colours(mesh, mesh.colours).export(file_type=PLY, vertex_normal=True)
    return content


def _glb(mesh: Mesh) -> bytes:
    if mesh.texture is None:
        linear = np.round(_linear(mesh.colours) * WHITE).astype(np.uint8)
        made = _with_vertex_colours(mesh, linear)
    else:
        made = _textured(mesh, mesh.texture)
    content: bytes = made.export(file_type=GLB, include_normals=True, tree_postprocessor=_unlit)
    return content


def _with_vertex_colours(mesh: Mesh, colours: UInt8[np.ndarray, 'P 3']) -> Any:
    import trimesh

    surface = mesh.surface
    return trimesh.Trimesh(
        surface.vertices, surface.faces, vertex_normals=surface.normals, vertex_colors=colours, process=False
    )


def _textured(mesh: Mesh, texture: Texture) -> Any:
    import trimesh
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    vertex, faces, texel = texture.map
    uv = texel / len(texture.pixels)
    uv[:, 1] = 1.0 - uv[:, 1]  # trimesh counts rows from below, and turns them again for glTF
    image = Image.fromarray(texture.pixels)
    material = PBRMaterial(
        name='head', baseColorTexture=image, metallicFactor=0.0, roughnessFactor=1.0, doubleSided=True
    )
    return trimesh.Trimesh(
        mesh.surface.vertices[vertex],
        faces,
        vertex_normals=mesh.surface.normals[vertex],
        visual=TextureVisuals(uv=uv, material=material),
        process=False,
    )


def _unlit(tree: dict[str, Any]) -> None:
    """Marks every material as unlit; a mesh with vertex colours gets one to mark."""
    if not tree.get('materials'):
        tree['materials'] = [{'pbrMetallicRoughness': {'metallicFactor': 0.0}, 'doubleSided': True}]
        for primitive in (part for mesh in tree['meshes'] for part in mesh['primitives']):
            primitive['material'] = 0
    for material in tree['materials']:
        material.setdefault('extensions', {})[UNLIT] = {}
    tree['extensionsUsed'] = sorted({*tree.get('extensionsUsed', []), UNLIT})


def _linear(colours: UInt8[np.ndarray, 'P 3']) -> Float[np.ndarray, 'P 3']:
    """sRGB bytes as linear light in [0, 1]."""
    share = colours / WHITE
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
