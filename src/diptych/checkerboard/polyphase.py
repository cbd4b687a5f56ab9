"""Sugawara's condition: the phases of an upsampler's kernel must have equal DC gain.

An upsampler by ``s`` makes each of the s x s pixels of a block with a kernel of its own, its *polyphase
components*. Given a constant, pixel (i, j) of every block becomes the constant times the sum of component (i, j).
If the sums differ, a flat area gets a grid with period s (Sugawara, Shiota and Kiya, *Super-resolution using
convolutional neural networks without any checkerboard artifacts*, ICIP 2018).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diptych.checkerboard.upsampler import Upsampler

EVEN_DB = -48.0
"""Up to this share a grid on mid-grey stays below half of one of 255 levels: 20 log10(0.5 / 128)."""


class Finding(NamedTuple):
    """How unequal the phases of one upsampler are.

    Attributes:
        layer: its name in the file.
        kind: ``transposed`` or ``subpixel``.
        kernel: taps along each axis.
        stride: upsampling factor along each axis.
        known_by: as of :class:`~diptych.checkerboard.upsampler.Upsampler`.
        kernel_db: :func:`grid_share` of its kernels.
        bias_db: :func:`grid_share` of its biases, which differ by phase in a sub-pixel convolution only; None if
            there are none.
    """

    layer: str
    kind: str
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    known_by: str
    kernel_db: float
    bias_db: float | None

    @property
    def even(self) -> bool:
        """Whether the layer meets the condition."""
        return max(self.kernel_db, self.bias_db or -math.inf) <= EVEN_DB


def check(upsampler: Upsampler) -> Finding:
    """The phases of one upsampler compared."""
    name, kind, weight, bias, stride, dilation, depth_first, known_by = upsampler
    if kind == "transposed":
        gains, biases = phase_gains(weight, stride, dilation), None
    else:
        gains = _channels_by_phase(weight.sum(axis=tuple(range(2, weight.ndim))), stride, depth_first)
        biases = None if bias is None else _channels_by_phase(bias, stride, depth_first)
    return Finding(
        name,
        kind,
        weight.shape[2:],
        stride,
        known_by,
        grid_share(gains),
        None if biases is None else grid_share(biases),
    )


def phase_gains(
    weight: NDArray[np.floating], stride: Sequence[int], dilation: Sequence[int] | None = None
) -> NDArray[np.float64]:
    """DC gains of the phases of a transposed convolution.

    Args:
        weight: ``(in, out, *kernel)``, any number of spatial axes. Padding does not matter: it moves the phases
            without changing them.
        stride: per spatial axis.
        dilation: per spatial axis; None for 1.

    Returns:
        ``(in, out, phases)``: the sum of the taps that make each pixel of a block.
    """
    gains: NDArray[Any] = weight.astype(np.float64)
    for axis, (step, spread) in enumerate(zip(stride, dilation or [1] * len(stride), strict=True), start=2):
        phase = np.arange(gains.shape[axis]) * spread % step
        parts = [gains.compress(phase == number, axis).sum(axis) for number in range(step)]
        gains = np.stack(parts, axis)
    return gains.reshape(*gains.shape[:2], -1)


def grid_share(gains: NDArray[np.floating]) -> float:
    """How much of what a layer makes of constants is a grid, in dB.

    Given independent constants of equal power in all input channels, this is the energy that varies over the
    phases over all energy: -inf where all phases are equal, 0 where nothing but a grid comes out. Kernels drawn
    at random are at 10 log10(1 - 1 / phases): -1.2 dB for stride 2.

    Args:
        gains: ``(..., phases)``. Pairs of channels count by their energy.
    """
    values = np.asarray(gains, np.float64)
    total = float((values**2).sum())
    varying = float(((values - values.mean(axis=-1, keepdims=True)) ** 2).sum())
    return 10 * math.log10(varying / total) if varying > 1e-20 * total else -math.inf


def _channels_by_phase(
    values: NDArray[np.floating], stride: tuple[int, ...], depth_first: bool
) -> NDArray[np.float64]:
    """Output channels, the first axis, as ``(..., channels, phases)``: how a pixel shuffle reads them."""
    phases = math.prod(stride)
    if depth_first:
        return np.moveaxis(values.astype(np.float64).reshape(phases, -1, *values.shape[1:]), 0, -1)
    return np.moveaxis(values.astype(np.float64).reshape(-1, phases, *values.shape[1:]), 1, -1)
