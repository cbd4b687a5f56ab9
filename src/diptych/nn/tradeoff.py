"""What a quality means: how much an error weighs against bits."""

from __future__ import annotations

from torch import Tensor

LOWEST_WEIGHT = 2e-4
HIGHEST_WEIGHT = 6e-2


def distortion_weight(quality: Tensor) -> Tensor:
    """Weight of the mean squared error (on a 0..255 scale) against bits per pixel.

    Grows geometrically from quality 0 to 100; calibrated to span about 0.03 to 1 bit per pixel.
    """
    return LOWEST_WEIGHT * (HIGHEST_WEIGHT / LOWEST_WEIGHT) ** (quality / 100)


def squared_error(x: Tensor, x_hat: Tensor) -> Tensor:
    """Mean squared error of each picture ``(B,)`` on a 0..255 scale."""
    return (x - x_hat).square().flatten(1).mean(1) * 255**2
