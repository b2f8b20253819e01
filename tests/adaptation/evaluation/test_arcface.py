"""The face network against PyTorch's, narrow and shallow; its full size is converted in
`tests/convert/test_measuring.py`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from adaptation.evaluation.arcface import ArcFace, ArcFaceConfig, build_arcface
from convert.arcface import TABLE
from convert.testing.arcface_reference import Face, usual_crop
from convert.testing.network_arrays import randomise
from convert.testing.network_parity import TOLERANCE, ported, random_pictures, relative_error

# Both kinds of shortcut, and each of them where the size is halved and where not.
SMALL = ArcFaceConfig(resolution=16, units=(2, 2, 1), widths=(16, 16, 32), embedding=24)


@pytest.fixture(scope='module')
def reference() -> Face:
    network = Face(SMALL)
    randomise(network, random_pictures(8, 16, 16, seed=1)[1])
    return network


@pytest.fixture(scope='module')
def network(reference) -> ArcFace:
    return ported(reference, TABLE, lambda: build_arcface(SMALL))


@pytest.fixture(scope='module')
def viewer() -> ArcFace:
    """A network that is asked for what it sees alone, at the published size."""
    return build_arcface(ArcFaceConfig(units=(1,), widths=(16,), embedding=2))


def test_every_stage_equals_the_reference(reference, network):
    images, tensor = random_pictures(3, 16, 16)
    with torch.no_grad():
        expected, expected_embedding = reference.stages(tensor), reference(tensor)
    stages, embedding = jax.jit(lambda network, x: (network.stages(x), network(x, crop=None)))(network, images)
    errors = [relative_error(*pair) for pair in zip(stages, expected, strict=True)]
    assert len(errors) == 1 + sum(SMALL.units)
    assert max(errors) <= TOLERANCE, errors
    assert relative_error(embedding, expected_embedding) <= TOLERANCE
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=-1), 1, rtol=1e-5)


@pytest.mark.parametrize(('height', 'width'), [(256, 256), (512, 512), (128, 128), (300, 200)])
def test_it_sees_the_usual_crop(viewer, height, width):
    images, tensor = random_pictures(1, height, width)
    seen = viewer.see(jnp.asarray(images))
    assert seen.shape == (1, 112, 112, 3)
    assert relative_error(seen, usual_crop(tensor)) <= 1e-6


def test_without_a_crop(viewer):
    """A picture of the network's own size is seen as it is, any other is averaged to it."""
    images, _ = random_pictures(1, 112, 112)
    np.testing.assert_allclose(viewer.see(jnp.asarray(images), None), images, atol=1e-6)
    large, tensor = random_pictures(1, 150, 224)
    expected = torch.nn.functional.adaptive_avg_pool2d(tensor, (112, 112))
    assert relative_error(viewer.see(jnp.asarray(large), None), expected) <= 1e-6
    np.testing.assert_allclose(viewer.see(3 * jnp.ones((1, 112, 112, 3)), None), 1, rtol=1e-6)  # clipped


@pytest.mark.parametrize('crop', [(0, 0, 1, 1.1), (0.5, 0, 0.5, 1), (0, -0.1, 1, 1), (0, 0, 0.001, 1)])
def test_impossible_crops(viewer, crop):
    with pytest.raises(ValueError, match='crop'):
        viewer.see(jnp.zeros((1, 8, 8, 3)), tuple(map(float, crop)))


def test_published_sizes():
    shapes = jax.eval_shape(lambda: build_arcface(ArcFaceConfig()))
    weights = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert 43.7e6 < weights < 43.9e6  # of a file of 175 MB
    embedding = jax.eval_shape(lambda network, x: network(x), shapes, jnp.zeros((2, 512, 512, 3)))
    assert embedding.shape == (2, 512)


def test_a_zero_embedding_is_a_number(viewer):
    embedding = jax.jit(lambda network, x: network(x, None))(viewer, jnp.zeros((1, 112, 112, 3)))
    np.testing.assert_array_equal(embedding, np.zeros((1, 2)))


@pytest.mark.parametrize(
    ('sizes', 'expected'),
    [
        ({'units': (3, 4)}, 'units and widths as many'),
        ({'embedding': 0}, 'sizes must be positive'),
        ({'resolution': 100}, 'resolution 100 cannot be halved 4 times'),
        ({'widths': (64, 128, 256, 500)}, 'width 500 is not a multiple of reduction 16'),
    ],
)
def test_impossible_sizes(sizes, expected):
    with pytest.raises(ValueError, match=expected):
        ArcFaceConfig(**sizes)
