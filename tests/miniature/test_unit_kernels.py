"""G2's kernels at another scale: the same pictures, and steps that mean more."""

from dataclasses import replace

import jax
import numpy as np
from flax import nnx

from eg3d_jax import PRESETS, TriPlaneGenerator, cameras, load_generator, save_generator
from eg3d_jax.config import BackboneConfig
from miniature import unit_kernels as command
from miniature import weights_directory
from miniature.training import read_recipe, write_recipe
from miniature.unit_kernels import unit_kernels


def kernels(generator: TriPlaneGenerator) -> list[np.ndarray]:
    blocks = (generator.superresolution.block0, generator.superresolution.block1)
    return [np.asarray(layer.weight[...]) for block in blocks for layer in (block.conv0, block.conv1)]


def grown(random_network) -> TriPlaneGenerator:
    small = BackboneConfig(resolution=8, plane_channels=4, channel_base=64, channel_max=8)
    config = replace(PRESETS['miniature'], w_dim=8, backbone=small)
    generator = random_network(lambda: TriPlaneGenerator(config, rngs=nnx.Rngs(0)))
    for kernel in (generator.superresolution.block0.conv1.weight, generator.superresolution.block1.conv0.weight):
        kernel[...] = 5.0 * kernel[...]
    return generator


def test_pictures_stay(random_network):
    generator = grown(random_network)
    config = generator.config
    z = jax.random.normal(jax.random.key(2), (1, config.z_dim))
    camera = cameras.sample_poses(jax.random.key(3), 1, config.camera)
    draw = jax.jit(lambda one: one(z, camera).image)
    before, torgb = np.asarray(draw(generator)), np.asarray(generator.superresolution.block1.torgb.weight[...])
    unit_kernels(generator.superresolution)
    np.testing.assert_allclose(draw(generator), before, atol=1e-4 * np.abs(before).max())
    for kernel in kernels(generator):
        np.testing.assert_allclose(np.sqrt(np.mean(kernel**2)), 1, rtol=1e-5)
    np.testing.assert_array_equal(generator.superresolution.block1.torgb.weight[...], torgb)  # it does not demodulate


def test_the_command_scales_and_keeps_the_recipe(tmp_path, monkeypatch, random_network):
    save_generator(grown(random_network), tmp_path / 'grown')
    write_recipe(tmp_path / 'grown', command='grow', seconds=60.0, settings={}, quality={'psnr': 1.0})
    monkeypatch.setattr(command, 'measure', lambda directory: {'psnr': 2.0})
    assert command.main([f'--initial={tmp_path / "grown"}', f'--output={tmp_path / "unit"}']) == 0
    for kernel in kernels(load_generator(tmp_path / 'unit')):
        np.testing.assert_allclose(np.sqrt(np.mean(kernel**2)), 1, rtol=1e-3)  # float16
    recipe = read_recipe(tmp_path / 'unit')
    assert recipe['quality'] == {'psnr': 2.0}
    assert recipe['initial'] == read_recipe(tmp_path / 'grown')
    assert f'--output={tmp_path / "unit"}' in recipe['command']


def test_the_shipped_generators_are_of_this_scale():
    for kernel in kernels(load_generator(weights_directory('generator'))):
        np.testing.assert_allclose(np.sqrt(np.mean(kernel**2)), 1, rtol=1e-3)
