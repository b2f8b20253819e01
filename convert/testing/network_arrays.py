"""Random weights for PyTorch's side of the measuring networks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
SEEN = 0.9  # share of the activations in the running statistics; the rest is what they begin with, so that none is tiny


@torch.no_grad()
def randomise(network: nn.Module, images: Tensor, seed: int = 0) -> None:
    """Fills a network with random numbers such that no layer is trivial, and leaves it ready for use.

    The running statistics are those of activations, as after a training: under any others, the activations of a deep
    network would grow from layer to layer until rounding decides the result.

    Args:
      network: whose weights are replaced.
      images: what it is run on; several.
      seed: of the numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    network.eval()
    for name, parameter in network.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:  # a kernel or a matrix, outputs first
            parameter.copy_(noise * math.sqrt(2 / parameter[0].numel()))
        else:  # scales and slopes, and biases
            parameter.copy_(0.2 * noise + (1.0 if name.endswith('weight') else 0.0))
    norms = [module for module in network.modules() if isinstance(module, NORMS)]
    for norm in norms:
        norm.momentum = SEEN
        norm.train()
    network(images)
    network.eval()
