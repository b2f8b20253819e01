"""What a generator is made of: frozen dataclasses whose defaults are those of the published FFHQ network.

Every size is a field, so one code path serves the published networks and the miniature. ``to_dict`` and ``from_dict``
are the contents of a checkpoint's ``config.json``.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NOISE_MODES = ('const', 'random', 'none', 'hatching')
POSE_DISTRIBUTIONS = ('gaussian', 'uniform')
RGB_CHANNELS = 3
SMALLEST_RESOLUTION = 4  # side of the backbone's learned constant


@dataclass(frozen=True)
class MappingConfig:
    """The mapping network: (latent, conditioning camera) -> w."""

    num_layers: int = 2  # fully connected layers behind the concatenated inputs
    learning_rate_multiplier: float = 0.01  # equalised learning rate of those layers
    camera_scale: float = 1.0  # the conditioning camera is multiplied by this (published name: c_scale)
    condition_on_zeros: bool = False  # ignore the conditioning camera (published name: c_gen_conditioning_zero)

    def __post_init__(self) -> None:
        _require(self.num_layers >= 1, f'MappingConfig.num_layers must be at least 1, got {self.num_layers}')
        _require_positive(self, 'learning_rate_multiplier')


@dataclass(frozen=True)
class BackboneConfig:
    """G1, the StyleGAN2 synthesis network that paints the three feature planes."""

    resolution: int = 256  # side of a plane in texels, a power of two
    plane_channels: int = 32  # channels of one plane
    channel_base: int = 32768  # a block at resolution r has min(channel_base // r, channel_max) channels
    channel_max: int = 512
    conv_clamp: float | None = None  # activations are clamped to +- this; None: not clamped

    def __post_init__(self) -> None:
        _require(
            self.resolution >= SMALLEST_RESOLUTION and self.resolution & (self.resolution - 1) == 0,
            f'BackboneConfig.resolution must be a power of two of at least 4, got {self.resolution}',
        )
        _require_positive(self, 'plane_channels', 'channel_base', 'channel_max', 'conv_clamp')
        _require(
            self.channel_base >= self.resolution,
            f'BackboneConfig.channel_base {self.channel_base} leaves no channel at resolution {self.resolution}',
        )

    @property
    def block_resolutions(self) -> tuple[int, ...]:
        """Sides of the synthesis blocks' outputs: 4, 8, ... up to the planes' resolution."""
        return tuple(2**k for k in range(2, int(math.log2(self.resolution)) + 1))

    @property
    def num_ws(self) -> int:
        """How many w vectors the blocks use: one per convolution and one for the last block's torgb."""
        return 2 * len(self.block_resolutions)

    def channels(self, resolution: int) -> int:
        """Channels of the block at this resolution."""
        return min(self.channel_base // resolution, self.channel_max)


@dataclass(frozen=True)
class DecoderConfig:
    """Tri-D, the small network that turns a plane feature into a colour feature and a density."""

    hidden_channels: int = 64
    feature_channels: int = 32  # of the rendered feature image; the first three are the raw RGB
    learning_rate_multiplier: float = 1.0  # equalised learning rate (published name: decoder_lr_mul)

    def __post_init__(self) -> None:
        _require_positive(self, 'hidden_channels', 'learning_rate_multiplier')
        _require(
            self.feature_channels >= RGB_CHANNELS,
            f'DecoderConfig.feature_channels must be at least 3 (raw RGB), got {self.feature_channels}',
        )


@dataclass(frozen=True)
class RenderingConfig:
    """Two-pass volume rendering. Lengths are world units."""

    neural_resolution: int = 128  # side of the feature image in pixels, where `render` is given no other
    depth_resolution: int = 48  # stratified samples of a ray (first pass)
    importance_resolution: int = 48  # samples drawn where the first pass found weight; 0: one pass only
    ray_start: float = 2.25  # distance of the first sample from the camera
    ray_end: float = 3.3  # distance of the last one (before the jitter)
    box_warp: float = 1.0  # side of the cube around the origin that the planes span
    white_back: bool = False  # what a ray does not hit is white (one in every feature channel)
    max_points: int = 2**18  # more samples than this in a call are rendered in chunks of rays, to bound memory

    def __post_init__(self) -> None:
        _require_positive(self, 'neural_resolution', 'ray_start', 'box_warp', 'max_points')
        _require(
            self.depth_resolution >= 4,
            f'RenderingConfig.depth_resolution must be at least 4 (importance sampling drops the ends), '
            f'got {self.depth_resolution}',
        )
        _require(
            self.importance_resolution >= 0,
            f'RenderingConfig.importance_resolution must not be negative, got {self.importance_resolution}',
        )
        _require(
            self.ray_end > self.ray_start,
            f'RenderingConfig.ray_end {self.ray_end} must lie behind ray_start {self.ray_start}',
        )


@dataclass(frozen=True)
class SuperresolutionConfig:
    """G2: two style-modulated blocks. The first doubles the size or not, the second always does."""

    input_resolution: int = 128  # feature images of another size are resized to this one first
    first_block_doubles: bool = True
    channels: tuple[int, int] = (256, 128)  # of the two blocks
    conv_clamp: float | None = 256.0  # activations are clamped to +- this; None: not clamped
    antialias: bool = True  # of that resize (published name: sr_antialias)
    resize_larger: bool = True  # False: only smaller feature images are resized (the 256 network)
    noise_mode: str = 'none'  # where the caller names none

    def __post_init__(self) -> None:
        _require_positive(self, 'input_resolution', 'conv_clamp')
        _require(
            len(self.channels) == 2 and min(self.channels) > 0,
            f'SuperresolutionConfig.channels must be two positive numbers, got {self.channels}',
        )
        check_noise_mode(self.noise_mode)

    @property
    def output_resolution(self) -> int:
        """Side of the final image, given a feature image of the input resolution."""
        return self.input_resolution * (4 if self.first_block_doubles else 2)


@dataclass(frozen=True)
class CameraConfig:
    """The data set's cameras: on a sphere around the world's origin, looking at the pivot. Angles are radians."""

    fov_degrees: float = 18.837  # field of view along the image's diagonal
    radius: float = 2.7  # distance of the camera from the origin
    pivot: tuple[float, float, float] = (0.0, 0.0, 0.2)  # where it looks
    distribution: str = 'gaussian'  # of yaw and pitch
    yaw_mean: float = 0.0
    yaw_std: float = 0.3  # standard deviation; half the range of a uniform distribution
    pitch_mean: float = 0.0
    pitch_std: float = 0.155

    def __post_init__(self) -> None:
        _require(
            0.0 < self.fov_degrees < 180.0, f'CameraConfig.fov_degrees must lie in (0, 180), got {self.fov_degrees}'
        )
        _require_positive(self, 'radius')
        _require(len(self.pivot) == 3, f'CameraConfig.pivot must be three numbers, got {self.pivot}')
        _require(
            self.distribution in POSE_DISTRIBUTIONS,
            f'CameraConfig.distribution must be one of {POSE_DISTRIBUTIONS}, got {self.distribution!r}',
        )
        _require(self.yaw_std >= 0 and self.pitch_std >= 0, 'CameraConfig.yaw_std and pitch_std must not be negative')


@dataclass(frozen=True)
class GeneratorConfig:
    """A whole generator; the defaults are the published FFHQ network, 512 from 128."""

    z_dim: int = 512
    c_dim: int = 25  # a camera: 16 numbers of cam2world, 9 of the intrinsics
    w_dim: int = 512
    mapping: MappingConfig = field(default_factory=MappingConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    rendering: RenderingConfig = field(default_factory=RenderingConfig)
    superresolution: SuperresolutionConfig = field(default_factory=SuperresolutionConfig)
    camera: CameraConfig = field(default_factory=CameraConfig)

    def __post_init__(self) -> None:
        _require_positive(self, 'z_dim', 'w_dim')
        _require(self.c_dim == 25, f'GeneratorConfig.c_dim must be 25 (16 cam2world, 9 intrinsics), got {self.c_dim}')

    @property
    def num_ws(self) -> int:
        """How many w vectors `mapping` returns."""
        return self.backbone.num_ws

    @property
    def image_resolution(self) -> int:
        """Side of the final image in pixels."""
        return self.superresolution.output_resolution

    def to_dict(self) -> dict[str, Any]:
        """Nested dictionary of JSON types; ``from_dict`` reads it back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> 'GeneratorConfig':
        """Build a config from ``to_dict``'s output. Absent fields take their defaults.

        Raises:
            ValueError: naming each unknown field, or the field whose value is of the wrong type or out of range.
        """
        return _from_dict(cls, values, prefix='')

    @classmethod
    def from_init_kwargs(cls, init_kwargs: Mapping[str, Any], neural_rendering_resolution: int) -> 'GeneratorConfig':
        """Build a config from a published pickle's constructor arguments; see `eg3d_jax.published`."""
        from eg3d_jax.published import config_from_init_kwargs

        return config_from_init_kwargs(init_kwargs, neural_rendering_resolution)


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The dual discriminator; the defaults are the published FFHQ network's."""

    image_resolution: int = 512  # side of the final image in pixels, a power of two
    c_dim: int = 25  # a camera: 16 numbers of cam2world, 9 of the intrinsics
    channel_base: int = 32768  # a block at resolution r has min(channel_base // r, channel_max) channels
    channel_max: int = 512
    mapping_layers: int = 8  # fully connected layers behind the camera's embedding
    embedding: int | None = None  # channels of the camera's embedding; None: as many as the last block has
    conv_clamp: float | None = 256.0  # activations are clamped to +- this; None: not clamped
    deviation_group: int = 4  # samples that the minibatch deviation compares
    deviation_channels: int = 1  # feature maps that it adds; 0: none

    def __post_init__(self) -> None:
        side = self.image_resolution
        _require(
            side > SMALLEST_RESOLUTION and side & (side - 1) == 0,
            f'DiscriminatorConfig.image_resolution must be a power of two of at least 8, got {side}',
        )
        _require(self.c_dim == 25, f'DiscriminatorConfig.c_dim must be 25, got {self.c_dim}')
        _require_positive(self, 'channel_base', 'channel_max', 'embedding', 'conv_clamp', 'deviation_group')
        _require(
            self.channel_base >= side,
            f'DiscriminatorConfig.channel_base {self.channel_base} leaves no channel at resolution {side}',
        )
        last = self.channels(SMALLEST_RESOLUTION)
        _require(
            self.deviation_channels >= 0 and (self.deviation_channels == 0 or last % self.deviation_channels == 0),
            f'DiscriminatorConfig.deviation_channels {self.deviation_channels} does not divide the {last} channels',
        )

    @property
    def block_resolutions(self) -> tuple[int, ...]:
        """Sides of the residual blocks' inputs: the image's, halved down to 8."""
        return tuple(2**k for k in range(int(math.log2(self.image_resolution)), 2, -1))

    @property
    def embedding_channels(self) -> int:
        """Channels of the camera's embedding."""
        return self.embedding or self.channels(SMALLEST_RESOLUTION)

    def channels(self, resolution: int) -> int:
        """Channels of the block at this resolution."""
        return min(self.channel_base // resolution, self.channel_max)

    def to_dict(self) -> dict[str, Any]:
        """Dictionary of JSON types; ``from_dict`` reads it back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> 'DiscriminatorConfig':
        """Build a config from ``to_dict``'s output, as `GeneratorConfig.from_dict` does."""
        return _from_dict(cls, values, prefix='')

    @classmethod
    def from_init_kwargs(cls, init_kwargs: Mapping[str, Any]) -> 'DiscriminatorConfig':
        """Build a config from a published pickle's constructor arguments; see `eg3d_jax.published`."""
        from eg3d_jax.published import discriminator_config_from_init_kwargs

        return discriminator_config_from_init_kwargs(init_kwargs)


def check_noise_mode(noise_mode: str) -> None:
    """Raise ValueError unless this is one of NOISE_MODES."""
    _require(noise_mode in NOISE_MODES, f'noise_mode must be one of {NOISE_MODES}, got {noise_mode!r}')


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _require_positive(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        _require(value is None or value > 0, f'{type(config).__name__}.{name} must be positive, got {value}')


def _from_dict(cls: type, values: Any, prefix: str) -> Any:
    if not isinstance(values, Mapping):
        raise ValueError(f'config field {prefix.rstrip(".") or "(root)"} must be a dictionary, got {values!r}')
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    _require(not unknown, f'unknown config fields: {", ".join(prefix + name for name in unknown)}')
    return cls(**{name: _parse(hints[name], value, prefix + name) for name, value in values.items()})


def _parse(hint: Any, value: Any, name: str) -> Any:
    """`value` as the annotated type: dictionaries become configs, lists tuples, whole numbers floats where asked."""
    if dataclasses.is_dataclass(hint):
        return _from_dict(typing.cast(type, hint), value, prefix=name + '.')
    if typing.get_origin(hint) is types.UnionType:  # float | None
        return None if value is None else _parse(typing.get_args(hint)[0], value, name)
    if typing.get_origin(hint) is tuple:
        parts = typing.get_args(hint)
        if not isinstance(value, list | tuple) or len(value) != len(parts):
            raise ValueError(f'config field {name} must be a list of {len(parts)} values, got {value!r}')
        return tuple(_parse(part, item, name) for part, item in zip(parts, value, strict=True))
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ValueError(f'config field {name} must be of type {hint.__name__}, got {value!r}')
    return value
