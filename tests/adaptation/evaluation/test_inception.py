"""The Fréchet distance's network against PyTorch's, narrow and on small pictures; its full size is converted in
`tests/convert/test_measuring.py`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from adaptation.evaluation.inception import STAGES, InceptionConfig, InceptionV3, build_inception
from adaptation.evaluation.layers import average_pool, max_pool
from convert.inception import TABLE
from convert.testing.inception_reference import Inception
from convert.testing.network_arrays import randomise
from convert.testing.network_parity import TOLERANCE, ported, random_pictures, relative_error

SMALL = InceptionConfig(resolution=139, divisor=16)  # the last block sees 3 x 3


@pytest.fixture(scope='module')
def reference() -> Inception:
    network = Inception(SMALL)
    randomise(network, random_pictures(4, 139, 139, seed=1)[1])
    return network


@pytest.fixture(scope='module')
def network(reference) -> InceptionV3:
    return ported(reference, TABLE, lambda: build_inception(SMALL))


def test_every_stage_equals_the_reference(reference, network):
    """On a picture of which one side is enlarged and the other one reduced."""
    images, tensor = random_pictures(2, 90, 200)
    with torch.no_grad():
        expected, expected_features = reference.stages(tensor), reference(tensor)
    stages, features = jax.jit(lambda network, x: (network.stages(x), network(x)))(network, images)
    assert list(expected) == list(STAGES)
    errors = {name: relative_error(stages[name], expected[name]) for name in STAGES}
    assert max(errors.values()) <= TOLERANCE, errors
    assert features.shape == (2, SMALL.features)
    assert relative_error(features, expected_features) <= TOLERANCE


def test_pictures_are_clipped_as_in_a_file(network):
    images = 3 * jnp.asarray(random_pictures(1, 20, 20)[0])
    assert float(jnp.abs(images).max()) > 1
    seen = network.resize(images)
    assert float(jnp.abs(seen).max()) <= 1
    np.testing.assert_array_equal(seen, network.resize(jnp.clip(images, -1, 1)))


def test_published_sizes():
    shapes = jax.eval_shape(lambda: build_inception(InceptionConfig()))
    counted_by_keras, scales = 21_802_784, 17_216  # its batch normalisation has none
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == counted_by_keras + scales
    features = jax.eval_shape(lambda network, x: network(x), shapes, jnp.zeros((2, 256, 256, 3)))
    assert features.shape == (2, 2048)


def test_mean_does_not_count_padding():
    """Every window of a constant has its mean, those at the border too, where four or six of nine lie inside."""
    for shape in ((1, 4, 5, 2), (1, 1, 2, 1)):
        np.testing.assert_allclose(average_pool(jnp.full(shape, 3.0)), np.full(shape, 3.0), rtol=1e-6)


@pytest.mark.parametrize(('size', 'stride', 'padding'), [(9, 2, 0), (8, 2, 0), (7, 1, 1), (2, 1, 1)])
def test_maximum_equals_the_reference(size, stride, padding):
    """Of negative numbers, so that padding with zeros would show."""
    x = -np.random.default_rng(0).random((2, 3, size, size + 3), np.float32)
    expected = torch.nn.functional.max_pool2d(torch.from_numpy(x), 3, stride, padding).numpy()
    result = max_pool(jnp.asarray(x.transpose(0, 2, 3, 1)), stride, padding)
    np.testing.assert_array_equal(np.asarray(result).transpose(0, 3, 1, 2), expected)


def test_impossible_sizes():
    with pytest.raises(ValueError, match='resolution must be at least 75, got 74'):
        InceptionConfig(resolution=74)
    with pytest.raises(ValueError, match='divisor must be one of 1, 2, 4, 8, 16, got 3'):
        InceptionConfig(divisor=3)
