"""The differentiable preprocessing against the Pillow pipeline."""

from pathlib import Path

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import skimage.data
from PIL import Image

from clip_jax import load_image, preprocess
from clip_jax.preprocessing import MEAN, STD

SHIPPED = Path(skimage.data.__file__).parent
PHOTOGRAPHS = ('astronaut.png', 'chelsea.png', 'coffee.png', 'rocket.jpg')


def pillow_pipeline(picture: Image.Image, resolution: int) -> np.ndarray:
    """OpenAI's published transform up to the normalisation: Resize, CenterCrop, ToTensor. [R, R, 3] in [0, 1]."""
    width, height = picture.size
    short = min(width, height)
    resized = picture.resize((resolution * width // short, resolution * height // short), Image.Resampling.BICUBIC)
    left = round((resized.width - resolution) / 2)
    top = round((resized.height - resolution) / 2)
    return np.asarray(resized.crop((left, top, left + resolution, top + resolution)), np.float64) / 255


def photograph(name: str) -> Image.Image:
    with Image.open(SHIPPED / name) as picture:
        return picture.convert('RGB')


def preprocessed(picture: Image.Image, resolution: int) -> np.ndarray:
    """Our pixels with the normalisation taken back: [R, R, 3], [0, 1]."""
    images = jnp.asarray(picture, jnp.float32)[None] / 127.5 - 1
    return np.asarray(preprocess(images, resolution)[0]) * STD + MEAN


@pytest.mark.parametrize('name', PHOTOGRAPHS)
@pytest.mark.parametrize('resolution', [96, 224, 336])
def test_agrees_with_pillow_on_photographs(name, resolution):
    picture = photograph(name)
    error = np.abs(preprocessed(picture, resolution) - pillow_pipeline(picture, resolution))
    assert error.max() <= 2 / 255


@pytest.mark.parametrize('size', [(64, 64), (100, 70), (61, 90), (224, 224), (225, 224)])
def test_agrees_with_pillow_on_small_and_upright_pictures(size):
    """Enlarging, both orientations, and odd margins."""
    picture = photograph('astronaut.png').resize(size)
    error = np.abs(preprocessed(picture, 224) - pillow_pipeline(picture, 224))
    assert error.max() <= 2 / 255


def test_the_file_loader_and_preprocessing_make_the_same_pixels():
    image = load_image(SHIPPED / 'chelsea.png')
    square = photograph('chelsea.png').crop((75, 0, 375, 300))
    ours = np.asarray(preprocess(jnp.asarray(image)[None], 224)[0]) * STD + MEAN
    assert np.abs(ours - pillow_pipeline(square, 224)).max() <= 2 / 255


@pytest.mark.parametrize('images', [jnp.zeros((8, 8, 3)), jnp.zeros((1, 8, 8, 4)), jnp.zeros((1, 8, 8, 3), jnp.uint8)])
def test_what_is_no_batch_of_images_is_refused(monkeypatch, images):
    monkeypatch.setattr(jaxtyping.config, 'jaxtyping_disable', True)  # as where nobody checks annotations
    with pytest.raises(ValueError, match=r'Expected images \[N, H, W, 3\] of floating-point numbers, got (float|uint)'):
        preprocess(images, 8)


def test_normalisation_is_clips():
    for value, level in ((-1.0, 0.0), (0.0, 0.5), (1.0, 1.0), (3.0, 1.0)):  # the last is out of range, and clipped
        pixels = preprocess(jnp.full((1, 40, 30, 3), value), 16)
        assert pixels.shape == (1, 16, 16, 3)
        expected = (level - np.array([0.48145466, 0.4578275, 0.40821073])) / [0.26862954, 0.26130258, 0.27577711]
        np.testing.assert_allclose(pixels, np.broadcast_to(expected, pixels.shape), atol=1e-5)


def test_derivative_is_that_of_the_function():
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.uniform(-0.6, 0.6, (2, 40, 50, 3)), jnp.float32)
    direction = jnp.asarray(rng.standard_normal(images.shape), jnp.float32)
    readout = jnp.asarray(rng.standard_normal((2, 16, 16, 3)), jnp.float32)

    def loss(x):
        return jnp.sum(readout * preprocess(x, 16))

    slope = jnp.vdot(jax.grad(loss)(images), direction)
    step = 1e-2  # the function is linear where nothing is clipped, so the step may be large
    measured = (loss(images + step * direction) - loss(images - step * direction)) / (2 * step)
    np.testing.assert_allclose(slope, measured, rtol=2e-3)


def test_what_is_too_bright_or_too_dark_can_come_back():
    images = jnp.stack([jnp.full((8, 8, 3), value) for value in (1.2, -1.2, 0.3)])
    for sign, reaching in ((1.0, [True, False, True]), (-1.0, [False, True, True])):  # descent lowers, then raises
        gradient = jax.grad(lambda x, sign=sign: sign * jnp.sum(preprocess(x, 8)))(images)
        assert [bool(jnp.any(part != 0)) for part in gradient] == reaching
        inside = np.asarray(gradient)[2]
        for part, reaches in zip(np.asarray(gradient), reaching, strict=True):
            np.testing.assert_allclose(part, inside if reaches else 0, atol=1e-6)
