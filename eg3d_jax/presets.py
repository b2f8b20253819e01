"""Configs of the published networks and of the miniature.

Where the method's sources are silent about a published value, the assumption is said beside it.
"""

import dataclasses
import math

from eg3d_jax.config import (
    BackboneConfig,
    CameraConfig,
    DecoderConfig,
    GeneratorConfig,
    MappingConfig,
    RenderingConfig,
    SuperresolutionConfig,
)

FFHQ512_128 = GeneratorConfig()

FFHQ512_64 = dataclasses.replace(
    FFHQ512_128, rendering=dataclasses.replace(FFHQ512_128.rendering, neural_resolution=64)
)

# Assumed: the same sizes; what was rebalanced is the poses of the training pictures.
FFHQREBALANCED512_128 = FFHQ512_128
FFHQREBALANCED512_64 = FFHQ512_64

# Assumed: everything as FFHQ's (box_warp 1 included) but the pivot, which lies nearer to a cat's centre.
AFHQ512_128 = dataclasses.replace(FFHQ512_128, camera=CameraConfig(pivot=(0.0, 0.0, -0.06)))

# Assumed: yaw and pitch uniform over the upper hemisphere's ranges, 45 degrees of view.
SHAPENETCARS128_64 = GeneratorConfig(
    mapping=MappingConfig(condition_on_zeros=True),
    rendering=RenderingConfig(
        neural_resolution=64,
        depth_resolution=64,
        importance_resolution=64,
        ray_start=0.1,
        ray_end=2.6,
        box_warp=1.6,
        white_back=True,
    ),
    superresolution=SuperresolutionConfig(input_resolution=64, first_block_doubles=False, channels=(128, 64)),
    camera=CameraConfig(
        fov_degrees=45.0,
        radius=1.7,
        pivot=(0.0, 0.0, 0.0),
        distribution='uniform',
        yaw_std=math.pi,
        pitch_mean=math.pi / 4,
        pitch_std=math.pi / 4,
    ),
)

# A head of the miniature's world is 0.6 tall: this field of view shows 0.9 world units, a little more than that.
MINIATURE = GeneratorConfig(
    z_dim=64,
    w_dim=256,
    mapping=MappingConfig(num_layers=4, condition_on_zeros=True),
    backbone=BackboneConfig(resolution=64, plane_channels=16, channel_base=4096, channel_max=96),
    decoder=DecoderConfig(hidden_channels=32, feature_channels=16),
    rendering=RenderingConfig(
        neural_resolution=64, depth_resolution=24, importance_resolution=24, ray_start=2.2, ray_end=3.25
    ),
    superresolution=SuperresolutionConfig(
        input_resolution=64, first_block_doubles=False, channels=(48, 24), noise_mode='hatching'
    ),
    camera=CameraConfig(fov_degrees=26.4, pivot=(0.0, 0.0, 0.0)),
)

PRESETS: dict[str, GeneratorConfig] = {
    'ffhq512_128': FFHQ512_128,
    'ffhq512_64': FFHQ512_64,
    'ffhqrebalanced512_128': FFHQREBALANCED512_128,
    'ffhqrebalanced512_64': FFHQREBALANCED512_64,
    'afhq512_128': AFHQ512_128,
    'shapenetcars128_64': SHAPENETCARS128_64,
    'miniature': MINIATURE,
}


def preset(name: str) -> GeneratorConfig:
    """The preset of this name.

    Raises:
        ValueError: naming the presets, if there is no such one.
    """
    if name not in PRESETS:
        raise ValueError(f'unknown generator preset {name!r}; the presets are {", ".join(PRESETS)}')
    return PRESETS[name]
