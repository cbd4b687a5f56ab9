"""Draws and weights shared by the codec's stages."""

from __future__ import annotations

import torch
from torch import Tensor

from diptych.nn.tradeoff import distortion_weight


def balance(quality: Tensor) -> Tensor:
    """Factor that gives every quality a similar share of the gradient (1 at quality 50).

    At the optimum rate and weighted distortion both grow roughly as the square root of the weight.
    """
    return (distortion_weight(torch.full_like(quality, 50.0)) / distortion_weight(quality)).sqrt()


def draw_qualities(count: int, device: torch.device) -> Tensor:
    """``(count,)`` qualities, one in each of ``count`` equal parts of 0..100, in random order."""
    parts = torch.randperm(count, device=device)
    return (parts + torch.rand(count, device=device)) * (100 / count)
