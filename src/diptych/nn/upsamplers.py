"""Upsamplers that cannot leave a grid on a flat area, in place of a trained transposed convolution.

Each starts as close to the transposed convolution as its form allows, with phases of equal gain (Sugawara's
condition, see :mod:`diptych.checkerboard.polyphase`)::

    resize    x ──repeat each pixel s x s──conv (s + 1) x (s + 1)──          Odena et al., Distill 2016
    shuffle   x ──conv 3x3 to s x s kernels, all alike at first──shuffle──   Aitken et al., 2017 (ICNR)
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Upsampler = Literal["resize", "shuffle"]


class ResizeConv(nn.Conv2d):
    """Nearest-neighbour resize by an even stride ``s``, then a convolution of ``s + 1`` taps along each axis.

    A resize repeats every pixel, so the two together are a transposed convolution whose kernel, twice its stride
    wide, is this convolution's summed over ``s`` shifts; as such they are computed, at ``1 / s`` of the memory.

    Args:
        like: the transposed convolution to start from: kernel ``2 s``, padding ``s / 2``. The start is the least
            squares fit of its kernel, which is exact where the kernel can leave no grid.
    """

    _shifts: Tensor

    def __init__(self, like: nn.ConvTranspose2d) -> None:
        super().__init__(like.in_channels, like.out_channels, like.stride[0] + 1)
        self.factor = like.stride[0]
        self.register_buffer("_shifts", _shifts(self.factor), persistent=False)
        with torch.no_grad():
            nearest = torch.linalg.pinv(self._shifts)
            self.weight.copy_(torch.einsum("ak,iokl,bl->oiab", nearest, like.weight, nearest))
            _copy_bias(like, self)

    def forward(self, x: Tensor) -> Tensor:
        shifts = self._shifts.to(self.weight.dtype)
        kernel = torch.einsum("ka,oiab,lb->iokl", shifts, self.weight, shifts)
        return nn.functional.conv_transpose2d(x, kernel, self.bias, self.factor, self.factor // 2)


class ShuffleConv(nn.Conv2d):
    """A 3x3 convolution to ``s`` x ``s`` times the channels, which become the pixels of a block (sub-pixel
    convolution, Shi et al., CVPR 2016).

    Args:
        like: the transposed convolution to start from: kernel ``2 s``, padding ``s / 2``. All pixels of a block
            start with the mean of its phases' kernels.
    """

    def __init__(self, like: nn.ConvTranspose2d) -> None:
        copies = like.stride[0] ** 2
        super().__init__(like.in_channels, like.out_channels * copies, 3, padding=1)
        self.factor = like.stride[0]
        with torch.no_grad():
            mean = _mean_phase(self.factor)
            kernel = torch.einsum("ak,iokl,bl->oiab", mean, like.weight, mean)
            self.weight.copy_(kernel.repeat_interleave(copies, 0))
            _copy_bias(like, self, copies)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(super().forward(x), self.factor)


_KINDS: dict[str, type[ResizeConv] | type[ShuffleConv]] = {"resize": ResizeConv, "shuffle": ShuffleConv}


def replace_upsamplers(network: nn.Module, kind: str) -> None:
    """Put upsamplers of another kind, initialized from them, in place of all transposed convolutions of
    ``network``.

    Raises:
        KeyError: if there is no such kind.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ConvTranspose2d):
                setattr(parent, name, _KINDS[kind](child))


def _shifts(stride: int) -> Tensor:
    """``(2 s, s + 1)``: column ``a`` is a run of ``s`` ones from row ``a`` on."""
    rows, columns = torch.arange(2 * stride)[:, None], torch.arange(stride + 1)
    return ((rows >= columns) & (rows < columns + stride)).float()


def _mean_phase(stride: int) -> Tensor:
    """``(3, 2 s)``: which of a kernel's taps see the pixel before, at and after a block's own, over ``s``."""
    first = stride // 2 - stride * torch.arange(-1, 2)[:, None]
    taps = torch.arange(2 * stride)
    return ((taps >= first) & (taps < first + stride)).float() / stride


def _copy_bias(source: nn.ConvTranspose2d, target: nn.Conv2d, copies: int = 1) -> None:
    assert source.bias is not None
    assert target.bias is not None
    target.bias.copy_(source.bias.repeat_interleave(copies))
