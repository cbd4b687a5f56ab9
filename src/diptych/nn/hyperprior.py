"""Mean-scale hyperprior (Minnen et al., NeurIPS 2018) whose synthesis half can be frozen to exact integers.

::

    y ──h_a──> z ──round──> z_hat ──h_s──> mean, scale index        one of each for every latent

Passes after the first correct both by what is known already: see :mod:`diptych.nn.context`. Latents arrive
scaled by the quality's gains, in units of the quantization step; so do the means that leave. The prior of
``z`` is a Gaussian whose mean and scale index are stored per channel and quality knot. Both priors share the
64 tables of :mod:`diptych.bitstream.tables`.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from diptych.bitstream.tables import SCALES
from diptych.nn.context import Context, correction
from diptych.nn.integer import (
    ACTIVATION_BITS,
    ONE,
    Depthwise,
    IntegerLayer,
    Pointwise,
    check_exact,
    depthwise,
    pointwise,
)
from diptych.nn.transforms import QUALITY_KNOTS, Widths

HYPER_STRIDE = 4
"""Latents per hyper-latent, each way."""
LEVELS = len(SCALES)
INDEX_GAIN = 8
INDEX_START = 24


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

    def freeze(self) -> list[IntegerLayer]:
        """Integer layers in the order of execution."""
        rounds = zip(self.spatial, self.expand, self.project, strict=True)
        return [cast(Pointwise | Depthwise, layer).freeze() for layers in rounds for layer in layers]


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


class FrozenHyperprior(NamedTuple):
    """Everything that turns symbols into distributions, in integers; what a model id is the hash of.

    Attributes:
        layers: the nine integer layers of ``h_s``.
        context: three more for every pass after the first.
        passes: ``(M, 2, 2)`` uint8, see :mod:`diptych.nn.context`.
        prior_mean: ``(QUALITY_KNOTS, Nz)`` int32, in units of ``1 / ONE``.
        prior_index: ``(QUALITY_KNOTS, Nz)`` uint8 table numbers.
    """

    layers: list[IntegerLayer]
    context: list[list[IntegerLayer]]
    passes: Tensor
    prior_mean: Tensor
    prior_index: Tensor

    @classmethod
    def of(cls, prior: HyperLatentPrior, h_s: HyperSynthesis, context: Context) -> FrozenHyperprior:
        """Freeze a trained hyperprior and its context model."""
        mean = torch.round(prior.mean.detach().double() * ONE).int()
        index = torch.round(prior.index.detach().double() * INDEX_GAIN).clamp(0, LEVELS - 1).to(torch.uint8)
        frozen = cls(h_s.freeze(), context.freeze(), context.passes, mean, index)
        frozen.check()
        return frozen

    def check(self) -> None:
        """Raise ModelError unless all arithmetic is provably exact."""
        for layer in [*self.layers, *(layer for layers in self.context for layer in layers)]:
            check_exact(layer)

    def start(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """``h_s`` in exact integers.

        Args:
            z: ``(Nz, h/4, w/4)`` float64 holding integers in units of ``1 / ONE``.

        Returns:
            features ``(N, h, w)`` and prediction ``(2M, h, w)``, float64 integers in units of ``1 / ONE``.
        """
        for round_ in range(3):
            spatial, expand, project = self.layers[3 * round_ : 3 * round_ + 3]
            features = pointwise(depthwise(z, spatial), expand).clamp(min=0)
            z = pointwise(features, project)
            if round_ < 2:
                z = nn.functional.pixel_shuffle(z, 2)
        return features, z

    def distributions(
        self, number: int, known: Tensor, features: Tensor, prediction: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Means ``(M, h, w)``, float64 integers in units of ``1 / ONE``, and table numbers ``(M, h, w)`` uint8.

        Args:
            number: of the pass; of what is returned, its latents alone count.
            known: ``(M, h, w)`` latents of all earlier passes in units of ``1 / ONE``, zero elsewhere.
            features, prediction: from :meth:`start`.
        """
        if number:
            prediction = prediction + correction(known, features, self.context[number - 1])
        mean, index = prediction.chunk(2)
        index = index * INDEX_GAIN + INDEX_START * ONE
        index = torch.floor((index + ONE // 2) * 2.0**-ACTIVATION_BITS).clamp(0, LEVELS - 1)
        return mean, index.to(torch.uint8)
