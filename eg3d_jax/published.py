"""From a published pickle's constructor arguments to a `GeneratorConfig` or a `DiscriminatorConfig`."""

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

from eg3d_jax.config import (
    RGB_CHANNELS,
    BackboneConfig,
    CameraConfig,
    DecoderConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    MappingConfig,
    RenderingConfig,
    SuperresolutionConfig,
)
from eg3d_jax.presets import PRESETS

PUBLISHED_PLANE_RESOLUTION = 256  # fixed in the reference, not a constructor argument
PUBLISHED_PLANE_CHANNELS = 32
SUPERRESOLUTION_CLAMP = 256.0  # fixed in the reference, used where sr_num_fp16_res > 0

# The class names that the published networks use, without their module path. Sizes are fixed in those classes.
SUPERRESOLUTION_CLASSES: dict[str, dict[str, Any]] = {
    'SuperresolutionHybrid8XDC': {'input_resolution': 128, 'first_block_doubles': True, 'channels': (256, 128)},
    'SuperresolutionHybrid4X': {
        'input_resolution': 128,
        'first_block_doubles': False,
        'channels': (128, 64),
        'resize_larger': False,
    },
    'SuperresolutionHybrid2X': {'input_resolution': 64, 'first_block_doubles': False, 'channels': (128, 64)},
}

# Arguments that change training, or how something is computed, but not what.
IGNORED_ARGUMENTS = {'fused_modconv_default', 'num_fp16_res', 'sr_kwargs'}
USED_ARGUMENTS = {
    'z_dim',
    'c_dim',
    'w_dim',
    'img_resolution',
    'img_channels',
    'sr_num_fp16_res',
    'mapping_kwargs',
    'rendering_kwargs',
    'channel_base',
    'channel_max',
    'conv_clamp',
}
IGNORED_RENDERING = {
    'image_resolution',
    'gpc_reg_prob',
    'gpc_reg_fade_kimg',
    'density_reg',
    'density_reg_p_dist',
    'reg_type',
}
USED_RENDERING = {
    'disparity_space_sampling',
    'clamp_mode',
    'superresolution_module',
    'c_gen_conditioning_zero',
    'c_scale',
    'superresolution_noise_mode',
    'decoder_lr_mul',
    'sr_antialias',
    'depth_resolution',
    'depth_resolution_importance',
    'ray_start',
    'ray_end',
    'box_warp',
    'white_back',
    'avg_camera_radius',
    'avg_camera_pivot',
}

# The discriminator's arguments that change training, or how something is computed, but not what.
IGNORED_DISCRIMINATOR = {'num_fp16_res', 'block_kwargs', 'disc_c_noise', 'sr_upsample_factor'}
USED_DISCRIMINATOR = {
    'c_dim',
    'img_resolution',
    'img_channels',
    'architecture',
    'channel_base',
    'channel_max',
    'conv_clamp',
    'cmap_dim',
    'mapping_kwargs',
    'epilogue_kwargs',
}


def config_from_init_kwargs(init_kwargs: Mapping[str, Any], neural_rendering_resolution: int) -> GeneratorConfig:
    """The config of a published generator.

    Args:
        init_kwargs: the constructor arguments in the pickle, `rendering_kwargs` among them.
        neural_rendering_resolution: the generator's attribute of that name (side of the feature image in pixels).

    Raises:
        ValueError: an argument is missing, or has a value that this port does not implement.

    Arguments that it does not know are named in a warning, and not used.
    """
    try:
        rendering = init_kwargs['rendering_kwargs']
        _check_supported(init_kwargs, rendering)
        config = GeneratorConfig(
            z_dim=int(init_kwargs['z_dim']),
            c_dim=int(init_kwargs['c_dim']),
            w_dim=int(init_kwargs['w_dim']),
            mapping=_mapping(init_kwargs, rendering),
            backbone=BackboneConfig(
                resolution=PUBLISHED_PLANE_RESOLUTION,
                plane_channels=PUBLISHED_PLANE_CHANNELS,
                channel_base=int(init_kwargs.get('channel_base', 32768)),
                channel_max=int(init_kwargs.get('channel_max', 512)),
                conv_clamp=_optional_float(init_kwargs.get('conv_clamp')),
            ),
            decoder=DecoderConfig(learning_rate_multiplier=float(rendering.get('decoder_lr_mul', 1))),
            rendering=_rendering(rendering, neural_rendering_resolution),
            superresolution=_superresolution(init_kwargs, rendering),
        )
        stated = init_kwargs['img_resolution']
    except KeyError as error:
        raise ValueError(f'the published constructor arguments lack {error.args[0]!r}') from error
    if config.image_resolution != stated:
        raise ValueError(
            f'img_resolution is {stated}, but {rendering["superresolution_module"]} '
            f'makes images of {config.image_resolution}'
        )
    return dataclasses.replace(config, camera=_camera(rendering, config.image_resolution))


