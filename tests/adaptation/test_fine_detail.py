"""Fine detail against a plain NumPy transcription, and against what it must and must not mind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from adaptation import fine_detail
from adaptation.fine_detail import Slices, at_size_of_images, crispness_loss, draw_slices, fine_detail_loss

RNG = np.random.default_rng(0)
SIDE = 24
SLICES = draw_slices(jax.random.key(3))


def noise(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape).astype(np.float32)


def loss(images: np.ndarray, reference: np.ndarray, slices: Slices = SLICES) -> float:
    return float(fine_detail_loss(jnp.asarray(images), jnp.asarray(reference), slices))


def crispness(images: np.ndarray, reference: np.ndarray) -> float:
    return float(crispness_loss(jnp.asarray(images), jnp.asarray(reference), SLICES))


def blurred(images: np.ndarray, deviation: float) -> np.ndarray:
    return ndimage.gaussian_filter(images, (0, deviation, deviation, 0))


LOSSES = {'fine': loss, 'crisp': crispness}


def numpy_loss(images: np.ndarray, reference: np.ndarray, deviation: float) -> float:
    directions = np.asarray(SLICES.directions)[:, :, 0]
    row, column = (int(at) for at in SLICES.start)

    def values(pictures: np.ndarray) -> np.ndarray:
        lightness = pictures @ np.array([0.299, 0.587, 0.114])
        fine = lightness - ndimage.gaussian_filter(lightness, (0, deviation, deviation), mode='reflect', truncate=4.0)
        last = SIDE - 1 - 7  # of the patches that every start has room for, from its start
        return np.array(
            [
                np.tensordot(fine[n, i : i + 7, j : j + 7], directions, 2)
                for n in range(len(fine))
                for i in range(row, row + last + 1, 2)
                for j in range(column, column + last + 1, 2)
            ]
        )

    wanted = np.repeat(values(reference[None]), len(images), axis=0)
    return float(np.mean(np.abs(np.sort(values(images), axis=0) - np.sort(wanted, axis=0))))


def test_is_the_distance_of_sorted_values():
    images, reference = noise(3, SIDE, SIDE, 3), noise(SIDE, SIDE, 3) / 2
    assert loss(images, reference) == pytest.approx(numpy_loss(images, reference, 2.0), rel=1e-4)
    assert crispness(images, reference) == pytest.approx(numpy_loss(images, reference, 0.7), rel=1e-4)


def test_is_zero_for_the_reference_itself_in_any_number():
    reference = noise(SIDE, SIDE, 3)
    assert loss(np.stack([reference] * 3), reference) == pytest.approx(0, abs=1e-6)


def test_minds_softness_and_harshness_but_neither_places_nor_colours_nor_light():
    reference = blurred(noise(1, 64, 64, 3), 0.5)[0]
    soft, harsh = blurred(reference[None], 1.0), 1.5 * reference[None]
    turned = reference[None, ::-1] - 0.1
    tint = np.array([0.114, 0.0, -0.299], np.float32)  # of no lightness
    coloured = reference[None] + tint * np.linspace(-1, 1, 64)[:, None, None]
    away = {name: loss(each, reference) for name, each in (('soft', soft), ('harsh', harsh), ('turned', turned))}
    assert away['turned'] < 0.15 * min(away['soft'], away['harsh'])
    assert loss(coloured, reference) < 1e-4


def test_crispness_minds_what_is_soft_however_strong_its_lines_are():
    reference = blurred(noise(1, 64, 64, 3), 0.5)[0]
    soft = blurred(reference[None], 0.7)
    strong, weak = (np.std(fine_detail.fine_part(jnp.asarray(each))) for each in (reference[None], soft))
    as_strong = soft * strong / weak
    assert loss(as_strong, reference) < 0.5 * loss(soft, reference)
    ratio = {name: made(as_strong, reference) / made(0 * soft, reference) for name, made in LOSSES.items()}
    assert ratio['crisp'] > 2 * ratio['fine']
    assert crispness(np.stack([reference] * 2), reference) == pytest.approx(0, abs=1e-6)


def test_a_mixed_batch_is_compared_as_a_whole():
    """One image may have less of the reference's detail where another has more."""
    reference = noise(SIDE, SIDE, 3)
    half = reference.copy()
    half[:, SIDE // 2 :] = 0.0
    other = reference.copy()
    other[:, : SIDE // 2] = 0.0
    alone = (loss(half[None], reference) + loss(other[None], reference)) / 2
    whole = np.concatenate([half[None], reference[None]])
    assert loss(whole, reference) < alone


def test_its_gradient_sharpens_what_is_soft():
    reference = blurred(noise(1, 64, 64, 3), 0.7)[0]
    image = blurred(reference[None], 1.0)
    gradient = np.asarray(jax.grad(fine_detail_loss)(jnp.asarray(image), jnp.asarray(reference), SLICES))
    assert np.isfinite(gradient).all()
    sharper = image - 300 * gradient
    assert loss(sharper, reference) < 0.9 * loss(image, reference)
    assert np.sum((sharper - image) * (image - blurred(image, 1.0))) > 0


@pytest.mark.parametrize('flat', [-1.0, 0.0, 1.0])
def test_gradients_are_finite_where_there_is_no_detail(flat: float):
    image, reference = jnp.full((2, SIDE, SIDE, 3), flat), jnp.asarray(noise(SIDE, SIDE, 3))
    for at in (image, jnp.asarray(noise(2, SIDE, SIDE, 3))):
        for target in (reference, image[0]):
            value, gradient = jax.value_and_grad(fine_detail_loss)(at, target, SLICES)
            assert jnp.isfinite(value)
            assert jnp.isfinite(gradient).all()


def test_slices_are_drawn_anew_with_length_one_and_mean_zero():
    directions = np.asarray(SLICES.directions)[:, :, 0]
    assert directions.shape == (7, 7, fine_detail.DIRECTIONS + 1)
    np.testing.assert_allclose(np.sum(directions**2, (0, 1)), 1, rtol=1e-5)
    np.testing.assert_allclose(directions[..., :-1].mean((0, 1)), 0, atol=1e-6)
    assert directions[3, 3, -1] == 1
    assert not np.allclose(directions, np.asarray(draw_slices(jax.random.key(4)).directions)[:, :, 0])
    starts = {tuple(np.asarray(draw_slices(jax.random.key(seed)).start)) for seed in range(40)}
    assert starts == {(0, 0), (0, 1), (1, 0), (1, 1)}


class TestSizes:
    def test_large_references_are_made_as_large_as_images(self):
        pictures = at_size_of_images([jnp.asarray(noise(50, 50, 3)), jnp.asarray(noise(90, 90, 3))], 32)
        assert pictures.shape == (2, 32, 32, 3)
        assert float(jnp.abs(pictures).max()) <= 1

    def test_a_small_one_is_not_enlarged(self):
        reference = noise(20, 20, 3)
        (picture,) = at_size_of_images([jnp.asarray(reference)], 32)
        np.testing.assert_array_equal(picture, reference)
        both = at_size_of_images([jnp.asarray(reference), jnp.asarray(noise(64, 64, 3))], 32)
        assert both.shape == (2, 20, 20, 3)

    def test_larger_images_are_compared_at_the_references_size(self):
        reference = noise(20, 20, 3)
        enlarged = reference.repeat(2, axis=0).repeat(2, axis=1)[None]
        assert loss(enlarged, reference) < 0.3 * loss(blurred(enlarged, 2.0), reference)
