"""Depth maps as files: 16-bit grey levels with their scale, and a picture of them to look at.

s side of a depth map, S of a picture.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, UInt8, UInt16
from PIL import Image

from eg3d_jax import RenderingConfig

LEVELS = 2**16 - 1
WHITE = 255
SHOWN = 2.0  # percent of the pixels are nearer than white, and as many farther than black


def encode_depth(
    depth: Float[np.ndarray, 's s'], rendering: RenderingConfig
) -> tuple[UInt16[np.ndarray, 's s'], dict[str, str]]:
    """Grey levels, and the metadata that says what they mean: distance = depth_offset + depth_scale * level.

    The scale spans the distances at which the generator samples its rays, so it is the same for all of its pictures.

    Args:
        depth: distances from the camera along each ray, in world units.
    """
    step = (rendering.ray_end - rendering.ray_start) / (rendering.depth_resolution - 1)  # the last sample may lie past
    offset, scale = rendering.ray_start, (rendering.ray_end + step - rendering.ray_start) / LEVELS
    levels = np.clip(np.round((depth - offset) / scale), 0, LEVELS).astype(np.uint16)
    return levels, {'depth_offset': repr(offset), 'depth_scale': repr(scale), 'depth_unit': 'world units along the ray'}


def decode_depth(levels: UInt16[np.ndarray, 's s'], text: Mapping[str, str]) -> Float[np.ndarray, 's s']:
    """Distances in world units from the grey levels and the metadata of a file."""
    return (float(text['depth_offset']) + float(text['depth_scale']) * levels).astype(np.float32)


def depth_picture(depth: Float[np.ndarray, 's s'], side: int) -> UInt8[np.ndarray, 'S S']:
    """Grey levels to look at, white near and black far in this map, `side` pixels wide."""
    near, far = np.percentile(depth, [SHOWN, 100.0 - SHOWN])
    share = np.clip((far - depth) / np.maximum(far - near, np.finfo(np.float32).tiny), 0.0, 1.0)
    levels = np.round(share * WHITE).astype(np.uint8)
    return np.asarray(Image.fromarray(levels).resize((side, side), Image.Resampling.BILINEAR))
