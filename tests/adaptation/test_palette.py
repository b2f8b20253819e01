"""The palette against a plain NumPy transcription, and against what it must and must not mind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptation.palette import LARGEST, palette_loss

RNG = np.random.default_rng(0)
SIDE = 24
BLUER = np.array([-0.1, 0.0, 0.1], np.float32)


def noise(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape).astype(np.float32)


def loss(images: np.ndarray, reference: np.ndarray) -> float:
    return float(palette_loss(jnp.asarray(images), jnp.asarray(reference)))


def test_is_the_distance_of_sorted_chroma():
    images, reference = noise(3, SIDE, SIDE, 3), noise(SIDE, SIDE, 3) / 2

    def values(picture: np.ndarray, angle: float) -> np.ndarray:
        red, green, blue = picture.reshape(-1, 3).T
        cb = -0.168736 * red - 0.331264 * green + 0.5 * blue  # JPEG's (ITU-T T.871)
        cr = 0.5 * red - 0.418688 * green - 0.081312 * blue
        return np.sort(np.cos(angle) * cb + np.sin(angle) * cr)

    differences = [
        np.abs(values(image, angle) - values(reference, angle))
        for image in images
        for angle in np.radians([0, 22.5, 45, 67.5, 90, 112.5, 135, 157.5])
    ]
    expected = np.mean(differences) + 10 * np.mean(np.square(differences))
    assert loss(images, reference) == pytest.approx(expected, rel=1e-4)


def test_knows_neither_places_nor_light_and_dark():
    reference = noise(SIDE, SIDE, 3) / 2
    moved = RNG.permutation(reference.reshape(-1, 3)).reshape(reference.shape)
    lighter = reference + noise(SIDE, SIDE, 1) / 2
    assert loss(np.stack([reference, moved, lighter]), reference) == pytest.approx(0, abs=1e-6)


def test_minds_a_tint_and_each_image_by_itself():
    reference = np.broadcast_to(np.array([0.9, 0.85, 0.7], np.float32), (SIDE, SIDE, 3))  # paper
    blue, yellow = reference + BLUER, reference - BLUER
    assert loss(blue[None], reference) > 0.02
    both = loss(np.stack([blue, yellow]), reference)  # though their mean is the paper's
    assert both == pytest.approx((loss(blue[None], reference) + loss(yellow[None], reference)) / 2, rel=1e-4)


def test_minds_few_pixels_with_a_strong_tint_more_than_many_with_a_faint_one():
    reference = np.zeros((SIDE, SIDE, 3), np.float32)
    faint, strong = reference.copy(), reference.copy()
    faint[:] += BLUER
    strong[: SIDE // 4] += 4 * BLUER  # the same on average
    assert loss(strong[None], reference) > 1.5 * loss(faint[None], reference)


def test_its_gradient_takes_a_tint_away_and_leaves_light_and_dark():
    reference = 0.8 + 0.2 * np.broadcast_to(noise(SIDE, SIDE, 1), (SIDE, SIDE, 3))  # greys
    image = (reference + BLUER)[None]
    gradient = np.asarray(jax.grad(palette_loss)(jnp.asarray(image), jnp.asarray(reference)))
    cleaner = image - 100 * gradient
    assert loss(cleaner, reference) < 0.8 * loss(image, reference)
    np.testing.assert_allclose(gradient.sum(-1), 0, atol=1e-7)  # along greys


@pytest.mark.parametrize('flat', [-1.0, 0.0, 1.0])
def test_gradients_are_finite_where_there_is_one_colour(flat: float):
    image, reference = jnp.full((2, SIDE, SIDE, 3), flat), jnp.asarray(noise(SIDE, SIDE, 3))
    for target in (reference, image[0]):
        value, gradient = jax.value_and_grad(palette_loss)(image, target)
        assert jnp.isfinite(value)
        assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize(('images', 'reference'), [(96, 48), (48, 96), (160, 96), (LARGEST, 2 * LARGEST)])
def test_sizes_may_differ(images: int, reference: int):
    def picture(side: int) -> np.ndarray:
        colours = np.array([[0.9, 0.8, 0.6], [0.2, 0.1, 0.3]], np.float32)  # the left half's and the right one's
        return np.broadcast_to(np.repeat(colours, side // 2, axis=0), (side, side, 3))

    away = loss(picture(images)[None] + BLUER, picture(reference))
    assert loss(picture(images)[None], picture(reference)) < 0.1 * away
