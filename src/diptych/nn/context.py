"""Context model: latents are coded in a few passes, and each pass is predicted from those before it.

::

    z_hat ──h_s──> features, mean, scale index ──────────> pass 0: some of the latents
                      │             │
      latents so far ─┴─> context 1 ┴─(+)──> mean, scale index ──> pass 1: more of them, and so on

Which latent belongs to which pass is a table of pass numbers that repeats every 2 x 2 latents and differs from
channel to channel (Li et al., CVPR 2022 and 2023), so a pass sees neighbours in space and in channels, yet
is decoded at once. Like ``h_s``, the context networks are frozen to exact integers
(:mod:`diptych.codec.entropy`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from diptych.codec.architecture import Widths
from diptych.nn.integer import Depthwise, Pointwise


def _plain(channels: int) -> Tensor:
    return torch.zeros(channels, 2, 2, dtype=torch.uint8)


def _checkerboard(channels: int) -> Tensor:
    """Two passes; what one half of the channels codes first, the other half codes last."""
    board = torch.tensor([[0, 1], [1, 0]], dtype=torch.uint8)
    half = torch.arange(channels)[:, None, None] >= channels // 2
    return board ^ half.to(torch.uint8)


def _quadtree(channels: int) -> Tensor:
    """Four passes; in each, every quarter of the channels codes another corner of the 2 x 2 latents."""
    corners = torch.tensor([[0, 2], [3, 1]], dtype=torch.uint8)
    quarter = (4 * torch.arange(channels)[:, None, None] // channels).to(torch.uint8)
    return corners ^ quarter


SCANS: dict[str, Callable[[int], Tensor]] = {
    "plain": _plain,
    "checkerboard": _checkerboard,
    "quadtree": _quadtree,
}
"""Tables of pass numbers ``(channels, 2, 2)`` by name."""


def spread(passes: Tensor, height: int, width: int) -> Tensor:
    """Pass number of every latent ``(M, height, width)``; the table starts at the upper left corner."""
    return passes.repeat(1, -(-height // 2), -(-width // 2))[:, :height, :width]


class ContextRound(nn.Module):
    """What a later pass adds to the prediction of ``h_s``, from the latents known so far (others zero)."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        m, n = widths.latent, widths.context
        self.spatial = Depthwise(m)
        self.expand = Pointwise(m + widths.hyper, n)
        self.project = Pointwise(n, 2 * m)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, known: Tensor, features: Tensor) -> Tensor:
        """``(B, M, h, w)`` latents in quantization steps and ``h_s`` features to ``(B, 2M, h, w)`` corrections."""
        seen = torch.cat([self.spatial(known), features], 1)
        return self.project(torch.relu(self.expand(seen)))


class Context(nn.Module):
    """The rounds of all passes after the first, and the table of passes."""

    passes: Tensor

    def __init__(self, widths: Widths, passes: Tensor) -> None:
        super().__init__()
        self.register_buffer("passes", passes, persistent=False)
        self.rounds = nn.ModuleList(ContextRound(widths) for _ in range(int(passes.max())))

    def forward(
        self, y: Tensor, features: Tensor, prediction: Tensor, quantize: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Predict and quantize pass by pass.

        Args:
            y: ``(B, M, h, w)`` latents in quantization steps.
            features, prediction: from ``h_s``.
            quantize: rounds the difference of latents to their predicted means.

        Returns:
            prediction ``(B, 2M, h, w)`` of every latent in its own pass, and quantized latents ``(B, M, h, w)``.
        """
        first, which = prediction, spread(self.passes, *y.shape[2:])
        mean = first.chunk(2, 1)[0]
        y_hat = quantize(y - mean) + mean
        for number, round_ in enumerate(self.rounds, 1):
            corrected = first + round_(torch.where(which < number, y_hat, 0), features)
            prediction = torch.where((which < number).repeat(2, 1, 1), prediction, corrected)
            mean = prediction.chunk(2, 1)[0]
            y_hat = quantize(y - mean) + mean
        return prediction, y_hat
