"""Each loss against a plain NumPy transcription of its equation, and against what it must do whatever its inputs."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptation import losses

RNG = np.random.default_rng(0)
N, T, C, D = 3, 5, 7, 6


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def call(function: Callable[..., jax.Array], *arrays: np.ndarray) -> np.ndarray:
    return np.asarray(function(*map(jnp.asarray, arrays)))


def orthogonal(size: int) -> np.ndarray:
    return np.linalg.qr(normal(size, size))[0].astype(np.float32)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def numpy_self_distances(tokens: np.ndarray) -> np.ndarray:
    count = len(tokens)
    distances = np.array([[1 - cosine(tokens[i], tokens[j]) for j in range(count)] for i in range(count)])
    return distances / distances.sum(axis=0)


def numpy_structure(adapted: np.ndarray, source: np.ndarray) -> float:
    per_image = [
        np.mean(np.abs(numpy_self_distances(a) - numpy_self_distances(s))) * len(a)
        for a, s in zip(adapted, source, strict=True)
    ]
    return float(np.mean(per_image))


class TestDirection:
    def test_is_its_equation(self):
        adapted, source, domain = normal(N, D), normal(N, D), normal(D)
        expected = np.mean([1 - cosine(a - s, domain) for a, s in zip(adapted, source, strict=True)])
        assert call(losses.direction_loss, adapted, source, domain) == pytest.approx(expected, rel=1e-6)

    def test_is_zero_along_the_direction_and_two_against_it(self):
        source, domain = normal(N, D), normal(D)
        steps = np.array([[0.5], [1.0], [3.0]], np.float32)
        assert call(losses.direction_loss, source + steps * domain, source, domain) == pytest.approx(0, abs=1e-6)
        assert call(losses.direction_loss, source - steps * domain, source, domain) == pytest.approx(2, abs=1e-6)

    def test_ignores_how_far_the_domains_are_apart(self):
        adapted, source, domain = normal(N, D), normal(N, D), normal(D)
        near, far = (call(losses.direction_loss, adapted, source, scale * domain) for scale in (0.1, 10))
        assert near == pytest.approx(far, rel=1e-6)

    def test_starts_at_one_with_a_bounded_gradient_towards_the_domain(self):
        source, domain = normal(N, D), normal(D)
        value, gradient = jax.value_and_grad(losses.direction_loss)(*map(jnp.asarray, (source, source, domain)))
        assert value == 1
        expected = -domain / np.linalg.norm(domain) / losses.SHORTEST_MOVE / N
        np.testing.assert_allclose(gradient, np.tile(expected, (N, 1)), rtol=1e-5)


class TestDistribution:
    def test_is_its_equation(self):
        tokens, reference = normal(N, T, C), normal(T + 2, C)
        values = []
        for image in tokens:
            cost = np.array([[1 - cosine(a, b) for b in reference] for a in image])
            values.append(max(cost.min(axis=1).mean(), cost.min(axis=0).mean()))
        assert call(losses.distribution_loss, tokens, reference) == pytest.approx(np.mean(values), rel=1e-5)

    def test_is_zero_for_the_same_tokens_in_any_order_and_length(self):
        reference = normal(T, C)
        tokens = RNG.permutation(reference)[None] * RNG.uniform(0.5, 2, (N, T, 1)).astype(np.float32)
        assert call(losses.distribution_loss, tokens, reference) == pytest.approx(0, abs=1e-6)

    def test_is_symmetric(self):
        a, b = normal(T, C), normal(T + 3, C)
        there, back = call(losses.distribution_loss, a[None], b), call(losses.distribution_loss, b[None], a)
        assert there == pytest.approx(back, rel=1e-6)

    def test_asks_for_all_of_the_reference_and_nothing_else(self):
        reference = normal(T, C)
        repeated = np.tile(reference[:1], (1, T, 1))  # each token is in the reference, most of the reference is missing
        superset = np.concatenate([reference, normal(T, C)])[None]  # the other way round
        assert call(losses.distribution_loss, repeated, reference) > 0.1
        assert call(losses.distribution_loss, superset, reference) > 0.1


class TestSelfDistances:
    def test_are_their_equation(self):
        tokens = normal(N, T, C)
        expected = [numpy_self_distances(image) for image in tokens]
        np.testing.assert_allclose(call(losses.self_distances, tokens), expected, rtol=1e-4, atol=1e-6)

    def test_columns_sum_to_one(self):
        np.testing.assert_allclose(call(losses.self_distances, normal(N, T, C)).sum(axis=1), 1, rtol=1e-6)

    def test_of_equal_tokens_are_zero(self):
        np.testing.assert_array_less(call(losses.self_distances, np.tile(normal(N, 1, C), (1, T, 1))), 1e-2)


class TestImageStructure:
    def test_is_its_equation(self):
        adapted, source = normal(N, T, C), normal(N, T, C)
        expected = numpy_structure(adapted, source)
        assert call(losses.image_structure_loss, adapted, source) == pytest.approx(expected, rel=1e-4)

    def test_is_zero_where_only_the_style_changes(self):
        source = normal(N, T, C)
        rotated = source @ orthogonal(C) * RNG.uniform(0.5, 2, (N, T, 1)).astype(np.float32)
        assert call(losses.image_structure_loss, source, source) == 0
        assert call(losses.image_structure_loss, rotated, source) == pytest.approx(0, abs=1e-5)

    def test_sees_tokens_that_changed_places(self):
        source = normal(N, T, C)
        assert call(losses.image_structure_loss, source[:, ::-1], source) > 0.1

    def test_is_symmetric(self):
        a, b = normal(N, T, C), normal(N, T, C)
        assert call(losses.image_structure_loss, a, b) == pytest.approx(
            call(losses.image_structure_loss, b, a), rel=1e-6
        )


class TestFeatureStructure:
    def test_is_the_image_loss_on_pooled_positions(self):
        adapted, source = normal(2, 64, 64, 4), normal(2, 64, 64, 4)
        pooled = [
            np.array(
                [[image[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean(axis=(0, 1)) for j in range(32)] for i in range(32)]
            )
            for image in (*adapted, *source)
        ]
        tokens = np.array(pooled).reshape(4, 1024, 4)
        expected = call(losses.image_structure_loss, tokens[:2], tokens[2:])
        assert call(losses.feature_structure_loss, adapted, source) == pytest.approx(float(expected), rel=1e-5)

    def test_is_its_equation_where_nothing_is_pooled(self):
        adapted, source = normal(N, 3, 4, C), normal(N, 3, 4, C)
        expected = numpy_structure(adapted.reshape(N, 12, C), source.reshape(N, 12, C))
        assert call(losses.feature_structure_loss, adapted, source) == pytest.approx(expected, rel=1e-4)

    def test_refuses_a_size_that_does_not_pool_evenly(self):
        with pytest.raises(ValueError, match='33 x 64'):
            call(losses.feature_structure_loss, normal(1, 33, 64, 2), normal(1, 33, 64, 2))


ZERO = jnp.zeros((N, T, C))
ALIKE = jnp.ones((N, T, C))


@pytest.mark.parametrize('tokens', [ZERO, ALIKE], ids=['zero', 'alike'])
@pytest.mark.parametrize('other', [ZERO, ALIKE, jnp.asarray(normal(N, T, C))], ids=['zero', 'alike', 'random'])
def test_gradients_are_finite_everywhere(tokens: jax.Array, other: jax.Array):
    functions = {
        'dir': lambda x: losses.direction_loss(x[:, 0], other[:, 0], other[0, 1]),
        'dis': lambda x: losses.distribution_loss(x, other[0]),
        'istr': lambda x: losses.image_structure_loss(x, other),
        'fstr': lambda x: losses.feature_structure_loss(x[:, :, None], other[:, :, None]),
    }
    for name, function in functions.items():
        value, gradient = jax.value_and_grad(function)(tokens)
        assert jnp.isfinite(value), name
        assert jnp.isfinite(gradient).all(), name
