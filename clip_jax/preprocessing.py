"""From images in [-1, 1] to the pixels that CLIP was trained on, differentiably.

Follows the published pipeline (Pillow's antialiased bicubic resize of the short side, centre crop, normalisation) but
for the rounding to whole pixel values. N batch, H and W the image's size, R the model's.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's training images, per channel, values in [0, 1]
STD = (0.26862954, 0.26130258, 0.27577711)
BICUBIC_A = -0.5  # Pillow's cubic kernel; OpenCV and PyTorch use -0.75


def preprocess(images: Float[Array, 'N H W 3'], resolution: int) -> Float[Array, 'N R R 3']:
    """Resizes the short side to `resolution`, crops the centre and normalises.

    Args:
      images: [N, H, W, 3] RGB in [-1, 1]; what lies outside is clipped, as it would be in a picture file, and yet has
        the gradient that leads back inside (see `saturate`).
      resolution: side of the result in pixels, the model's `vision.image_size`.

    Returns:
      [N, R, R, 3] with CLIP's mean and standard deviation taken out.

    Raises:
      ValueError: images of another shape, or of whole numbers.
    """
    if images.ndim != 4 or images.shape[-1] != len(MEAN) or not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f'Expected images [N, H, W, 3] of floating-point numbers, got {images.dtype} {images.shape}.')
    rows, columns = _resize_and_crop(images.shape[1], images.shape[2], resolution)
    x = saturate((images + 1) / 2)
    # Pillow resizes along rows first and stores both results as bytes: the overshoot of the cubic is cut off twice.
    x = saturate(_resize(columns, x, 'rw,nhwc->nhrc'))
    x = saturate(_resize(rows, x, 'rh,nhwc->nrwc'))
    return (x - jnp.asarray(MEAN, x.dtype)) / jnp.asarray(STD, x.dtype)


@jax.custom_vjp
def saturate(x: Float[Array, '*B']) -> Float[Array, '*B']:
    """Clips to [0, 1]. The gradient is projected: none that leads further out, and the whole of what leads back.

    A plain clip has no gradient outside: white that a generator has overdone would stay white, whatever a loss says.
    Reverse-mode differentiable.
    """
    return jnp.clip(x, 0, 1)


def _saturate_forward(x: Array) -> tuple[Array, Array]:
    return saturate(x), x


def _saturate_backward(x: Array, gradient: Array) -> tuple[Array]:
    outwards = ((x > 1) & (gradient < 0)) | ((x < 0) & (gradient > 0))  # where descent would go
    return (jnp.where(outwards, 0, gradient),)


saturate.defvjp(_saturate_forward, _saturate_backward)


def _resize(weights: np.ndarray, x: Array, equation: str) -> Array:
    return jnp.einsum(equation, weights.astype(x.dtype), x, precision=jax.lax.Precision.HIGHEST)


def _resize_and_crop(height: int, width: int, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """The matrices [R, H] and [R, W] of the resize, cut to the rows that the centre crop keeps."""
    short = min(height, width)
    matrices = []
    for size in (height, width):
        resized = resolution * size // short
        start = round((resized - resolution) / 2)  # halves to even, as the published pipeline has it
        matrices.append(bicubic_matrix(size, resized)[start : start + resolution])
    return matrices[0], matrices[1]


@functools.lru_cache(maxsize=64)
def bicubic_matrix(size: int, resized: int) -> Float[np.ndarray, 'resized size']:
    """Weights [resized, size] of an antialiased bicubic resize along one axis; each row sums to 1."""
    scale = size / resized
    support = max(scale, 1.0)  # the kernel widens when the image shrinks
    centres = (np.arange(resized) + 0.5) * scale
    distance = np.abs(np.arange(size) + 0.5 - centres[:, None]) / support
    a = BICUBIC_A
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = (((distance - 5) * distance + 8) * distance - 4) * a
    weights = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    weights /= weights.sum(axis=1, keepdims=True)
    weights.setflags(write=False)  # the cache hands out this very array
    return weights
