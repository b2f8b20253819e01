"""What the losses that the paper does not have cost, and what fast sorting and blurring are worth to them.

    python -m benchmarks.our_losses [--resolution=128] [--batch=4]

Prints the ratio of medians of sorting and of blurring, each with its gradient, by XLA's own sort and convolutions and
as the losses do it, timed in turn; and the milliseconds of each loss of a batch, with its gradient.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from adaptation.edges import new_edges_loss
from adaptation.fine_detail import DEVIATION, Slices, crispness_loss, draw_slices, fine_detail_loss, gaussian_blur
from adaptation.pair import pair_loss
from adaptation.palette import palette_loss
from adaptation.sorting import sort_rows
from eg3d_jax.huge_pages import restart_with_huge_pages

ROUNDS = 10
ROWS, VALUES = 33, 11163  # of a batch of three pictures of 128 x 128: what fine detail sorts

Function = Callable[..., Array]


def main() -> None:
    """Prints the ratios and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--resolution', type=int, default=128, help='side of the pictures')
    parser.add_argument('--batch', type=int, default=4)
    options = parser.parse_args()
    keys = jax.random.split(jax.random.key(0), 4)
    shape = (options.batch, options.resolution, options.resolution, 3)
    images, source = (jax.random.uniform(key, shape, minval=-1.0) for key in keys[:2])
    rows, slices = jax.random.normal(keys[2], (ROWS, VALUES)), draw_slices(keys[3])
    device = jax.devices()[0]
    print(f'{options.batch} pictures of {options.resolution} x {options.resolution}, {device.platform}')
    plain, fast = medians([lambda x: jnp.sort(x, axis=1), sort_rows], rows)
    print(f'sorting {ROWS} x {VALUES} values: {plain / fast:.1f} times as fast')
    plain, fast = medians([convolved, lambda x: gaussian_blur(x, DEVIATION)], images)
    print(f'blurring: {plain / fast:.1f} times as fast')
    losses: dict[str, Function] = {
        'fine': lambda x, source, slices: fine_detail_loss(x, source[0], slices),
        'crisp': lambda x, source, slices: crispness_loss(x, source[0], slices),
        'palette': lambda x, source, _: palette_loss(x, source[0]),
        'edges': lambda x, source, _: new_edges_loss(x, source),
        'pair': lambda x, source, _: pair_loss(x[:1], source[0]),
    }
    for name, seconds in zip(losses, medians(list(losses.values()), images, source, slices), strict=True):
        print(f'{name:8} {1000 * seconds:6.1f} ms')


def medians(functions: list[Function], *arguments: Array | Slices) -> list[float]:
    """The median seconds of each function with its gradient by the first argument, timed in turn."""

    def total(function: Function) -> Function:
        return lambda *given: jnp.sum(jnp.sin(function(*given)))

    gradients = [jax.jit(jax.grad(total(function))) for function in functions]
    times: list[list[float]] = [[] for _ in gradients]
    for _ in range(1 + ROUNDS):
        for gradient, seconds in zip(gradients, times, strict=True):
            started = time.perf_counter()
            jax.block_until_ready(gradient(*arguments))
            seconds.append(time.perf_counter() - started)
    return [statistics.median(seconds[1:]) for seconds in times]  # the first ones compile


def convolved(images: Array) -> Array:
    """The same blur by two convolutions of each channel."""
    reach = int(4 * DEVIATION + 0.5)
    weights = jnp.exp(-jnp.square(jnp.arange(-reach, reach + 1)) / (2 * DEVIATION**2))
    blurred = jnp.moveaxis(images, -1, 1).reshape(-1, *images.shape[1:3], 1)
    blurred = jnp.pad(blurred, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode='symmetric')
    for kernel in ((weights / weights.sum())[:, None], (weights / weights.sum())[None]):
        dimensions = ('NHWC', 'HWIO', 'NHWC')
        blurred = jax.lax.conv_general_dilated(
            blurred, kernel[..., None, None], (1, 1), 'VALID', dimension_numbers=dimensions
        )
    return blurred


if __name__ == '__main__':
    restart_with_huge_pages()
    main()
