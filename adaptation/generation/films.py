"""Films of heads: turned before the camera, or changing into one another. Both are closed loops.

T frames, N seeds, L number of w vectors, D channels of w, S side of an image.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from adaptation.generation import rendering
from adaptation.generation.defaults import (
    FILM_FORMATS,
    FPS,
    FRAMES_PER_SEED,
    INTERPOLATION,
    KINDS,
    TRUNCATION,
    TURNTABLE,
    TURNTABLE_FRAMES,
    YAW,
)
from adaptation.generation.film_files import write_film
from adaptation.generation.poses import closed_path, pose_cameras
from eg3d_jax import CameraConfig, TriPlaneGenerator


def film(
    generator: TriPlaneGenerator,
    path: str | Path,
    seeds: Sequence[int],
    *,
    kind: str = TURNTABLE,
    frames: int | None = None,
    fps: float = FPS,
    yaw: float = YAW,
    pitch: float = 0.0,
    truncation: float = TRUNCATION,
    camera: CameraConfig | None = None,
    batch_size: int | None = None,
) -> Path:
    """Writes a film, atomically, and returns its path.

    Args:
        generator: source or adapted.
        path: ends in .mp4 (H.264, yuv420p), .gif or .webp.
        seeds: of the heads; a turntable shows one.
        kind: 'turntable' or 'interpolation'.
        frames: of the whole film; None: 60 for a turntable, 30 a seed for an interpolation.
        fps: frames a second.
        yaw, pitch, truncation, camera, batch_size: as for `pictures`; the path of the camera is `closed_path`'s.

    Raises:
        ValueError: an unknown kind or ending, or a turntable of several seeds.
        AdaptationError: the film cannot be encoded.
        OSError: it cannot be written.
    """
    path = Path(path)
    if path.suffix.removeprefix('.') not in FILM_FORMATS:
        raise ValueError(f'{path} must end in .{", .".join(FILM_FORMATS)}')
    drawn = film_frames(
        generator,
        seeds,
        kind=kind,
        frames=frames or default_frames(kind, seeds),
        yaw=yaw,
        pitch=pitch,
        truncation=truncation,
        camera=camera,
        batch_size=batch_size,
    )
    write_film(path, drawn, fps)
    return path


def film_frames(
    generator: TriPlaneGenerator,
    seeds: Sequence[int],
    *,
    kind: str,
    frames: int,
    yaw: float = YAW,
    pitch: float = 0.0,
    truncation: float = TRUNCATION,
    camera: CameraConfig | None = None,
    batch_size: int | None = None,
) -> Iterator[UInt8[np.ndarray, 'S S 3']]:
    """The frames of a film, as they are drawn; see `film`.

    Raises:
        ValueError: an unknown kind, or a turntable of several seeds.
    """
    if kind not in KINDS:
        raise ValueError(f'kind must be one of {", ".join(KINDS)}, got {kind!r}')
    if kind == TURNTABLE and len(seeds) != 1:
        raise ValueError(f'a turntable shows one seed, got {len(seeds)}')
    camera = camera or generator.config.camera
    ws = rendering.map_seeds(generator, seeds, truncation, camera)
    if kind == INTERPOLATION:
        ws = jnp.asarray(closed_interpolation(np.asarray(ws), frames))
    cameras = pose_cameras(closed_path(frames, yaw, pitch, camera), camera)
    batch_size = batch_size or rendering.fitting_batch(generator.config)
    return _frames(generator, ws, cameras, batch_size)


def default_frames(kind: str, seeds: Sequence[int]) -> int:
    """How many frames a film has where nobody says."""
    return FRAMES_PER_SEED * len(seeds) if kind == INTERPOLATION else TURNTABLE_FRAMES


def closed_interpolation(heads: Float[np.ndarray, 'N L D'], frames: int) -> Float[np.ndarray, 'T L D']:
    """w vectors of a film through all heads and back to the first: on straight lines in w, where equal steps look equal
    (in z, only the direction counts, and lines would have to be arcs), slower near the heads themselves."""
    position = len(heads) * np.arange(frames) / frames
    index = position.astype(int)
    share = position - index
    eased = (share * share * (3.0 - 2.0 * share)).astype(np.float32)[:, None, None]
    return (1.0 - eased) * heads[index] + eased * heads[(index + 1) % len(heads)]


def _frames(
    generator: TriPlaneGenerator, ws: Array, cameras: Array, batch_size: int
) -> Iterator[UInt8[np.ndarray, 'S S 3']]:
    for seen in rendering.look(generator, ws, cameras, batch_size):
        yield from rendering.to_pixels(seen.images)
