"""A head as a mesh: its surface, coloured from renderings of it.

P vertices, F triangles, U vertices of the texture's map, T texels of a side, V views.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from adaptation.generation import rendering
from adaptation.generation.defaults import CROP, LEVEL, TEXTURE, TRUNCATION
from adaptation.generation.poses import baking_poses, pose_cameras, sees_all_around
from adaptation.generation.projection import View, blend, continue_colours, gather, weigh
from adaptation.generation.sight import sight_cameras
from adaptation.generation.surfaces import Surface, extract
from adaptation.generation.textures import cover, fill
from adaptation.generation.unwrapping import Unwrapped, unwrap
from adaptation.generation.volumes import (
    MeshError,
    Tick,
    Volume,
    default_resolution,
    enclose,
    query,
    sample_density,
    steps_of_sampling,
)
from eg3d_jax import CameraConfig, TriPlaneGenerator

STEPS_AFTER_SAMPLING = 3  # surface, vertex colours, texture
WHITE = 255


class Texture(NamedTuple):
    """A picture and the map onto it."""

    map: Unwrapped
    pixels: UInt8[np.ndarray, 'T T 3']


class Mesh(NamedTuple):
    """surface: vertices and triangles; see `Surface`. colours: of the vertices, sRGB. texture: None where none was
    asked for."""

    surface: Surface
    colours: UInt8[np.ndarray, 'P 3']
    texture: Texture | None

    @property
    def watertight(self) -> bool:
        """Whether the surface is closed: every edge belongs to two triangles."""
        return self.surface.watertight


def mesh(
    generator: TriPlaneGenerator,
    seed: int,
    *,
    truncation: float = TRUNCATION,
    resolution: int | None = None,
    level: float = LEVEL,
    crop: float = CROP,
    raw: bool = False,
    texture_resolution: int = TEXTURE,
    camera: CameraConfig | None = None,
    batch_size: int | None = None,
    tick: Tick = lambda: None,
) -> Mesh:
    """The head of a seed as a mesh, in world units, +y up, looking along +z.

    Args:
        generator: source or adapted.
        seed: of the latent.
        truncation: psi in [0, 1].
        resolution: grid points of a side for marching cubes; None: two a texel of the planes, at most 256.
        level: density of the surface, in 1 / world unit.
        crop: radius of the sphere outside of which everything is background, in halves of the box's side.
        raw: the density and the field's colours are believed where no training camera looked. Otherwise that side is
            closed and its colours are continued from what is seen; see `closing`. Of a generator whose cameras went
            all the way around, nothing is closed.
        texture_resolution: texels of a side; 0: no texture, vertex colours alone.
        camera: radius, pivot and field of view of the views that are projected; None: the generator's own.
        batch_size: views at a time; None: what fits into the memory.
        tick: called after each of `steps` pieces of work.

    Raises:
        MeshError: there is no surface at this level, or the texture is too small for it.
    """
    camera = camera or generator.config.camera
    resolution = resolution or default_resolution(generator)
    ws = rendering.map_seeds(generator, [seed], truncation, camera)
    planes = rendering.paint(generator, ws)
    density = sample_density(generator, planes, resolution, tick)
    try:
        side = generator.config.rendering.box_warp
        believed = raw or sees_all_around(camera)
        volume = enclose(density, side, level, crop, None if believed else sight_cameras(camera, crop * side / 2))
        surface = extract(volume)
        field = _field_colours(generator, planes, surface.vertices) if believed else None
        tick()
        views = _views(generator, ws, camera, batch_size or rendering.fitting_batch(generator.config), tick)
        colours, texture = colour(surface, volume, field, views, texture_resolution, tick)
    except (MeshError, ValueError) as error:
        raise MeshError(f'seed {seed}: {error}') from None
    return Mesh(surface, colours, texture)


def steps(generator: TriPlaneGenerator, resolution: int | None = None, camera: CameraConfig | None = None) -> int:
    """How often `mesh` calls its `tick`."""
    sampled = steps_of_sampling(generator, resolution or default_resolution(generator))
    return sampled + len(baking_poses(camera or generator.config.camera)) + STEPS_AFTER_SAMPLING


def colour(
    surface: Surface,
    volume: Volume,
    field: Float[np.ndarray, 'P 3'] | None,
    views: list[View],
    texture_resolution: int,
    tick: Callable[[], None] = lambda: None,
) -> tuple[UInt8[np.ndarray, 'P 3'], Texture | None]:
    """Colours of the vertices, and a texture, from views of the surface.

    Args:
        field: colours of the vertices in [0, 1] where no view sees them; None: those around are continued.
        texture_resolution: 0: no texture.
    """
    weights = np.stack([weigh(surface.vertices, surface.normals, view, volume) for view in views])
    if field is None:
        field = continue_colours(surface.faces, *gather(surface.vertices, weights, views))
    colours = _bytes(blend(surface.vertices, weights, views, field))
    tick()
    texture = None
    if texture_resolution:
        flat = unwrap(surface.vertices, surface.faces, texture_resolution)
        coverage = cover(flat, texture_resolution)
        points, weights_there, field_there = (
            coverage.carry(values[flat.vertex], flat.faces) for values in (surface.vertices, weights.T, field)
        )
        blended = blend(points, weights_there.T, views, field_there)
        texture = Texture(flat, _bytes(fill(coverage, blended, texture_resolution)))
    tick()
    return colours, texture


def _views(
    generator: TriPlaneGenerator, ws: Array, camera: CameraConfig, batch_size: int, tick: Callable[[], None]
) -> list[View]:
    cameras = pose_cameras(baking_poses(camera), camera)
    views: list[View] = []
    for seen in rendering.look(generator, ws, cameras, batch_size):
        for image in np.clip((seen.images + 1.0) / 2.0, 0.0, 1.0):
            views.append(View(np.asarray(cameras[len(views)]), image))
            tick()
    return views


def _field_colours(
    generator: TriPlaneGenerator, planes: Array, points: Float[np.ndarray, 'P 3']
) -> Float[np.ndarray, 'P 3']:
    """The field's own colours in [0, 1], some points at a time, so that one compiled program serves all meshes."""
    size = generator.config.rendering.max_points
    filled = np.pad(points, ((0, -len(points) % size), (0, 0)))
    parts = [query(generator, planes, jnp.asarray(part[None]))[0] for part in filled.reshape(-1, size, 3)]
    return np.clip(np.concatenate([np.asarray(part)[0] for part in parts])[: len(points)], 0.0, 1.0)


def _bytes(colours: Float[np.ndarray, '*P 3']) -> UInt8[np.ndarray, '*P 3']:
    return np.round(colours * WHITE).astype(np.uint8)
