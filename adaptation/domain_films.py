"""Films of the way between domains: heads in a row that sway slowly while their code moves from style to style.

T frames, D stations of the way, K domains, H height of a frame, W its width: the heads' images side by side.
"""

from collections.abc import Iterator, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from adaptation.domain_images import images_of_codes
from adaptation.generation.defaults import TRUNCATION, YAW
from adaptation.generation.films import closed_interpolation
from adaptation.generation.poses import closed_path, pose_cameras
from adaptation.generation.rendering import to_pixels
from adaptation.generation.seeds import latents
from adaptation.step import frontal_cameras
from eg3d_jax import CameraConfig, TriPlaneGenerator


def domain_film_frames(
    source: TriPlaneGenerator,
    leaves: Mapping[str, Array],
    stations: Float[np.ndarray, 'D K'],
    seeds: Sequence[int],
    *,
    frames: int,
    yaw: float = YAW,
    pitch: float = 0.0,
    truncation: float = TRUNCATION,
    camera: CameraConfig | None = None,
) -> Iterator[UInt8[np.ndarray, 'H W 3']]:
    """The frames of a closed loop through all stations, for `generation.film_files.write_film`, as they are drawn.

    Args:
        source: the generator that was adapted.
        leaves: what `adaptation.load_domains` gives.
        stations: codes, slowly left and reached; see `adaptation.domain_codes.code_of`.
        seeds: of the heads, from left to right.
        frames: of the whole film, in which the camera sways once.
        yaw, pitch, truncation, camera: as for `generation.films.film`.
    """
    camera = camera or source.config.camera
    codes = closed_interpolation(stations[:, None], frames)  # [D, 1, K] -> [T, 1, K]
    views = pose_cameras(closed_path(frames, yaw, pitch, camera), camera)
    z, frontal = jnp.asarray(latents(seeds, source.config.z_dim)), frontal_cameras(len(seeds), camera)
    for code, view in zip(codes, views, strict=True):
        each, looking = jnp.repeat(jnp.asarray(code), len(seeds), axis=0), jnp.tile(view, (len(seeds), 1))
        images = np.asarray(images_of_codes(source, leaves, each, z, looking, frontal, truncation))
        yield np.concatenate([to_pixels(image) for image in images], axis=1)
