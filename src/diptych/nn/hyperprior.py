"""Mean-scale hyperprior (Minnen et al., NeurIPS 2018); files are coded by its integers.

::

    y ──h_a──> z ──round──> z_hat ──h_s──> mean, scale index        one of each for every latent

Passes after the first correct both by what is known already: see :mod:`diptych.nn.context`. Latents arrive
scaled by the quality's gains, in units of the quantization step; so do the means that leave. The prior of
``z`` is a Gaussian whose mean and scale index are stored per channel and quality knot. Both priors share the
64 tables of :mod:`diptych.bitstream.coder`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diptych.bitstream.coder import SCALES
from diptych.codec.architecture import QUALITY_KNOTS, Widths
from diptych.codec.entropy import INDEX_GAIN, INDEX_START, LEVELS
from diptych.nn.integer import Depthwise, Pointwise


def scale_of(index: Tensor) -> Tensor:
    """Standard deviation, in quantization steps, at a (fractional) scale index."""
    low, high = float(SCALES[0]), float(SCALES[-1])
    return low * (high / low) ** (index.clamp(0, LEVELS - 1) / (LEVELS - 1))


class HyperAnalysis(nn.Module):
    """``h_a``: scaled latents ``(B, M, h, w)`` to hyper-latents ``(B, Nz, h/4, w/4)``, h and w multiples of 4."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        n = widths.hyper_latent
        self.first = nn.Conv2d(widths.latent, widths.hyper_analysis, 3, stride=2, padding=1)
        self.second = nn.Conv2d(widths.hyper_analysis, n, 3, stride=2, padding=1)
        self.mix = nn.Conv2d(n, n, 1)

    def forward(self, y: Tensor) -> Tensor:
        return self.mix(torch.relu(self.second(torch.relu(self.first(y)))))


class HyperSynthesis(nn.Module):
    """``h_s``: hyper-latents ``(B, Nz, h/4, w/4)`` to features ``(B, N, h, w)`` and a prediction ``(B, 2M, h, w)``.

    Three rounds of depthwise 3x3, pointwise, ReLU, pointwise; the first two end in a pixel shuffle. Features are
    what the last pointwise layer sees.
    """

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        z, n, m = widths.hyper_latent, widths.hyper, widths.latent
        self.spatial = nn.ModuleList(Depthwise(c) for c in (z, z, z))
        self.expand = nn.ModuleList(Pointwise(z, n) for _ in range(3))
        self.project = nn.ModuleList(Pointwise(n, c) for c in (4 * z, 4 * z, 2 * m))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        for round_ in range(3):
            features = torch.relu(self.expand[round_](self.spatial[round_](z)))
            z = self.project[round_](features)
            if round_ < 2:
                z = nn.functional.pixel_shuffle(z, 2)
        return features, z


def split(prediction: Tensor) -> tuple[Tensor, Tensor]:
    """Means and fractional scale indices ``(B, M, h, w)`` of a prediction ``(B, 2M, h, w)``."""
    mean, index = prediction.chunk(2, 1)
    return mean, index * INDEX_GAIN + INDEX_START


class HyperLatentPrior(nn.Module):
    """Mean and scale index of every hyper-latent channel at each quality knot."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(QUALITY_KNOTS, channels))
        self.index = nn.Parameter(torch.full((QUALITY_KNOTS, channels), INDEX_START / INDEX_GAIN))

    @staticmethod
    def knot(quality: Tensor) -> Tensor:
        """Nearest knot, the one whose integers are stored; halves go up."""
        return (quality * (QUALITY_KNOTS - 1) / 100 + 0.5).floor().long().clamp(0, QUALITY_KNOTS - 1)

    def forward(self, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Means and fractional scale indices, each ``(B, Nz, 1, 1)``."""
        knot = self.knot(quality)
        return self.mean[knot][:, :, None, None], self.index[knot][:, :, None, None] * INDEX_GAIN