def discriminator_config_from_init_kwargs(init_kwargs: Mapping[str, Any]) -> DiscriminatorConfig:
    """The config of a published dual discriminator.

    Args:
        init_kwargs: the constructor arguments in the pickle.

    Raises:
        ValueError: an argument is missing, or has a value that this port does not implement.

    Arguments that it does not know are named in a warning, and not used.
    """
    unknown = sorted(set(init_kwargs) - USED_DISCRIMINATOR - IGNORED_DISCRIMINATOR)
    if unknown:
        warnings.warn(
            f'constructor arguments of the discriminator that are not used: {", ".join(unknown)}', stacklevel=2
        )
    _require_value('architecture', init_kwargs.get('architecture', 'resnet'), 'resnet')
    _require_value('img_channels', init_kwargs.get('img_channels', RGB_CHANNELS), RGB_CHANNELS)
    mapping = dict(init_kwargs.get('mapping_kwargs') or {})
    epilogue = dict(init_kwargs.get('epilogue_kwargs') or {})
    try:
        config = DiscriminatorConfig(
            image_resolution=int(init_kwargs['img_resolution']),
            c_dim=int(init_kwargs['c_dim']),
            channel_base=int(init_kwargs.get('channel_base', 32768)),
            channel_max=int(init_kwargs.get('channel_max', 512)),
            mapping_layers=int(mapping.pop('num_layers', 8)),
            embedding=None if init_kwargs.get('cmap_dim') is None else int(init_kwargs['cmap_dim']),
            conv_clamp=_optional_float(init_kwargs.get('conv_clamp', 256)),
            deviation_group=int(epilogue.pop('mbstd_group_size', 4)),
            deviation_channels=int(epilogue.pop('mbstd_num_channels', 1)),
        )
    except KeyError as error:
        raise ValueError(f'the published constructor arguments lack {error.args[0]!r}') from error
    for name, rest in (('mapping_kwargs', mapping), ('epilogue_kwargs', epilogue)):
        if rest:
            raise ValueError(f'{name} {", ".join(sorted(rest))} are not implemented by this port')
    return config


def _check_supported(init_kwargs: Mapping[str, Any], rendering: Mapping[str, Any]) -> None:
    unknown = sorted(set(init_kwargs) - USED_ARGUMENTS - IGNORED_ARGUMENTS)
    unknown += sorted(f'rendering_kwargs.{name}' for name in set(rendering) - USED_RENDERING - IGNORED_RENDERING)
    if unknown:
        warnings.warn(f'constructor arguments of the generator that are not used: {", ".join(unknown)}', stacklevel=3)
    for name, value, supported in (
        ('img_channels', init_kwargs.get('img_channels', RGB_CHANNELS), RGB_CHANNELS),
        ('rendering_kwargs.clamp_mode', rendering.get('clamp_mode', 'softplus'), 'softplus'),
        ('rendering_kwargs.disparity_space_sampling', rendering.get('disparity_space_sampling', False), False),
    ):
        _require_value(name, value, supported)
    for name in ('ray_start', 'ray_end'):
        if not isinstance(rendering[name], int | float):
            raise ValueError(f'rendering_kwargs.{name} is {rendering[name]!r}; this port needs a number')


def _require_value(name: str, value: Any, supported: Any) -> None:
    if value != supported:
        raise ValueError(f'{name} is {value!r}; this port implements {supported!r} alone')


def _camera(rendering: Mapping[str, Any], image_resolution: int) -> CameraConfig:
    """The cameras of the published network that has this radius, pivot and image size; of another one, FFHQ's field of
    view and poses, with a warning: the arguments do not say these."""
    radius = float(rendering.get('avg_camera_radius', CameraConfig.radius))
    pivot = _triple(rendering.get('avg_camera_pivot', CameraConfig.pivot))
    for known in PRESETS.values():
        if (known.camera.radius, known.camera.pivot, known.image_resolution) == (radius, pivot, image_resolution):
            return known.camera
    if (radius, pivot) == (CameraConfig.radius, CameraConfig.pivot):
        return CameraConfig()
    warnings.warn(
        f'the arguments do not say the field of view and the poses of cameras at a radius of {radius} that look at '
        f'{pivot}: FFHQ\'s are assumed; where they are others, change them under "camera" in config.json',
        stacklevel=4,
    )
    return CameraConfig(radius=radius, pivot=pivot)


def _mapping(init_kwargs: Mapping[str, Any], rendering: Mapping[str, Any]) -> MappingConfig:
    arguments = dict(init_kwargs.get('mapping_kwargs') or {})
    num_layers = int(arguments.pop('num_layers', 8))
    if arguments:
        raise ValueError(f'mapping_kwargs {", ".join(sorted(arguments))} are not implemented by this port')
    return MappingConfig(
        num_layers=num_layers,
        camera_scale=float(rendering.get('c_scale', 0)),  # absent means 0 in the reference
        condition_on_zeros=bool(rendering.get('c_gen_conditioning_zero', False)),
    )


def _rendering(rendering: Mapping[str, Any], neural_rendering_resolution: int) -> RenderingConfig:
    return RenderingConfig(
        neural_resolution=int(neural_rendering_resolution),
        depth_resolution=int(rendering['depth_resolution']),
        importance_resolution=int(rendering['depth_resolution_importance']),
        ray_start=float(rendering['ray_start']),
        ray_end=float(rendering['ray_end']),
        box_warp=float(rendering['box_warp']),
        white_back=bool(rendering.get('white_back', False)),
    )


def _superresolution(init_kwargs: Mapping[str, Any], rendering: Mapping[str, Any]) -> SuperresolutionConfig:
    class_name = str(rendering['superresolution_module']).rsplit('.', maxsplit=1)[-1]
    if class_name not in SUPERRESOLUTION_CLASSES:
        raise ValueError(
            f'unknown superresolution_module {rendering["superresolution_module"]!r}; '
            f'known are {", ".join(SUPERRESOLUTION_CLASSES)}'
        )
    return SuperresolutionConfig(
        **SUPERRESOLUTION_CLASSES[class_name],
        conv_clamp=SUPERRESOLUTION_CLAMP if init_kwargs.get('sr_num_fp16_res', 0) > 0 else None,
        antialias=bool(rendering['sr_antialias']),
        noise_mode=str(rendering.get('superresolution_noise_mode', 'none')),
    )


def _optional_float(value: Any) -> float | None:
    return None if value is None else float(value)


def _triple(values: Any) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
