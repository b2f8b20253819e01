"""What the networks of a published EG3D pickle consist of: names and shapes, from the constructor arguments.

PyTorch layouts: convolutions [out, in, height, width], linear layers [out, in].
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

PLANE_RESOLUTION = 256
PLANE_CHANNELS = 96  # three planes of 32
FEATURES = 32
DECODER_WIDTH = 64
DISCRIMINATOR_LAYERS = 8  # of its mapping network
# class -> sides of the two blocks' outputs over the image's, channels of the two blocks
SUPERRESOLUTION = {
    'SuperresolutionHybrid8XDC': ((2, 1), (256, 128)),
    'SuperresolutionHybrid4X': ((2, 1), (128, 64)),
    'SuperresolutionHybrid2X': ((2, 1), (128, 64)),
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One array of a network's state dict."""

    shape: tuple[int, ...]
    kind: Literal['parameter', 'buffer'] = 'parameter'


Entries = dict[str, Entry]
FILTER = Entry((4, 4), 'buffer')


def arguments(
    resolution: int = 512, channel_base: int = 32768, channel_max: int = 512, width: int = 512, samples: int = 48
) -> dict[str, Any]:
    """The constructor arguments of a generator like those of FFHQ, 512 or 256 or 128 pixels wide.

    Args:
      resolution: of the final image.
      channel_base, channel_max: a backbone block of side r has min(channel_base // r, channel_max) channels.
      width: of the latents z and w.
      samples: on a ray, for each of the two passes.
    """
    module = {512: 'SuperresolutionHybrid8XDC', 256: 'SuperresolutionHybrid4X', 128: 'SuperresolutionHybrid2X'}
    shared = {
        'channel_base': channel_base,
        'channel_max': channel_max,
        'fused_modconv_default': 'inference_only',
    }
    rendering = {
        'image_resolution': resolution,
        'disparity_space_sampling': False,
        'clamp_mode': 'softplus',
        'superresolution_module': f'training.superresolution.{module[resolution]}',
        'c_gen_conditioning_zero': False,
        'gpc_reg_prob': 0.8,
        'c_scale': 1,
        'superresolution_noise_mode': 'none',
        'density_reg': 0.25,
        'density_reg_p_dist': 0.004,
        'reg_type': 'l1',
        'decoder_lr_mul': 1,
        'sr_antialias': True,
        'depth_resolution': samples,
        'depth_resolution_importance': samples,
        'ray_start': 2.25,
        'ray_end': 3.3,
        'box_warp': 1,
        'avg_camera_radius': 2.7,
        'avg_camera_pivot': [0, 0, 0.2],
    }
    return {
        'z_dim': width,
        'c_dim': 25,
        'w_dim': width,
        'img_resolution': resolution,
        'img_channels': 3,
        'sr_num_fp16_res': 4,
        'mapping_kwargs': {'num_layers': 2},
        'rendering_kwargs': rendering,
        'sr_kwargs': dict(shared),
        **shared,
        'num_fp16_res': 0,
        'conv_clamp': None,
    }


def generator_entries(arguments: Mapping[str, Any]) -> Entries:
    """The state dict of a generator with these constructor arguments."""
    width = arguments['w_dim']
    entries = _backbone(arguments, width)
    entries |= _mapping('backbone.mapping', arguments['mapping_kwargs']['num_layers'], arguments['z_dim'], width)
    entries['backbone.mapping.w_avg'] = Entry((width,), 'buffer')
    entries |= _superresolution(arguments, width)
    entries |= _linear('decoder.net.0', FEATURES, DECODER_WIDTH)
    entries |= _linear('decoder.net.2', DECODER_WIDTH, FEATURES + 1)
    return entries


