"""The port against the reference's golden outputs at full size, stage by stage and end to end.

Where the golden arrays hold every n-th value only, a stage's input is the output of our stages before it.
"""

import jax
import numpy as np
import pytest

from eg3d_jax import RenderOutput, sample_planes
from eg3d_jax.rays import rays

pytestmark = pytest.mark.usefixtures('optimised')

# Rounding of float32 through some thirty layers: an independent port agrees to 1.4e-5 as well.
TOLERANCE = 2e-5
CUTOFF = 14

Array = np.ndarray | jax.Array


# One compilation of each stage serves the stage's own test and the end-to-end test.
run_planes = jax.jit(lambda generator, ws: generator.planes(ws))
run_render = jax.jit(lambda generator, planes, camera: generator.render(planes, camera))
run_superresolve = jax.jit(lambda generator, feature_image, ws: generator.superresolve(feature_image, ws))


@pytest.fixture(scope='module')
def planes(reference) -> jax.Array:
    return run_planes(reference.generator, reference.arrays['ws'])


@pytest.fixture(scope='module')
def rendered(reference, planes) -> RenderOutput:
    return run_render(reference.generator, planes, reference.arrays['c'])


def assert_close(actual: Array, expected: Array, tolerance: float = TOLERANCE) -> None:
    """Bounds the RMS of the difference over the RMS deviation of the reference."""
    assert actual.shape == expected.shape
    error = np.sqrt(np.mean(np.square(np.asarray(actual) - np.asarray(expected)))) / np.std(np.asarray(expected))
    assert error <= tolerance, f'relative error {error:.2e}'


def nchw(x: jax.Array) -> np.ndarray:
    return np.asarray(x).transpose(0, 3, 1, 2)


def strided(x: np.ndarray, expected: jax.Array) -> np.ndarray:
    """Every n-th pixel of x, as the golden array has it."""
    step = x.shape[-1] // expected.shape[-1]
    return x[:, :, ::step, ::step]


def assert_image_close(image: jax.Array, arrays: dict[str, jax.Array]) -> None:
    actual = nchw(image)
    assert_close(strided(actual, arrays['image_strided']), arrays['image_strided'])
    actual = actual.astype(np.float64)  # sums of many thousand pixels
    assert_close(actual.mean((2, 3)), arrays['image_mean'])
    assert_close(actual.std((2, 3), ddof=1), arrays['image_std'])


def test_mapping(reference):
    arrays = reference.arrays
    ws = reference.generator.mapping(arrays['z'], arrays['c_cond'], reference.truncation_psi, CUTOFF)
    assert_close(ws, arrays['ws'], 1e-6)


def test_planes(reference, planes):
    n, _, height, width, _ = planes.shape
    actual = np.asarray(planes).transpose(0, 1, 4, 2, 3).reshape(n, -1, height, width)  # N (3 C) H W
    assert_close(strided(actual, reference.arrays['planes_strided']), reference.arrays['planes_strided'])
    actual = actual.astype(np.float64)  # sums of many thousand texels
    assert_close(actual.mean((2, 3)), reference.arrays['planes_mean'])
    assert_close(actual.std((2, 3), ddof=1), reference.arrays['planes_std'])


def test_rays(reference):
    origins, directions = rays(reference.arrays['c'], reference.generator.config.rendering.neural_resolution)
    np.testing.assert_allclose(origins[:, ::64], reference.arrays['ray_origins'], atol=1e-6)
    np.testing.assert_allclose(directions[:, ::64], reference.arrays['ray_directions'], atol=1e-6)


def test_render(reference, rendered):
    arrays = reference.arrays
    feature_image = nchw(rendered.feature_image)
    assert_close(strided(feature_image, arrays['feature_image']), arrays['feature_image'])
    assert_close(feature_image[:, :3], arrays['image_raw'])
    assert_close(nchw(rendered.depth), arrays['depth'])
    assert_close(nchw(rendered.weights_sum), arrays['weights_sum'])


def test_points(reference, planes):
    arrays = reference.arrays
    features = sample_planes(planes, arrays['points'], reference.generator.config.rendering.box_warp)
    colours, density = reference.generator.decoder(features)
    assert_close(colours, arrays['point_rgb'])
    assert_close(density[..., None], arrays['point_sigma'])


def test_superresolve(reference, rendered):
    image = run_superresolve(reference.generator, rendered.feature_image, reference.arrays['ws'])
    assert_image_close(image, reference.arrays)


def test_end_to_end(reference):
    generator, arrays = reference.generator, reference.arrays
    ws = generator.mapping(arrays['z'], arrays['c_cond'], reference.truncation_psi, CUTOFF)
    rendered = run_render(generator, run_planes(generator, ws), arrays['c'])
    assert_close(nchw(rendered.feature_image)[:, :3], arrays['image_raw'])
    assert_close(nchw(rendered.depth), arrays['depth'])
    assert_close(nchw(rendered.weights_sum), arrays['weights_sum'])
    assert_image_close(run_superresolve(generator, rendered.feature_image, ws), arrays)
