"""How far decoded pictures are from their originals, for gradients: one number per picture.

Pictures are float ``(B, 3, H, W)`` in 0..1. The grid's distance is what :mod:`diptych.evaluation.grid` measures, in
a form that can be learned from.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad
from torchmetrics.functional.image import structural_similarity_index_measure

from diptych.evaluation.grid import BORDER, ROUNDING
from diptych.evaluation.natural import STRIDES
from diptych.evaluation.pixels import REACH, SIGMA

_LUMA = (0.299, 0.587, 0.114)


def dissimilarity(x: Tensor, x_hat: Tensor) -> Tensor:
    """One minus SSIM ``(B,)``, with the window of :func:`diptych.evaluation.metrics.ssim`."""
    similarity = structural_similarity_index_measure(x_hat, x, data_range=1.0, reduction="none")
    assert isinstance(similarity, Tensor)
    return 1 - similarity


def grid_excess(x: Tensor, x_hat: Tensor, strides: Sequence[int] = STRIDES) -> Tensor:
    """How much stronger the error's phase means are than those of noise like the original ``(B,)``.

    ``sum over s of ln(1 + phase score of x_hat - x at stride s)``; the logarithm, because scores run over four
    decades. The error, not the picture: a grid that the photo itself has is to stay.
    """
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
    luma = (pictures.float() * pictures.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True) * 255
    steps = torch.arange(-REACH, REACH + 1, device=luma.device)
    taps = torch.exp(-0.5 * (steps / SIGMA) ** 2)
    taps = taps / taps.sum()
    padded = pad(luma, (REACH,) * 4, mode="reflect")
    return (luma - conv2d(conv2d(padded, taps[None, None, :, None]), taps[None, None, None]))[:, 0]