def discriminator_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor arguments of the dual discriminator that belongs to a generator with these."""
    shared = ('img_resolution', 'img_channels', 'c_dim', 'channel_base', 'channel_max')
    return {name: arguments[name] for name in shared} | {
        'num_fp16_res': 4,
        'conv_clamp': 256,
        'disc_c_noise': 0,
        'block_kwargs': {'freeze_layers': 0},
        'mapping_kwargs': {},
        'epilogue_kwargs': {'mbstd_group_size': 4},
    }


def discriminator_entries(arguments: Mapping[str, Any]) -> Entries:
    """The state dict of the dual discriminator that belongs to a generator with these constructor arguments."""
    entries = {'resample_filter': FILTER}
    resolution = arguments['img_resolution']

    def channels(resolution: int) -> int:
        return min(arguments['channel_base'] // resolution, arguments['channel_max'])

    entries |= _plain_convolution(f'b{resolution}.fromrgb', 6, channels(resolution), 1)
    for side in (2**k for k in range(int(math.log2(resolution)), 2, -1)):
        entries[f'b{side}.resample_filter'] = FILTER
        entries |= _plain_convolution(f'b{side}.conv0', channels(side), channels(side), 3)
        entries |= _plain_convolution(f'b{side}.conv1', channels(side), channels(side // 2), 3)
        entries |= _plain_convolution(f'b{side}.skip', channels(side), channels(side // 2), 1)
        del entries[f'b{side}.skip.bias']
    width = channels(4)  # of the camera's embedding as well
    entries |= _mapping('mapping', DISCRIMINATOR_LAYERS, 0, width)
    entries |= _plain_convolution('b4.conv', width + 1, width, 3)
    entries |= _linear('b4.fc', width * 16, width)
    entries |= _linear('b4.out', width, width)
    return entries


def _backbone(arguments: Mapping[str, Any], width: int) -> Entries:
    entries: Entries = {}
    previous = 0
    for side in (2**k for k in range(2, int(math.log2(PLANE_RESOLUTION)) + 1)):
        channels = min(arguments['channel_base'] // side, arguments['channel_max'])
        block = f'backbone.synthesis.b{side}'
        if side == 4:
            entries[f'{block}.const'] = Entry((channels, 4, 4))
        else:
            entries |= _modulated(f'{block}.conv0', previous, channels, side, width)
        entries |= _modulated(f'{block}.conv1', channels, channels, side, width)
        entries |= _to_rgb(f'{block}.torgb', channels, PLANE_CHANNELS, width)
        entries[f'{block}.resample_filter'] = FILTER
        previous = channels
    return entries


def _superresolution(arguments: Mapping[str, Any], width: int) -> Entries:
    name = arguments['rendering_kwargs']['superresolution_module'].rsplit('.')[-1]
    ratios, block_channels = SUPERRESOLUTION[name]
    entries: Entries = {}
    if name != 'SuperresolutionHybrid8XDC':
        entries['superresolution.resample_filter'] = FILTER
    previous = FEATURES
    for index, (ratio, channels) in enumerate(zip(ratios, block_channels, strict=True)):
        block, side = f'superresolution.block{index}', arguments['img_resolution'] // ratio
        entries |= _modulated(f'{block}.conv0', previous, channels, side, width)
        entries |= _modulated(f'{block}.conv1', channels, channels, side, width)
        entries |= _to_rgb(f'{block}.torgb', channels, 3, width)
        entries[f'{block}.resample_filter'] = FILTER
        previous = channels
    return entries


def _mapping(name: str, layers: int, latent: int, width: int) -> Entries:
    entries = _linear(f'{name}.embed', 25, width)
    for index in range(layers):
        entries |= _linear(f'{name}.fc{index}', width if index else latent + width, width)
    return entries


def _linear(name: str, inputs: int, outputs: int) -> Entries:
    return {f'{name}.weight': Entry((outputs, inputs)), f'{name}.bias': Entry((outputs,))}


def _plain_convolution(name: str, inputs: int, outputs: int, kernel: int) -> Entries:
    return {
        f'{name}.weight': Entry((outputs, inputs, kernel, kernel)),
        f'{name}.bias': Entry((outputs,)),
        f'{name}.resample_filter': FILTER,
    }


def _modulated(name: str, inputs: int, outputs: int, side: int, width: int) -> Entries:
    return {
        **_plain_convolution(name, inputs, outputs, 3),
        f'{name}.noise_strength': Entry(()),
        f'{name}.noise_const': Entry((side, side), 'buffer'),
        **_linear(f'{name}.affine', width, inputs),
    }


def _to_rgb(name: str, inputs: int, outputs: int, width: int) -> Entries:
    entries = _plain_convolution(name, inputs, outputs, 1)
    del entries[f'{name}.resample_filter']
    return entries | _linear(f'{name}.affine', width, inputs)


def random_arrays(entries: Entries, seed: int) -> dict[str, np.ndarray]:
    """Float32 values by the rule that the reference's golden outputs were computed with: standard normal numbers from
    (seed, CRC-32 of the name), scaled so that every stage of the network has a plausible output."""
    return {name: _random_array(name, entry.shape, seed) for name, entry in entries.items()}


def _random_array(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    if name.endswith('resample_filter'):
        taps = np.array([1, 3, 3, 1], np.float32)
        return np.outer(taps, taps) / 64
    x = np.asarray(np.random.default_rng([seed, zlib.crc32(name.encode())]).standard_normal(shape), np.float32)
    if name.endswith('.affine.bias'):
        x *= 0.1
        x += 1
    elif 'mapping.fc' in name:
        x *= 100 if name.endswith('.weight') else 10
    elif name == 'decoder.net.2.weight':
        x *= 4
    elif name.endswith(('.bias', 'noise_strength', 'w_avg')):
        x *= 0.1
        if name == 'decoder.net.2.bias':
            x[0] += 3
    return x
