"""New edges against a plain NumPy transcription, and against what they must and must not mind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from adaptation.edges import new_edges_loss

RNG = np.random.default_rng(0)
SIDE = 32
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
FROM_CENTRE = np.hypot(ROWS - 15.5, COLUMNS - 15.5)
TINT = np.array([0.114, 0.0, -0.299], np.float32)  # of no lightness


def noise(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape).astype(np.float32)


def loss(images: np.ndarray, source: np.ndarray) -> float:
    return float(new_edges_loss(jnp.asarray(images), jnp.asarray(source)))


def picture(lightness: np.ndarray) -> np.ndarray:
    """One grey picture, [1, H, H, 3]."""
    return np.repeat(lightness[None, ..., None], 3, axis=-1).astype(np.float32)


def marked(source: np.ndarray, where: np.ndarray, colour: np.ndarray | float) -> np.ndarray:
    return (source + where[None, ..., None] * colour).astype(np.float32)


DISC = picture(np.where(FROM_CENTRE < 8, -0.4, 0.4))


def test_is_the_mean_steepness_beyond_the_sources():
    images, source = noise(3, SIDE, SIDE, 3), noise(3, SIDE, SIDE, 3) / 10

    def steepness(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        red, green, blue = np.moveaxis(pictures, -1, 0)
        axes = (
            0.299 * red + 0.587 * green + 0.114 * blue,
            -0.168736 * red - 0.331264 * green + 0.5 * blue,  # JPEG's (ITU-T T.871)
            0.5 * red - 0.418688 * green - 0.081312 * blue,
        )
        smooth = [ndimage.gaussian_filter(axis, (0, 1, 1), mode='reflect', truncate=4.0) for axis in axes]
        steps = [(np.diff(axis, axis=1)[:, :, :-1], np.diff(axis, axis=2)[:, :-1]) for axis in smooth]
        lightness, cb, cr = [down**2 + right**2 for down, right in steps]
        return np.sqrt(lightness), np.sqrt(cb + cr)

    found, origin = steepness(images), steepness(source)
    of_source, tint_of_source = [ndimage.maximum_filter(each, (1, 5, 5), mode='constant', cval=0) for each in origin]
    edges = np.maximum(found[0] - 3 * of_source - 0.04, 0).mean()
    fringes = np.maximum(found[1] - tint_of_source - 0.04 / 3, 0).mean()
    assert min(edges, fringes) > 0.001
    assert loss(images, source) == pytest.approx(edges + 3 * fringes, rel=1e-4)


@pytest.mark.parametrize(
    'style',
    [
        lambda source: source,
        lambda source: 1 + 0 * source,
        lambda source: -2.5 * source,  # outlines that are steeper, the other way round
        lambda source: source + picture(0.03 * ROWS),  # a sky
        lambda source: source + 0.02 * RNG.choice([-1, 1], source.shape),  # grain
    ],
)
def test_does_not_mind_flatness_steeper_outlines_nor_gentle_gradients(style):
    assert loss(style(DISC).astype(np.float32), DISC) == 0


def test_minds_rings_frames_smudges_and_coloured_fringes():
    border = (ROWS < 2) | (COLUMNS < 2) | (ROWS >= SIDE - 2) | (COLUMNS >= SIDE - 2)
    outline = abs(FROM_CENTRE - 8) < 1
    marks = {
        'ring': marked(DISC, abs(FROM_CENTRE - 12) < 1, 0.4),
        'frame': marked(DISC, border, 0.4),
        'smudge': marked(DISC, (ROWS < 8) & (COLUMNS > 24), -0.4),
        'fringe': marked(DISC, outline, 2 * TINT),
    }
    found = {name: loss(image, DISC) for name, image in marks.items()}
    assert min(found.values()) > 1e-3, found
    assert loss(marked(DISC, outline, -0.4), DISC) == 0  # an ink line of no colour


def test_its_gradient_takes_a_ring_away_and_leaves_the_outline():
    ring = abs(FROM_CENTRE - 12) < 1
    step = jax.jit(jax.grad(new_edges_loss))
    image = start = jnp.asarray(marked(DISC, ring, 0.4))
    for _ in range(400):
        image -= 5 * step(image, jnp.asarray(DISC))
    assert loss(image, DISC) < 0.01 * loss(start, DISC)
    assert image[0, ring].mean() < start[0, ring].mean() - 0.09
    np.testing.assert_array_equal(image[0, FROM_CENTRE < 4], start[0, FROM_CENTRE < 4])


@pytest.mark.parametrize('flat', [-1.0, 0.0, 1.0])
def test_gradients_are_finite_where_pictures_are_flat(flat: float):
    image, source = jnp.full((2, SIDE, SIDE, 3), flat), jnp.asarray(noise(2, SIDE, SIDE, 3))
    for adapted, origin in ((image, source), (image, image), (source, image)):
        value, gradient = jax.value_and_grad(new_edges_loss)(adapted, origin)
        assert jnp.isfinite(value)
        assert jnp.isfinite(gradient).all()
