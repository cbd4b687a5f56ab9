"""The whole codec as one trainable module."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from diptych.codec.architecture import HYPER_STRIDE, STRIDE, Widths
from diptych.nn.context import SCANS, Context
from diptych.nn.hyperprior import HyperAnalysis, HyperLatentPrior, HyperSynthesis, scale_of, split
from diptych.nn.transforms import Analysis, Gains, Synthesis

ALIGNMENT = STRIDE * HYPER_STRIDE
"""Training pictures have sides that are multiples of this many pixels."""
DEFAULT_SCAN = "checkerboard"


class Coded(NamedTuple):
    """What a training pass returns.

    Attributes:
        x_hat: ``(B, 3, H, W)`` decoded picture, nominally 0..1, not clamped.
        bits: ``(B,)`` estimated size of latents and hyper-latents.
        y_hat: ``(B, M, h, w)`` quantized latents, gains undone: the input of ``g_s``.
    """

    x_hat: Tensor
    bits: Tensor
    y_hat: Tensor


def straight_round(x: Tensor) -> Tensor:
    """Round with the gradient of the identity."""
    return x + (x.round() - x).detach()


def gaussian_bits(residual: Tensor, scale: Tensor) -> Tensor:
    """Bits of each ``residual``, known to within one quantization step, under a zero-mean Gaussian."""
    magnitude = residual.abs()
    upper = torch.special.ndtr((0.5 - magnitude) / scale)
    lower = torch.special.ndtr((-0.5 - magnitude) / scale)
    return -(upper - lower).clamp(min=1e-7).log2()


class CodecModel(nn.Module):
    """Variable-rate mean-scale hyperprior codec.

    ::

        x ──g_a──> y ──gain──> round(y - mean) + mean ──inverse gain──> y_hat ──g_s──> x_hat
                     └──h_a──> round(z) ──h_s, context──> mean, scale

    Args:
        widths: channel counts.
        passes: ``(M, 2, 2)`` uint8, which latents are coded in which pass; None for the default scan.
    """

    def __init__(self, widths: Widths | None = None, passes: Tensor | None = None) -> None:
        super().__init__()
        self.widths = widths or Widths()
        self.g_a = Analysis(self.widths)
        self.g_s = Synthesis(self.widths)
        self.h_a = HyperAnalysis(self.widths)
        self.h_s = HyperSynthesis(self.widths)
        self.context = Context(self.widths, SCANS[DEFAULT_SCAN](self.widths.latent) if passes is None else passes)
        self.prior = HyperLatentPrior(self.widths.hyper_latent)
        self.gains = Gains(self.widths.latent, log_range=2.85)

    def forward(self, x: Tensor, quality: Tensor) -> Coded:
        """Code ``x`` ``(B, 3, H, W)`` in 0..1 at each picture's quality ``(B,)``.

        Rate sees uniform noise in place of rounding, distortion sees rounding with a straight-through
        gradient (Minnen & Singh, ICIP 2020).
        """
        y = self.g_a(x, quality).float()
        with torch.autocast(x.device.type, enabled=False):
            y = y * self.gains.gain(quality)
            z = self.h_a(y)
            z_mean, z_index = self.prior(quality)
            bits = self._bits(z - z_mean, scale_of(z_index.expand_as(z)))
            features, prediction = self.h_s(straight_round(z - z_mean) + z_mean)
            prediction, y_hat = self.context(y, features, prediction, straight_round)
            mean, index = split(prediction)
            bits = bits + self._bits(y - mean, scale_of(index))
            y_hat = y_hat * self.gains.inverse(quality)
        return Coded(self.g_s(y_hat, quality).float(), bits, y_hat)

    def quantized(self, x: Tensor, quality: Tensor) -> Tensor:
        """``y_hat`` ``(B, M, h, w)`` of ``x`` as a decoder would get it, gains undone."""
        y = self.g_a(x, quality).float()
        with torch.autocast(x.device.type, enabled=False):
            y = y * self.gains.gain(quality)
            z_mean, _ = self.prior(quality)
            features, prediction = self.h_s((self.h_a(y) - z_mean).round() + z_mean)
            return self.context(y, features, prediction, torch.round)[1] * self.gains.inverse(quality)

    def _bits(self, residual: Tensor, scale: Tensor) -> Tensor:
        noise = torch.rand_like(residual) - 0.5
        return gaussian_bits(residual + noise, scale).flatten(1).sum(1)
