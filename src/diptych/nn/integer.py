"""Layers that are trained in floating point and frozen to exact integers, with which files are coded.

See :mod:`diptych.codec.entropy` for the arithmetic, :mod:`diptych.nn.arrays` for the freezing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Pointwise(nn.Linear):
    """1x1 convolution, a matrix product over channels."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight[:, :, None, None], self.bias)


class Depthwise(nn.Module):
    """Depthwise 3x3 convolution with zero padding; its kernels are ``(channels, 9)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, 9) / 3)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        kernel = self.weight.view(channels, 1, 3, 3)
        return nn.functional.conv2d(x, kernel, self.bias, padding=1, groups=channels)
