"""The generator as a whole: its stages are what a call runs, batches are their samples, wrong use is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from eg3d_jax import PRESETS, GeneratorOutput, TriPlaneGenerator, sample_planes, weight_names


@jax.jit
def run(generator, *inputs):
    return generator(*inputs)


@pytest.fixture(scope='module')
def output(tiny_generator, tiny_z, tiny_cameras) -> GeneratorOutput:
    return run(tiny_generator, tiny_z, tiny_cameras)


def test_a_call_is_the_chain_of_its_stages(tiny_generator, tiny_ws, tiny_planes, tiny_cameras, output):
    rendered = jax.jit(TriPlaneGenerator.render)(tiny_generator, tiny_planes, tiny_cameras)
    image = jax.jit(TriPlaneGenerator.superresolve)(tiny_generator, rendered.feature_image, tiny_ws)
    np.testing.assert_allclose(output.image, image, atol=1e-4)
    np.testing.assert_allclose(output.feature_image, rendered.feature_image, atol=1e-4)
    np.testing.assert_array_equal(output.image_raw, output.feature_image[..., :3])
    assert output.image.shape == (3, 32, 32, 3)
    assert output.depth.shape == output.weights_sum.shape == (3, 8, 8, 1)


def test_a_batch_is_its_samples(tiny_generator, tiny_z, tiny_cameras, output):
    for index in range(3):
        alone = run(tiny_generator, tiny_z[index : index + 1], tiny_cameras[index : index + 1])
        for actual, expected in zip(output, alone, strict=True):
            np.testing.assert_allclose(actual[index], expected[0], atol=1e-4)


def test_conditioning_camera(tiny_generator, tiny_z, tiny_cameras, output):
    other = jnp.roll(tiny_cameras, 1, axis=0)
    same = run(tiny_generator, tiny_z, tiny_cameras, tiny_cameras)
    np.testing.assert_allclose(same.image, output.image, atol=1e-5)
    assert not np.allclose(run(tiny_generator, tiny_z, tiny_cameras, other).image, output.image, atol=1e-3)


def test_query_decodes_the_planes(tiny_generator, tiny_ws, tiny_planes):
    points = jax.random.uniform(jax.random.key(0), (3, 10, 3), minval=-0.5, maxval=0.5)
    colours, density = jax.jit(TriPlaneGenerator.query)(tiny_generator, points, tiny_ws)
    assert colours.shape == (3, 10, 6) and density.shape == (3, 10)
    expected = tiny_generator.decoder(sample_planes(tiny_planes, points, 1.0))
    np.testing.assert_allclose(colours, expected[0], atol=1e-5)
    np.testing.assert_allclose(density, expected[1], atol=1e-5)


def test_noise_modes_of_the_planes(tiny_generator, tiny_ws, tiny_planes):
    paint = partial(jax.jit(TriPlaneGenerator.planes, static_argnames='noise_mode'), tiny_generator, tiny_ws)
    stored, none = (paint(noise_mode=mode) for mode in ('const', 'none'))
    first, second = (paint(noise_mode='random', key=jax.random.key(seed)) for seed in (0, 1))
    np.testing.assert_array_equal(stored, tiny_planes)  # the same program
    for a, b in ((stored, none), (stored, first), (none, first), (first, second)):
        assert not np.allclose(a, b)


def test_each_w_reaches_the_planes(tiny_generator, tiny_ws):
    reached = jax.jit(jax.grad(lambda ws, generator: jnp.sum(jnp.square(generator.planes(ws)))))
    gradient = reached(tiny_ws, tiny_generator)
    assert jnp.all(jnp.max(jnp.abs(gradient), axis=(0, 2)) > 0)


def test_every_parameter_gets_a_finite_gradient(tiny_generator, tiny_z, tiny_cameras):
    graph, parameters, rest = nnx.split(tiny_generator, nnx.Param, ...)

    @jax.jit
    def gradient(parameters):
        def loss(parameters):
            output = nnx.merge(graph, parameters, rest)(tiny_z, tiny_cameras, noise_mode='const')
            return jnp.mean(jnp.square(output.image)) + jnp.mean(output.depth)

        return jax.grad(loss)(parameters)

    zero = []
    for path, leaf in nnx.to_flat_state(gradient(parameters)):
        assert jnp.all(jnp.isfinite(leaf[...])), path
        if not jnp.any(leaf[...]):
            zero.append('.'.join(map(str, path)))
    # The super-resolution is without noise.
    assert sorted(zero) == sorted(
        f'superresolution.block{block}.conv{layer}.noise_strength' for block in (0, 1) for layer in (0, 1)
    )


@pytest.mark.parametrize('preset', sorted(PRESETS))
def test_presets_are_complete(preset):
    config = PRESETS[preset]
    generator = nnx.eval_shape(lambda: TriPlaneGenerator(config, rngs=nnx.Rngs(0)))
    n, resolution = 1, config.rendering.neural_resolution
    shapes = jax.eval_shape(
        lambda generator, z, camera: generator(z, camera), generator, jnp.zeros((n, config.z_dim)), jnp.zeros((n, 25))
    )
    assert shapes.image.shape == (n, *(config.image_resolution,) * 2, 3)
    assert shapes.feature_image.shape == (n, resolution, resolution, config.decoder.feature_channels)


def test_size_of_the_miniature():
    generator = nnx.eval_shape(lambda: TriPlaneGenerator(PRESETS['miniature'], rngs=nnx.Rngs(0)))
    assert 0.5e6 < sum(value.size for value in weight_names(generator).values()) < 1.5e6


class TestWrongUse:
    def test_shapes(self, unchecked_annotations, tiny_generator, tiny_z, tiny_cameras, tiny_ws, tiny_planes):
        ws, planes = tiny_ws, tiny_planes
        with pytest.raises(ValueError, match=r'z must have shape \(N, 8\), got \(3, 7\)'):
            tiny_generator.mapping(tiny_z[:, :7], tiny_cameras)
        with pytest.raises(ValueError, match=r'ws must have shape \(N, 6, 12\)'):
            tiny_generator.planes(ws[:, :3])
        with pytest.raises(ValueError, match=r'camera must have shape \(3, 25\), got \(1, 25\)'):
            tiny_generator.render(planes, tiny_cameras[:1])
        with pytest.raises(ValueError, match=r'points must have shape \(3, P, 3\), got \(1, 4, 3\)'):
            tiny_generator.query(jnp.zeros((1, 4, 3)), ws)
        with pytest.raises(ValueError, match=r'z must have shape \(N, 8\), got \(\)'):
            tiny_generator.mapping(jnp.zeros(()), tiny_cameras)
        with pytest.raises(ValueError, match=r'ws must have shape \(N, 6, 12\), got \(12,\)'):
            tiny_generator.query(jnp.zeros((3, 4, 3)), ws[0, 0])
        with pytest.raises(ValueError, match=r'planes must have shape \(N, 3, H, W, \d+\), got'):
            tiny_generator.render(planes[..., :-1], tiny_cameras)

    @pytest.mark.parametrize('resolution', [0, -8, 8.0])
    def test_resolution(self, unchecked_annotations, tiny_generator, tiny_planes, tiny_cameras, resolution):
        with pytest.raises(ValueError, match=rf'resolution must be a positive whole number .* got {resolution}'):
            tiny_generator.render(tiny_planes, tiny_cameras, resolution=resolution)

    def test_feature_image(self, unchecked_annotations, tiny_generator):
        ws = jnp.zeros((2, 6, 12))
        with pytest.raises(ValueError, match=r'feature_image must have shape \(N, h, w, 6\), got \(2, 8, 8, 5\)'):
            tiny_generator.superresolve(jnp.zeros((2, 8, 8, 5)), ws)
        with pytest.raises(ValueError, match='feature_image must be square, got 8 x 4'):
            tiny_generator.superresolve(jnp.zeros((2, 8, 4, 6)), ws)

    def test_noise_without_a_key(self, tiny_generator, tiny_z, tiny_cameras):
        with pytest.raises(ValueError, match='needs a key'):
            tiny_generator(tiny_z, tiny_cameras, noise_mode='random')
