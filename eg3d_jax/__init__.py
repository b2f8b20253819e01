"""EG3D's generator (arXiv 2112.07945) in Flax NNX: a 3D-aware image generator, knowing nothing of what it is used for.

generator = eg3d_jax.load_generator(directory)
output = generator(z, camera)  # or stage by stage: mapping, planes, render, superresolve
"""

from eg3d_jax import cameras
from eg3d_jax.checkpoint import CheckpointError, load_discriminator, load_generator, save_generator, weight_names
from eg3d_jax.config import (
    BackboneConfig,
    CameraConfig,
    DecoderConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    MappingConfig,
    RenderingConfig,
    SuperresolutionConfig,
)
from eg3d_jax.discriminator import DualDiscriminator
from eg3d_jax.generator import GeneratorOutput, TriPlaneGenerator
from eg3d_jax.layers import Buffer
from eg3d_jax.presets import PRESETS, preset
from eg3d_jax.triplane import TriPlaneDecoder, sample_planes
from eg3d_jax.volume_rendering import RenderOutput, render

__all__ = [
    'PRESETS',
    'BackboneConfig',
    'Buffer',
    'CameraConfig',
    'CheckpointError',
    'DecoderConfig',
    'DiscriminatorConfig',
    'DualDiscriminator',
    'GeneratorConfig',
    'GeneratorOutput',
    'MappingConfig',
    'RenderOutput',
    'RenderingConfig',
    'SuperresolutionConfig',
    'TriPlaneDecoder',
    'TriPlaneGenerator',
    'cameras',
    'load_discriminator',
    'load_generator',
    'preset',
    'render',
    'sample_planes',
    'save_generator',
    'weight_names',
]
