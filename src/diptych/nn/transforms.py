"""Analysis transform ``g_a`` and synthesis transform ``g_s``.

Nearly all the arithmetic sits at 1/8 of the picture's size, in residual blocks of one depthwise and two
pointwise convolutions: on a CPU these learn most per second of training.

::

    x ──space-to-depth 4──conv s2──[block]x4──conv s2──[block]x2── y          g_a   (3, H, W) -> (M, H/16, W/16)

    y_hat ──conv──[block]x2──T s2──[block]x4──T s2──[block]──T s4── x_hat      g_s   (M, H/16, W/16) -> (3, H, W)
           └─ latent ─────┘ └─ eighth ───┘ └─ quarter ──┘ └ pixel ┘           stages, "T" a transposed convolution
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

import torch
from torch import Tensor, nn

from diptych.codec.architecture import QUALITY_KNOTS, Widths

Network = TypeVar("Network", bound=nn.Module)


def channels_last(network: Network) -> Network:
    """``network`` with its kernels in channels-last layout, the fastest on CPUs and GPUs alike."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def knot_weights(quality: Tensor) -> Tensor:
    """Linear interpolation weights of each quality over the knots.

    Args:
        quality: ``(B,)`` float, 0 .. 100.

    Returns:
        ``(B, QUALITY_KNOTS)``, rows sum to one.
    """
    position = quality.clamp(0, 100)[:, None] * (QUALITY_KNOTS - 1) / 100
    knots = torch.arange(QUALITY_KNOTS, device=quality.device, dtype=position.dtype)
    return (1 - (position - knots).abs()).clamp(min=0)


class QualityBias(nn.Module):
    """Adds a learned per-channel offset that depends on quality, so one transform serves every rate."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.knots = nn.Parameter(torch.zeros(QUALITY_KNOTS, channels))

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        offset = knot_weights(quality).to(self.knots.dtype) @ self.knots
        return x + offset[:, :, None, None].to(x.dtype)


class Pointwise(nn.Conv2d):
    """A 1x1 convolution, run as a dilated one on a CPU: the same with a single tap, but an undilated one of one
    picture on one thread PyTorch gives to a loop of half oneDNN's speed."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight, self.bias, dilation=1 if x.is_cuda else 2)


class Block(nn.Module):
    """Residual block: depthwise 3x3, pointwise to twice the channels, ReLU, pointwise back."""

    def __init__(self, channels: int, expansion: int = 2) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.expand = Pointwise(channels, expansion * channels)
        self.project = Pointwise(expansion * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.expand(self.spatial(x)).relu_()).add_(x)


class ToPixels(nn.ConvTranspose2d):
    """Transposed convolution to few channels, of a kernel twice its stride ``s`` and padding ``s / 2``.

    Every output depends on 2x2 inputs, so a 2x2 convolution finds the ``s x s`` outputs between four inputs at
    once, by the same products; on CPUs that takes a third of the time.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, 2 * stride, stride, stride // 2)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        assert output_size is None
        assert self.bias is not None
        s, edge = self.stride[0], self.stride[0] // 2
        taps = self.weight.unflatten(3, (2, s)).unflatten(2, (2, s)).flip(2, 4).permute(3, 5, 1, 0, 2, 4)
        kernel = taps.flatten(0, 2).contiguous(memory_format=torch.channels_last)
        squares = nn.functional.conv2d(x, kernel, self.bias.repeat(s * s), padding=1)
        rows = squares.permute(0, 2, 3, 1).unflatten(3, (s, -1)).transpose(2, 3)
        pixels = rows.flatten(3).unflatten(3, (-1, self.out_channels)).flatten(1, 2)
        return pixels[:, edge:-edge, edge:-edge].permute(0, 3, 1, 2)


class Analysis(nn.Module):
    """``g_a``: picture to latents.

    Input ``(B, 3, H, W)`` in 0..1 with H and W multiples of 16, and ``(B,)`` qualities; output
    ``(B, M, H/16, W/16)``, not yet scaled by the quality's gains.
    """

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        n, m = widths.eighth, widths.latent
        self.unshuffle = nn.PixelUnshuffle(4)
        self.front = nn.Conv2d(48, n, 3, stride=2, padding=1)
        self.quality = QualityBias(n)
        self.eighth = nn.Sequential(*(Block(n) for _ in range(4)))
        self.down = nn.Conv2d(n, m, 3, stride=2, padding=1)
        self.latent = nn.Sequential(*(Block(m) for _ in range(2)))

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        x = self.quality(self.front(self.unshuffle(x - 0.5)), quality)
        return self.latent(self.down(self.eighth(x)))


class Synthesis(nn.Module):
    """``g_s``: latents to picture, in named stages.

    Input ``(B, M, h, w)`` and ``(B,)`` qualities; output ``(B, 3, 16h, 16w)``, nominally 0..1, not clamped.
    "The first layers" of the paper are a prefix of :attr:`stages`; each stage after the first starts with
    the transposed convolution that doubles (the last: quadruples) the resolution.
    """

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        m, n, k = widths.latent, widths.eighth, widths.quarter
        self.quality = QualityBias(m)
        self.stages = nn.Sequential(
            OrderedDict(
                latent=nn.Sequential(Pointwise(m, m), Block(m), Block(m)),
                eighth=nn.Sequential(nn.ConvTranspose2d(m, n, 4, 2, 1), *(Block(n) for _ in range(4))),
                quarter=nn.Sequential(nn.ConvTranspose2d(n, k, 4, 2, 1), Block(k)),
                pixel=ToPixels(k, 3, 4),
            )
        )

    def forward(self, y: Tensor, quality: Tensor) -> Tensor:
        return self.stages(self.quality(y, quality)).float() + 0.5


class Gains(nn.Module):
    """Per-channel gain of each quality and, separately learned, its inverse (Cui et al., CVPR 2021).

    Latents are multiplied by the gain before quantization and by the inverse gain after it; a larger gain
    is a finer quantizer.
    """

    def __init__(self, channels: int, log_range: float) -> None:
        super().__init__()
        start = torch.linspace(-log_range / 2, log_range / 2, QUALITY_KNOTS)[:, None].repeat(1, channels)
        self.log_gain = nn.Parameter(start.clone())
        self.log_inverse = nn.Parameter(-start.clone())

    def gain(self, quality: Tensor) -> Tensor:
        """``(B, M, 1, 1)`` factors applied before quantization."""
        return (knot_weights(quality) @ self.log_gain.float()).exp()[:, :, None, None]

    def inverse(self, quality: Tensor) -> Tensor:
        """``(B, M, 1, 1)`` factors applied to the quantized latents."""
        return (knot_weights(quality) @ self.log_inverse.float()).exp()[:, :, None, None]
