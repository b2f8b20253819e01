"""The convolutions and resampling filters of StyleGAN2, in forms that XLA runs fast, forward and backward.

Letters: N batch, H and W height and width, I and O input and output channels. Images are NHWC, kernels HWIO.

A dilated (transposed) convolution, a padding above (k - 1) / 2 and a depthwise filter are each very slow on XLA's CPU
backend. So doubling the size is written as four small convolutions, one for each phase (parity of row and column) of
the result, and the [1, 3, 3, 1] filter as shifted adds. There, too, weight gradients run two to four times as fast as
matrix products over a few rows at a time, whose operands stay in the cache.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')
POSITIONS_PER_BLOCK = 1024  # of a weight gradient's matrix products


def convolve(x: Float[Array, 'N H W I'], kernel: Float[Array, 'k k I O']) -> Float[Array, 'N H W O']:
    """Correlation that keeps the size: zero padding of (k - 1) / 2 for an odd k."""
    padding = (kernel.shape[0] - 1) // 2
    return correlate(_pad(x, padding, padding), kernel)


def convolve_doubling(x: Float[Array, 'N H W I'], kernel: Float[Array, '3 3 I O']) -> Float[Array, 'N 2*H 2*W O']:
    """True convolution (kernel flipped) of x with a zero inserted after each sample, then the [1, 3, 3, 1] filter.

    The full convolution has 2 H + 1 rows; the filter is normalised, times 4, with a padding of 1.
    """
    # Row 2 n of the full convolution is k[0] x[n] + k[2] x[n - 1], row 2 n + 1 is k[1] x[n]; columns likewise.
    padded = _pad(x, 1, 1)
    rows = {0: (padded, kernel[::-2]), 1: (padded[:, 1:-1], kernel[1:2])}
    phases = {}
    for row_parity, (inputs, kernel_rows) in rows.items():
        phases[row_parity, 0] = correlate(inputs, kernel_rows[:, ::-2])
        phases[row_parity, 1] = correlate(inputs[:, :, 1:-1], kernel_rows[:, 1:2])
    even_columns = _filter_full(phases[0, 0], phases[1, 0], axis=1)
    odd_columns = _filter_full(phases[0, 1], phases[1, 1], axis=1)
    return _filter_full(even_columns, odd_columns, axis=2)


def upsample(x: Float[Array, 'N H W C']) -> Float[Array, 'N 2*H 2*W C']:
    """Double the size with the [1, 3, 3, 1] filter: bilinear inside, and fading to zero at the borders."""
    for axis in (1, 2):
        before, after = _shift(x, 1, axis), _shift(x, -1, axis)
        x = _interleave(0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after, axis)
    return x


def filter_binomial(x: Float[Array, 'N H W C'], padding: int) -> Float[Array, 'N H2 W2 C']:
    """The normalised [1, 3, 3, 1] filter along both axes, with zero padding: 2 padding - 3 rows more than x."""
    x = _pad(x, padding, padding)
    for axis in (1, 2):
        length = x.shape[axis] - 3
        parts = [jax.lax.slice_in_dim(x, start, start + length, axis=axis) for start in range(4)]
        x = 0.125 * (parts[0] + parts[3]) + 0.375 * (parts[1] + parts[2])
    return x


@jax.custom_vjp
def correlate(x: Float[Array, 'N H W I'], kernel: Float[Array, 'k l I O']) -> Float[Array, 'N H2 W2 O']:
    """Correlation without padding: k - 1 rows and l - 1 columns fewer than x. Reverse-mode differentiable."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), 'VALID', dimension_numbers=DIMENSIONS)


def _correlate_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return correlate(x, kernel), (x, kernel)


def _correlate_backward(residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    height, width = kernel.shape[:2]
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    x_gradient = correlate(_pad(gradient, height - 1, width - 1), flipped)
    kernel_gradient = jax.lax.platform_dependent(
        x, kernel, gradient, cpu=_kernel_gradient_by_rows, default=_kernel_gradient
    )
    return x_gradient, kernel_gradient


correlate.defvjp(_correlate_forward, _correlate_backward)


def _kernel_gradient(x: Array, kernel: Array, gradient: Array) -> Array:
    def forward(k: Array) -> Array:
        return jax.lax.conv_general_dilated(x, k, (1, 1), 'VALID', dimension_numbers=DIMENSIONS)

    return jax.vjp(forward, kernel)[1](gradient)[0]


def _kernel_gradient_by_rows(x: Array, kernel: Array, gradient: Array) -> Array:
    """The same as a sum of matrix products, each over the positions of a few rows."""
    n, height, width, out_channels = gradient.shape
    kernel_height, kernel_width, in_channels, _ = kernel.shape
    block = min(height, max(1, POSITIONS_PER_BLOCK // (n * width)))
    blocks = -(-height // block)
    missing = ((0, 0), (0, blocks * block - height), (0, 0), (0, 0))
    x, gradient = jnp.pad(x, missing), jnp.pad(gradient, missing)

    def add_block(total: Array, start: Array) -> tuple[Array, None]:
        rows = jax.lax.dynamic_slice_in_dim(x, start, block + kernel_height - 1, axis=1)
        shifted = [rows[:, a : a + block, b : b + width] for a in range(kernel_height) for b in range(kernel_width)]
        patches = jnp.concatenate(shifted, axis=-1).reshape(n * block * width, -1)
        outputs = jax.lax.dynamic_slice_in_dim(gradient, start, block, axis=1).reshape(n * block * width, -1)
        return total + patches.T @ outputs, None

    zero = jnp.zeros((kernel_height * kernel_width * in_channels, out_channels), gradient.dtype)
    total, _ = jax.lax.scan(add_block, zero, jnp.arange(blocks) * block)
    return total.reshape(kernel.shape)


def _pad(x: Array, rows: int, columns: int) -> Array:
    return jnp.pad(x, ((0, 0), (rows, rows), (columns, columns), (0, 0)))


def _filter_full(even: Array, odd: Array, axis: int) -> Array:
    """The [1, 3, 3, 1] / 4 filter, padding 1, along an axis of 2 n + 1 samples given as n + 1 even and n odd ones."""
    length = odd.shape[axis]
    first, last = (jax.lax.slice_in_dim(even, start, start + length, axis=axis) for start in (0, 1))
    before, after = _shift(odd, 1, axis), _shift(odd, -1, axis)
    return _interleave(
        0.25 * (before + last) + 0.75 * (first + odd),
        0.25 * (first + after) + 0.75 * (odd + last),
        axis,
    )


def _shift(x: Array, step: int, axis: int) -> Array:
    """x moved by one sample towards higher (step 1) or lower (step -1) indices, with a zero coming in."""
    length = x.shape[axis]
    padding = [(0, 0)] * x.ndim
    padding[axis] = (1, 0) if step > 0 else (0, 1)
    start = 0 if step > 0 else 1
    return jax.lax.slice_in_dim(jnp.pad(x, padding), start, start + length, axis=axis)


def _interleave(even: Array, odd: Array, axis: int) -> Array:
    shape = list(even.shape)
    shape[axis] *= 2
    return jnp.stack([even, odd], axis=axis + 1).reshape(shape)  # (.., n, 2, ..) -> (.., 2 n, ..)
