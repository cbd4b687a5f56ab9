"""What training and search minimise: distances of pictures and features, and what they weigh against bits."""

from __future__ import annotations

from collections.abc import Mapping

import torch
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


def feature_distance(wanted: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> Tensor:
    """How far the features of decoded pictures are from those of the originals.

    Args:
        wanted: what :meth:`diptych.tasks.TaskNetwork.features` gave for the originals.
        seen: the same for the decoded pictures.

    Returns:
        float (B,): the squared distance relative to the original's squared norm, averaged over the levels; 0 where
        nothing was lost, 1 where everything was.
    """
    return torch.stack([_relative(wanted[level], seen[level]) for level in wanted]).mean(0)


def _relative(wanted: Tensor, seen: Tensor) -> Tensor:
    lost = (wanted - seen).square().flatten(1).sum(1)
    return lost / wanted.square().flatten(1).sum(1).clamp(min=1e-12)
