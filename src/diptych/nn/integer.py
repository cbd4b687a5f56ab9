"""Exact arithmetic for the entropy path: integers carried in float64.

One flipped scale index makes the rest of a stream undecodable, and float networks do flip them between
machines (Balle et al., ICLR 2019). So ``h_s`` runs on integers: weights are multiples of 2**-12, activations
of 2**-8, every product and every partial sum is an integer below 2**53, hence exact in float64 in any order,
on any device, thread count or instruction set. Only matrix products, shifted sums, floor and clamp are used:
nothing that a library could rewrite as Winograd, FFT or a lower precision.

The same module trains in floating point; :meth:`Pointwise.freeze` and :meth:`Depthwise.freeze` turn its
weights into the integers that files are coded with.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from diptych.errors import ModelError

WEIGHT_BITS = 12
ACTIVATION_BITS = 8
ONE = 1 << ACTIVATION_BITS
"""The integer that stands for 1.0."""
WEIGHT_LIMIT = (1 << 15) - 1
ACTIVATION_LIMIT = 1 << 18
"""Activations are clamped to +-ACTIVATION_LIMIT, that is to +-1024.0."""


class IntegerLayer(NamedTuple):
    """Integer weights ``(out, in)`` or, depthwise, ``(channels, 9)`` in row-major taps; bias ``(out,)``."""

    weight: Tensor
    bias: Tensor


class Pointwise(nn.Linear):
    """1x1 convolution, a matrix product over channels."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight[:, :, None, None], self.bias)

    def freeze(self) -> IntegerLayer:
        """Integer form of the trained weights."""
        assert self.bias is not None
        return _freeze(self.weight, self.bias)


class Depthwise(nn.Module):
    """Depthwise 3x3 convolution with zero padding."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, 9) / 3)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        kernel = self.weight.view(channels, 1, 3, 3)
        return nn.functional.conv2d(x, kernel, self.bias, padding=1, groups=channels)

    def freeze(self) -> IntegerLayer:
        """Integer form of the trained weights."""
        return _freeze(self.weight, self.bias)


def _freeze(weight: Tensor, bias: Tensor) -> IntegerLayer:
    integers = torch.round(weight.detach().double().cpu() * (1 << WEIGHT_BITS))
    offset = torch.round(bias.detach().double().cpu() * (1 << (WEIGHT_BITS + ACTIVATION_BITS)))
    return IntegerLayer(integers.clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT).int(), offset.clamp(-(2**30), 2**30).int())


def check_exact(layer: IntegerLayer) -> None:
    """Prove that no partial sum of ``layer`` can leave the exact range of float64.

    Raises:
        ModelError: if the worst case over all inputs reaches 2**53.
    """
    worst = layer.weight.double().abs().sum(1) * ACTIVATION_LIMIT + layer.bias.double().abs()
    if worst.numel() and float(worst.max()) + 2**WEIGHT_BITS >= 2**53:
        raise ModelError("the weights of the entropy path are too large for exact arithmetic")


def requantize(total: Tensor) -> Tensor:
    """Weighted sums back to activations: shift right with rounding half up, then clamp."""
    shifted = total.add_(1 << (WEIGHT_BITS - 1)).mul_(2.0**-WEIGHT_BITS).floor_()
    return shifted.clamp_(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)


def pointwise(x: Tensor, layer: IntegerLayer) -> Tensor:
    """Integer 1x1 convolution of ``x`` ``(C, h, w)``, float64 holding integers."""
    total = torch.addmm(layer.bias.double()[:, None], layer.weight.double(), x.flatten(1))
    return requantize(total).view(-1, *x.shape[1:])


def depthwise(x: Tensor, layer: IntegerLayer) -> Tensor:
    """Integer depthwise 3x3 convolution of ``x`` ``(C, h, w)`` as nine shifted sums, zeros outside."""
    _, h, w = x.shape
    padded = nn.functional.pad(x, (1, 1, 1, 1))
    taps = layer.weight.double()[:, :, None, None]
    total = layer.bias.double()[:, None, None].expand_as(x).clone()
    for tap in range(9):
        row, column = divmod(tap, 3)
        total.addcmul_(taps[:, tap], padded[:, row : row + h, column : column + w])
    return requantize(total)
