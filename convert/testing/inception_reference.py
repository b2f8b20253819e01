"""The Fréchet distance's InceptionV3 in PyTorch, written down from its published description, to compare ours with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptation.evaluation.inception import InceptionConfig

CLASSES = 1008  # of the classifier that the published file also holds

# For each kind of block, its branches as chains; each link is (name, outputs, kernel, stride, padding).
Link = tuple[str, int, tuple[int, int], int, tuple[int, int]]


class ConvBlock(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], stride: int, padding: tuple[int, int]):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


def _link(name: str, outputs: int, kernel: tuple[int, int] = (1, 1), stride: int = 1) -> Link:
    """Stride 1 keeps the size, stride 2 has no padding."""
    padding = (kernel[0] // 2, kernel[1] // 2) if stride == 1 else (0, 0)
    return name, outputs, kernel, stride, padding


ROW, COLUMN, SQUARE = (1, 7), (7, 1), (3, 3)
DOUBLE = (_link('branch3x3dbl_1', 64), _link('branch3x3dbl_2', 96, SQUARE))


def _block_a(pooled: int) -> tuple[str, list[tuple[Link, ...]]]:
    return 'average', [
        (_link('branch1x1', 64),),
        (_link('branch5x5_1', 48), _link('branch5x5_2', 64, (5, 5))),
        (*DOUBLE, _link('branch3x3dbl_3', 96, SQUARE)),
        (_link('branch_pool', pooled),),
    ]


def _block_c(narrow: int) -> tuple[str, list[tuple[Link, ...]]]:
    double = [_link('branch7x7dbl_1', narrow)]
    double += [_link(f'branch7x7dbl_{n}', narrow, COLUMN if n % 2 == 0 else ROW) for n in (2, 3, 4)]
    return 'average', [
        (_link('branch1x1', 192),),
        (_link('branch7x7_1', narrow), _link('branch7x7_2', narrow, ROW), _link('branch7x7_3', 192, COLUMN)),
        (*double, _link('branch7x7dbl_5', 192, ROW)),
        (_link('branch_pool', 192),),
    ]


def _block_e(pool: str) -> tuple[str, list[tuple[Link, ...]]]:
    """A chain that forks lists both ends; the fork is where their names end in a and b."""
    return pool, [
        (_link('branch1x1', 320),),
        (_link('branch3x3_1', 384), _link('branch3x3_2a', 384, (1, 3)), _link('branch3x3_2b', 384, (3, 1))),
        (
            *(_link('branch3x3dbl_1', 448), _link('branch3x3dbl_2', 384, SQUARE)),
            *(_link('branch3x3dbl_3a', 384, (1, 3)), _link('branch3x3dbl_3b', 384, (3, 1))),
        ),
        (_link('branch_pool', 192),),
    ]


REDUCTION_B = [(_link('branch3x3', 384, SQUARE, 2),), (*DOUBLE, _link('branch3x3dbl_3', 96, SQUARE, 2)), ()]
REDUCTION_D = [
    (_link('branch3x3_1', 192), _link('branch3x3_2', 320, SQUARE, 2)),
    (
        *(_link('branch7x7x3_1', 192), _link('branch7x7x3_2', 192, ROW), _link('branch7x7x3_3', 192, COLUMN)),
        _link('branch7x7x3_4', 192, SQUARE, 2),
    ),
    (),
]
MIXED: dict[str, tuple[str, list[tuple[Link, ...]]]] = {
    'Mixed_5b': _block_a(32),
    'Mixed_5c': _block_a(64),
    'Mixed_5d': _block_a(64),
    'Mixed_6a': ('halving', REDUCTION_B),
    'Mixed_6b': _block_c(128),
    'Mixed_6c': _block_c(160),
    'Mixed_6d': _block_c(160),
    'Mixed_6e': _block_c(192),
    'Mixed_7a': ('halving', REDUCTION_D),
    'Mixed_7b': _block_e('average'),
    'Mixed_7c': _block_e('maximum'),
}


class Mixed(nn.Module):
    """A block with several branches."""

    def __init__(self, inputs: int, pool: str, branches: list[tuple[Link, ...]], divisor: int):
        super().__init__()
        self.pool, self.branches, self.outputs = pool, branches, 0
        for branch in branches:
            channels = inputs
            for name, published, kernel, stride, padding in branch:
                outputs = published // divisor
                fork = channels if name[-1] == 'b' else 0
                self.add_module(name, ConvBlock(channels, outputs, kernel, stride, padding))
                self.outputs += fork  # the other end of a fork, whose width this one's is
                channels = outputs
            self.outputs += channels

    def forward(self, x: Tensor) -> Tensor:
        results = []
        for branch in self.branches:
            y = self._pooled(x) if not branch or branch[0][0] == 'branch_pool' else x
            for name, *_ in branch:
                if name[-1] == 'b':
                    continue
                trunk, y = y, getattr(self, name)(y)
                if name[-1] == 'a':
                    y = torch.cat([y, getattr(self, f'{name[:-1]}b')(trunk)], 1)
            results.append(y)
        return torch.cat(results, 1)

    def _pooled(self, x: Tensor) -> Tensor:
        if self.pool == 'halving':
            return functional.max_pool2d(x, 3, 2)
        if self.pool == 'maximum':
            return functional.max_pool2d(x, 3, 1, 1)
        return functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class Inception(nn.Module):
    """The whole network, with the classifier that nothing uses."""

    def __init__(self, config: InceptionConfig):
        super().__init__()
        d = config.divisor
        self.resolution = config.resolution
        self.Conv2d_1a_3x3 = ConvBlock(3, 32 // d, (3, 3), 2, (0, 0))
        self.Conv2d_2a_3x3 = ConvBlock(32 // d, 32 // d, (3, 3), 1, (0, 0))
        self.Conv2d_2b_3x3 = ConvBlock(32 // d, 64 // d, (3, 3), 1, (1, 1))
        self.Conv2d_3b_1x1 = ConvBlock(64 // d, 80 // d, (1, 1), 1, (0, 0))
        self.Conv2d_4a_3x3 = ConvBlock(80 // d, 192 // d, (3, 3), 1, (0, 0))
        channels = 192 // d
        for name, (pool, branches) in MIXED.items():
            block = Mixed(channels, pool, branches, d)
            self.add_module(name, block)
            channels = block.outputs
        self.fc = nn.Linear(channels, CLASSES)

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        """Activations by name; images [N, 3, H, W] in [-1, 1]."""
        size = (self.resolution, self.resolution)
        x = functional.interpolate((images + 1) / 2, size, mode='bilinear', align_corners=False)
        x = 2 * x - 1
        activations = {}
        for name, module in list(self.named_children())[:-1]:
            if name in ('Conv2d_3b_1x1', 'Mixed_5b'):
                x = functional.max_pool2d(x, 3, 2)
            activations[name] = x = module(x)
        return activations

    def forward(self, images: Tensor) -> Tensor:
        return self.stages(images)['Mixed_7c'].mean((2, 3))
