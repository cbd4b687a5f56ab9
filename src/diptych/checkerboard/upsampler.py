"""What the check of a network needs to know of a layer."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray


class Upsampler(NamedTuple):
    """A layer that upsamples by learned kernels.

    Attributes:
        name: of the layer.
        kind: ``transposed`` (a transposed convolution) or ``subpixel`` (a convolution before a pixel shuffle).
        weight: ``(in, out / groups, *kernel)`` of a transposed convolution, ``(out * phases, in, *kernel)`` of a
            sub-pixel one.
        bias: ``(out * phases,)`` of a sub-pixel convolution, or None.
        stride, dilation: per spatial axis.
        depth_first: whether a pixel shuffle finds the phases in the outer part of the channel number (ONNX's
            ``DCR``), not in the inner one (torch).
        known_by: what says so: ``codec`` (it is one of Diptych's), ``graph`` (ONNX), ``hint`` (the user).
    """

    name: str
    kind: str
    weight: NDArray[Any]
    bias: NDArray[Any] | None
    stride: tuple[int, ...]
    dilation: tuple[int, ...] | None
    depth_first: bool
    known_by: str
