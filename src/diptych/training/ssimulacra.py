"""What people see of an error: the sum inside SSIMULACRA 2.1 (Sneyers, 2023), in a form that can be learned from.

::

    x, x_hat ──linear light──XYB──┬─> 1 - SSIM                       ┐  mean and 4-norm over the picture,
                  (6 scales)      ├─> edges that were not there      ├─ weighted per channel and scale, summed
                                  └─> edges that are no longer there ┘

The score that tools print is a falling function of this sum. The weights come from the package ``ssimulacra2``.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, pad

SCALES = 6
SMALLEST = 8
"""A scale with a shorter side is left out, as in the tool (which then shifts its weights)."""
_STABLE = 0.0009
_BIAS = 0.0037930732552754493
_ABSORBED = (
    (0.30, 0.622, 0.078),
    (0.23, 0.692, 0.078),
    (0.24342268924547819, 0.20476744424496821, 0.55180986650955360),
)
"""How much of red, green and blue each kind of cone absorbs (JPEG XL's opsin matrix)."""
_REACH, _SIGMA = 5, 1.5
_DARKEST = 1e-5
"""The slope of the cube root is infinite in black."""


class Ssimulacra(nn.Module):
    """The weighted error sum of each picture, sRGB ``(B, 3, H, W)`` in 0..1: ``(B,)``, 0 where two agree."""

    table: Tensor
    taps: Tensor
    absorbed: Tensor

    def __init__(self) -> None:
        super().__init__()
        from ssimulacra2.ssimulacra2 import weights

        table = torch.tensor(np.asarray(weights, np.float32)).view(3, SCALES, 2, 3).permute(1, 2, 3, 0)
        self.register_buffer("table", table.contiguous(), persistent=False)  # scale, norm, kind, channel
        taps = torch.exp(-0.5 * (torch.arange(-_REACH, _REACH + 1) / _SIGMA) ** 2)
        self.register_buffer("taps", taps / taps.sum(), persistent=False)
        self.register_buffer("absorbed", torch.tensor(_ABSORBED)[:, :, None, None], persistent=False)

    def forward(self, x: Tensor, x_hat: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            a, b = _linear_light(x.float()), _linear_light(x_hat.float())
            total = torch.zeros_like(a[:, 0, 0, 0])
            for weights in self.table:
                total = total + self._scale(self._xyb(a), self._xyb(b), weights)
                a, b = avg_pool2d(a, 2, ceil_mode=True), avg_pool2d(b, 2, ceil_mode=True)
                if min(a.shape[2:]) < SMALLEST:
                    break
            return total

    def _scale(self, p: Tensor, q: Tensor, weights: Tensor) -> Tensor:
        m1, m2, s11, s22, s12 = self._blur(torch.cat([p, q, p * p, q * q, p * q], 1)).chunk(5, 1)
        likeness = (1 - (m1 - m2) ** 2) * (2 * (s12 - m1 * m2) + _STABLE)
        unlike = (1 - likeness / ((s11 - m1 * m1) + (s22 - m2 * m2) + _STABLE)).clamp(min=0)
        edges = (1 + (q - m2).abs()) / (1 + (p - m1).abs()) - 1
        planes = torch.stack([unlike, edges.clamp(min=0), (-edges).clamp(min=0)], 1)
        # Below the smallest fourth power the root's slope is infinite.
        fourth = (planes**4).mean((3, 4)).clamp(min=1e-20) ** 0.25
        return (torch.stack([planes.mean((3, 4)), fourth], 1) * weights).sum((1, 2, 3))

    def _xyb(self, linear: Tensor) -> Tensor:
        """Opponent colours, moved to where they are positive."""
        cones = (conv2d(linear, self.absorbed) + _BIAS).clamp(min=_DARKEST) ** (1 / 3) - _BIAS ** (1 / 3)
        long, medium, short = cones.unbind(1)
        x, y = 0.5 * (long - medium), 0.5 * (long + medium)
        return torch.stack([14 * x + 0.42, y + 0.01, short - y + 0.55], 1)

    def _blur(self, planes: Tensor) -> Tensor:
        count = planes.shape[1]
        planes = pad(planes, (_REACH,) * 4, mode="reflect")
        planes = conv2d(planes, self.taps.view(1, 1, -1, 1).expand(count, 1, -1, 1), groups=count)
        return conv2d(planes, self.taps.view(1, 1, 1, -1).expand(count, 1, 1, -1), groups=count)


def _linear_light(srgb: Tensor) -> Tensor:
    srgb = srgb.clamp(0, 1)
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)
