"""Random weights for the measuring networks, under which no layer is trivial and activations keep their scale."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def random_arrays(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Float32 arrays by name.

    Args:
      shapes: by PyTorch's names; kernels and matrices have their outputs first.
      seed: of the numbers.
    """
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, shape in shapes.items():
        noise = rng.standard_normal(shape, np.float32)
        leaf = name.rpartition('.')[2]
        if leaf == 'running_var':
            array = np.exp(0.3 * noise)
        elif len(shape) > 1:
            array = noise * (2 / np.prod(shape[1:])) ** 0.5
        elif leaf == 'weight':
            array = 1 + 0.2 * noise  # of a normalisation, or a slope
        else:
            array = 0.2 * noise
        arrays[name] = array.astype(np.float32)
    return arrays
