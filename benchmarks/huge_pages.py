"""What `eg3d_jax.huge_pages` is worth: gradients of 3 x 3 convolutions, timed with it and without, in turn.

    python -m benchmarks.huge_pages

Prints the ratio of the medians for each size (CPU only).
"""

import os
import statistics
import subprocess
import sys
import time

from eg3d_jax.huge_pages import SETTINGS, VARIABLE

SIZES = ((16, 128), (64, 48), (128, 24))  # pixels along a side, channels
BATCH = 8
ROUNDS = 3
REPEATS = 5


def measure() -> None:
    """Print the median seconds of one gradient for each size."""
    import jax
    import jax.numpy as jnp

    from eg3d_jax.convolution import convolve

    gradient = jax.jit(jax.grad(lambda x, kernel: jnp.sum(jnp.square(convolve(x, kernel))), argnums=(0, 1)))
    for side, channels in SIZES:
        x = jnp.ones((BATCH, side, side, channels))
        kernel = jnp.ones((3, 3, channels, channels))
        times = []
        for _ in range(1 + REPEATS):
            started = time.perf_counter()
            jax.block_until_ready(gradient(x, kernel))
            times.append(time.perf_counter() - started)
        print(statistics.median(times[1:]), flush=True)


def main() -> int:
    if sys.argv[1:] == ['measure']:
        measure()
        return 0
    plain = {name: value for name, value in os.environ.items() if name != VARIABLE}
    seconds: dict[bool, list[list[float]]] = {False: [], True: []}
    for _ in range(ROUNDS):
        for huge in (False, True):
            environment = plain | ({VARIABLE: SETTINGS} if huge else {})
            command = [sys.executable, '-m', 'benchmarks.huge_pages', 'measure']
            output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
            seconds[huge].append([float(line) for line in output.split()])
    for index, (side, channels) in enumerate(SIZES):
        without, with_huge = (statistics.median(run[index] for run in seconds[huge]) for huge in (False, True))
        print(f'{side:4d} x {side:<4d} {channels:4d} channels: {without / with_huge:.2f} times as fast')
    return 0


if __name__ == '__main__':
    sys.exit(main())
