"""Comparing ours of the measuring networks with PyTorch's of the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from adaptation.evaluation.network_files import Module, with_weights
from convert.engine import Table, convert_arrays, model_shapes

TOLERANCE = 1e-4  # of the root mean square of the difference, over the deviation. Twenty layers of float32 give 1e-5


def ported(network: torch.nn.Module, table: Table, build: Callable[[], Module]) -> Module:
    """Ours with the weights of PyTorch's, without a file between them."""
    arrays = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    parts, _ = convert_arrays(arrays, table, model_shapes(build))
    return with_weights(build, {name: np.asarray(part) for name, part in parts.items()})


def relative_error(actual: Any, expected: torch.Tensor) -> float:
    """Of ours, channels last, against PyTorch's, channels second."""
    wanted = np.moveaxis(expected.double().numpy(), 1, -1)
    difference = np.asarray(actual, np.float64) - wanted
    assert difference.shape == wanted.shape == np.shape(actual)
    return float(np.sqrt(np.mean(difference**2)) / np.std(wanted))


def random_pictures(count: int, height: int, width: int, seed: int = 0) -> tuple[np.ndarray, torch.Tensor]:
    """The same smooth-and-noisy pictures in [-1, 1] for both: [N, H, W, 3] and [N, 3, H, W]."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(-1, 1, (count, 2, 2, 3)).repeat(-(-height // 2), 1).repeat(-(-width // 2), 2)
    images = 0.7 * coarse[:, :height, :width] + 0.3 * rng.uniform(-1, 1, (count, height, width, 3))
    images = images.astype(np.float32)
    return images, torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
