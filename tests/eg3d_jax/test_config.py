"""Configs survive JSON, refuse what makes no sense, and are read from published constructor arguments."""

import copy
import dataclasses
import json
from pathlib import Path

import pytest

from eg3d_jax import (
    PRESETS,
    BackboneConfig,
    CameraConfig,
    DecoderConfig,
    GeneratorConfig,
    RenderingConfig,
    SuperresolutionConfig,
    preset,
)

FIXTURES = Path(__file__).parents[1] / 'fixtures'


@pytest.fixture
def published() -> dict:
    return json.loads((FIXTURES / 'eg3d_ffhq512-128.json').read_text())['init_kwargs']


@pytest.mark.parametrize('name', sorted(PRESETS))
def test_json_round_trip(name):
    config = preset(name)
    assert GeneratorConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_preset():
    with pytest.raises(ValueError, match="unknown generator preset 'ffhq'; the presets are ffhq512_128"):
        preset('ffhq')


def test_absent_fields_take_their_defaults():
    assert GeneratorConfig.from_dict({'rendering': {'box_warp': 2}}).rendering == RenderingConfig(box_warp=2.0)


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'z_dims': 3, 'a': 1}, 'unknown config fields: a, z_dims'),
        ({'rendering': {'warp': 3}}, 'unknown config fields: rendering.warp'),
        ({'z_dim': 'many'}, "config field z_dim must be of type int, got 'many'"),
        ({'z_dim': True}, 'config field z_dim must be of type int, got True'),
        ({'rendering': 3}, 'config field rendering must be a dictionary, got 3'),
        ({'superresolution': {'channels': [1, 2, 3]}}, 'superresolution.channels must be a list of 2 values'),
        ({'superresolution': {'conv_clamp': 'no'}}, "superresolution.conv_clamp must be of type float, got 'no'"),
        ({'backbone': {'resolution': 100}}, 'BackboneConfig.resolution must be a power of two'),
        ([], r'config field \(root\) must be a dictionary'),
    ],
)
def test_wrong_dictionaries_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        GeneratorConfig.from_dict(values)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: RenderingConfig(ray_start=3.0, ray_end=2.0), 'must lie behind ray_start'),
        (lambda: RenderingConfig(depth_resolution=3), 'depth_resolution must be at least 4'),
        (lambda: RenderingConfig(importance_resolution=-1), 'importance_resolution must not be negative'),
        (lambda: RenderingConfig(box_warp=0.0), 'box_warp must be positive'),
        (lambda: DecoderConfig(feature_channels=2), 'feature_channels must be at least 3'),
        (lambda: BackboneConfig(channel_base=128), 'leaves no channel'),
        (lambda: SuperresolutionConfig(noise_mode='loud'), 'noise_mode must be one of'),
        (lambda: SuperresolutionConfig(channels=(0, 3)), 'channels must be two positive numbers'),
        (lambda: CameraConfig(fov_degrees=180.0), 'fov_degrees must lie in'),
        (lambda: CameraConfig(distribution='normal'), 'distribution must be one of'),
        (lambda: GeneratorConfig(c_dim=16), 'c_dim must be 25'),
    ],
)
def test_impossible_values_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class TestPublished:
    @pytest.mark.parametrize(
        ('file', 'name'), [('eg3d_ffhq512-128', 'ffhq512_128'), ('eg3d_shapenetcars128-64', 'shapenetcars128_64')]
    )
    def test_presets_are_the_published_networks(self, file, name):
        description = json.loads((FIXTURES / f'{file}.json').read_text())
        config = GeneratorConfig.from_init_kwargs(
            description['init_kwargs'], description['neural_rendering_resolution']
        )
        assert config == preset(name)

    def test_cameras_of_an_unknown_place_are_ffhqs_with_a_warning(self, published):
        published['rendering_kwargs']['avg_camera_radius'] = 3.5
        with pytest.warns(UserWarning, match=r'do not say the field of view .* a radius of 3\.5 that look at'):
            config = GeneratorConfig.from_init_kwargs(published, 128)
        camera = dataclasses.replace(preset('ffhq512_128').camera, radius=3.5)
        assert config == dataclasses.replace(preset('ffhq512_128'), camera=camera)

    def test_the_256_network(self, published):
        published['img_resolution'] = 256
        published['rendering_kwargs']['superresolution_module'] = 'training.superresolution.SuperresolutionHybrid4X'
        config = GeneratorConfig.from_init_kwargs(published, 64)
        assert config.image_resolution == 256
        assert config.superresolution.channels == (128, 64)
        assert not config.superresolution.resize_larger

    def test_absent_camera_scale_means_zero(self, published):
        del published['rendering_kwargs']['c_scale']
        assert GeneratorConfig.from_init_kwargs(published, 128).mapping.camera_scale == 0.0

    def test_without_half_precision_nothing_is_clamped(self, published):
        published['sr_num_fp16_res'] = 0
        assert GeneratorConfig.from_init_kwargs(published, 128).superresolution.conv_clamp is None

    @pytest.mark.parametrize(
        ('name', 'value', 'message'),
        [
            ('superresolution_module', 'a.Other', "unknown superresolution_module 'a.Other'; known are"),
            ('clamp_mode', 'relu', "clamp_mode is 'relu'"),
            ('disparity_space_sampling', True, 'disparity_space_sampling is True'),
            ('ray_start', 'auto', "ray_start is 'auto'"),
            ('superresolution_noise_mode', 'loud', 'noise_mode must be one of'),
        ],
    )
    def test_values_it_does_not_implement(self, published, name, value, message):
        published['rendering_kwargs'][name] = value
        with pytest.raises(ValueError, match=message):
            GeneratorConfig.from_init_kwargs(published, 128)

    def test_missing_arguments(self, published):
        without_rendering = copy.deepcopy(published)
        del without_rendering['rendering_kwargs']
        with pytest.raises(ValueError, match="lack 'rendering_kwargs'"):
            GeneratorConfig.from_init_kwargs(without_rendering, 128)
        del published['rendering_kwargs']['box_warp']
        with pytest.raises(ValueError, match="lack 'box_warp'"):
            GeneratorConfig.from_init_kwargs(published, 128)

    def test_a_missing_image_size(self, published):
        del published['img_resolution']
        with pytest.raises(ValueError, match="lack 'img_resolution'"):
            GeneratorConfig.from_init_kwargs(published, 128)

    def test_mapping_arguments_of_none_are_the_defaults(self, published):
        del published['mapping_kwargs']
        without = GeneratorConfig.from_init_kwargs(published, 128)
        assert GeneratorConfig.from_init_kwargs({**published, 'mapping_kwargs': None}, 128) == without
        assert without.mapping.num_layers == 8

    def test_images_of_another_size(self, published):
        published['img_resolution'] = 1024
        with pytest.raises(ValueError, match=r'img_resolution is 1024, but .*8XDC makes images of 512'):
            GeneratorConfig.from_init_kwargs(published, 128)

    def test_unknown_arguments_are_named(self, published):
        published['rendering_kwargs']['fog'] = 1
        with pytest.warns(UserWarning, match=r'not used: rendering_kwargs\.fog'):
            GeneratorConfig.from_init_kwargs(published, 128)
