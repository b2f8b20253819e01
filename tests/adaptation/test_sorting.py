"""The fast sort against XLA's: values, and gradients where a value has one place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptation.sorting import _sort, sort_rows

SHAPE = (5, 257)
VALUES = jax.random.normal(jax.random.key(0), SHAPE)
WEIGHTS = jax.random.normal(jax.random.key(1), SHAPE)


@pytest.mark.parametrize(
    'values',
    [
        VALUES,
        VALUES * 10.0 ** jax.random.randint(jax.random.key(2), SHAPE, -30, 30),
        jnp.round(VALUES),  # with many that are equal
        jnp.asarray([[0.0, -0.0, jnp.inf, -jnp.inf, 1e-38, -1e-38, jnp.finfo(jnp.float32).max]]),
    ],
    ids=['normal', 'of all sizes', 'ties', 'special'],
)
def test_sorts_as_numpy_does(values: jax.Array):
    np.testing.assert_array_equal(jax.jit(sort_rows)(values), np.sort(np.asarray(values), axis=1))


def test_its_gradient_is_that_of_xlas_sort():
    values = jax.random.permutation(jax.random.key(3), jnp.arange(257.0) - 100.5).reshape(1, -1) / 7
    values = jnp.concatenate([values, -values[:, ::-1]])
    weights = WEIGHTS[:2]

    def gradient(sort):
        return jax.jit(jax.grad(lambda values: jnp.sum(weights * jnp.sin(sort(values)))))(values)

    np.testing.assert_allclose(gradient(sort_rows), gradient(_sort), rtol=1e-6)
    assert jnp.std(gradient(sort_rows)) > 0.1


def test_equal_values_have_equal_gradients():
    gradient = jax.grad(lambda values: jnp.sum(WEIGHTS * sort_rows(values)))(jnp.zeros(SHAPE))
    np.testing.assert_array_equal(gradient, np.broadcast_to(np.asarray(WEIGHTS[:, :1]), SHAPE))


def test_is_xlas_own_elsewhere():
    """What a GPU or TPU is given is one plain sort."""
    exported = jax.export.export(jax.jit(sort_rows), platforms=['tpu'])(jax.ShapeDtypeStruct(SHAPE, jnp.float32))
    assert 'bitcast' not in exported.mlir_module()
    assert 'stablehlo.sort' in exported.mlir_module()
