"""Losses shared by the codec's stages."""

from __future__ import annotations

import torch
from torch import Tensor

LOWEST_WEIGHT = 2e-4
HIGHEST_WEIGHT = 6e-2


def distortion_weight(quality: Tensor) -> Tensor:
    """Weight of the mean squared error (on a 0..255 scale) against bits per pixel.

    Grows geometrically from quality 0 to 100; calibrated to span about 0.03 to 1 bit per pixel.
    """
    return LOWEST_WEIGHT * (HIGHEST_WEIGHT / LOWEST_WEIGHT) ** (quality / 100)


def balance(quality: Tensor) -> Tensor:
    """Factor that gives every quality a similar share of the gradient (1 at quality 50).

    At the optimum rate and weighted distortion both grow roughly as the square root of the weight.
    """
    return (distortion_weight(torch.full_like(quality, 50.0)) / distortion_weight(quality)).sqrt()


def squared_error(x: Tensor, x_hat: Tensor) -> Tensor:
    """Mean squared error of each picture ``(B,)`` on a 0..255 scale."""
    return (x - x_hat).square().flatten(1).mean(1) * 255**2


def draw_qualities(count: int, device: torch.device) -> Tensor:
    """``(count,)`` qualities, one in each of ``count`` equal parts of 0..100, in random order."""
    parts = torch.randperm(count, device=device)
    return (parts + torch.rand(count, device=device)) * (100 / count)
