"""ArcFace's IR-SE in PyTorch, written down from its published description, to compare ours with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptation.evaluation.arcface import ArcFaceConfig


class SqueezeExcitation(nn.Module):
    """Scales each channel by what all channels' means say."""

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(functional.adaptive_avg_pool2d(x, 1)))))


class Unit(nn.Module):
    """One residual unit."""

    def __init__(self, inputs: int, outputs: int, stride: int, reduction: int):
        super().__init__()
        projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        same = nn.MaxPool2d(1, stride)
        self.shortcut_layer = same if inputs == outputs else nn.Sequential(projection, nn.BatchNorm2d(outputs))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            SqueezeExcitation(outputs, reduction),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut_layer(x) + self.res_layer(x)


class Face(nn.Module):
    """The whole network."""

    def __init__(self, config: ArcFaceConfig):
        super().__init__()
        first, last = config.widths[0], config.widths[-1]
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, first, 3, 1, 1, bias=False), nn.BatchNorm2d(first), nn.PReLU(first)
        )
        widths = [width for count, width in zip(config.units, config.widths, strict=True) for _ in range(count)]
        strides = [2 if index == 0 else 1 for count in config.units for index in range(count)]
        inputs = [first, *widths[:-1]]
        self.body = nn.Sequential(
            *(Unit(*sizes, config.reduction) for sizes in zip(inputs, widths, strides, strict=True))
        )
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(last),
            nn.Dropout(),
            nn.Flatten(),
            nn.Linear(last * config.final_side**2, config.embedding),
            nn.BatchNorm1d(config.embedding),
        )

    def stages(self, pixels: Tensor) -> list[Tensor]:
        """Activations after the input layer and after each unit."""
        activations = [self.input_layer(pixels)]
        for unit in self.body:
            activations.append(unit(activations[-1]))
        return activations

    def forward(self, pixels: Tensor) -> Tensor:
        return functional.normalize(self.output_layer(self.stages(pixels)[-1]), dim=1)


def usual_crop(images: Tensor) -> Tensor:
    """What published measures of identity show the network, of [N, 3, H, W]."""
    x = functional.adaptive_avg_pool2d(images, (256, 256))
    return functional.adaptive_avg_pool2d(x[:, :, 35:223, 32:220], (112, 112))
