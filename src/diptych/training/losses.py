"""Draws, weights and distances shared by the codec's stages.

Pictures are float ``(B, 3, H, W)`` in 0..1; a distance is one number per picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from diptych.checkerboard.baseline import STRIDES
from diptych.checkerboard.score import BORDER, ROUNDING
from diptych.io.pixels import REACH, SIGMA
from diptych.nn.losses import distortion_weight, squared_error
from diptych.training.ssimulacra import Ssimulacra

_LUMA = (0.299, 0.587, 0.114)


def balance(quality: Tensor) -> Tensor:
    """Factor that gives every quality a similar share of the gradient (1 at quality 50).

    At the optimum rate and weighted distortion both grow roughly as the square root of the weight.
    """
    return (distortion_weight(torch.full_like(quality, 50.0)) / distortion_weight(quality)).sqrt()


def draw_qualities(count: int, seed: int, number: int) -> Tensor:
    """``(count,)`` qualities of a batch, one in each of ``count`` equal parts of 0..100, in random order."""
    random = np.random.default_rng([seed, number, 4])
    return torch.from_numpy((random.permutation(count) + random.random(count)) * (100 / count)).float()


class HumanError(BaseModel):
    """What makes a picture wrong for a person: weights of three distances, summed and weighed against bits."""

    model_config = ConfigDict(extra="forbid")

    mse_weight: tuple[float, float] = Field(
        default=(1.0, 1.0), description="of the squared error, at quality 0 and at 100; geometric between"
    )
    ssimulacra_weight: float = Field(default=0.0, ge=0, description="of SSIMULACRA 2.1's error sum")
    grid_weight: float = Field(default=0.0, ge=0, description="of the logarithmic excess of the grid")


class HumanDistance(nn.Module):
    """The weighted terms of a :class:`HumanError`."""

    def __init__(self, weights: HumanError) -> None:
        super().__init__()
        self.weights = weights
        self.ssimulacra = Ssimulacra() if weights.ssimulacra_weight else None

    def mse_weight(self, quality: Tensor) -> Tensor:
        """Weight of the squared error at each quality ``(B,)``."""
        low, high = self.weights.mse_weight
        return low * (high / low) ** (quality / 100)

    def forward(self, x: Tensor, x_hat: Tensor, quality: Tensor) -> dict[str, Tensor]:
        """Weighted terms by name, each ``(B,)``; only those that have a weight."""
        terms = {"mse": self.mse_weight(quality) * squared_error(x, x_hat)}
        if self.ssimulacra is not None:
            terms["ssimulacra"] = self.weights.ssimulacra_weight * self.ssimulacra(x, x_hat)
        if self.weights.grid_weight:
            terms["grid"] = self.weights.grid_weight * grid_excess(x, x_hat)
        return terms


def grid_excess(x: Tensor, x_hat: Tensor, strides: Sequence[int] = STRIDES) -> Tensor:
    """How much stronger the error's phase means are than those of noise like the original ``(B,)``.

    ``sum over s of ln(1 + phase score of x_hat - x at stride s)``; the logarithm, because scores run over four
    decades. The error, not the picture: a grid that the photo itself has is to stay.
    """
    with torch.autocast(x.device.type, enabled=False):
        inner = slice(BORDER, -BORDER)
        error = _high_pass(x_hat - x)[:, inner, inner]
        power = _high_pass(x)[:, inner, inner].var((1, 2)).clamp(min=ROUNDING)
        total = torch.zeros_like(power)
        for stride in strides:
            rows, columns = (side // stride for side in error.shape[1:])
            cells = error[:, : rows * stride, : columns * stride].unflatten(2, (columns, stride))
            phases = cells.unflatten(1, (rows, stride)).mean((1, 3))
            total = total + torch.log1p(phases.var((1, 2)) / (power / (rows * columns)))
        return total


def _high_pass(pictures: Tensor) -> Tensor:
    """Luma in 0..255 minus its Gaussian blur ``(B, H, W)``."""
    red, green, blue = pictures.float().unbind(1)
    luma = 255 * (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue)[:, None]
    steps = torch.arange(-REACH, REACH + 1, device=luma.device)
    taps = torch.exp(-0.5 * (steps / SIGMA) ** 2)
    taps = taps / taps.sum()
    padded = pad(luma, (REACH,) * 4, mode="reflect")
    return (luma - conv2d(conv2d(padded, taps[None, None, :, None]), taps[None, None, None]))[:, 0]
