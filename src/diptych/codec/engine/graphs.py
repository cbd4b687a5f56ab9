"""The float networks, written once for all engines: ``g_a`` and ``g_s`` as operations on an engine's nodes.

::

    cells ──conv s2──[block]x4──conv s2──[block]x2── y                       g_a   (H/4, W/4, 48) -> (M, H/16, W/16)

    y_hat ──conv──[block]x2──T s2──[block]x4──T s2──[block]──conv 2x2── corners
                                                              g_s   (M, H/16, W/16) -> (H/4 + 1, W/4 + 1, 48)

Pictures are taken apart, and put together, as cells of 4 x 4 pixels, whose 48 numbers are in the order row, column,
channel. The last layer of ``g_s`` is a transposed convolution of stride 4 and an 8 x 8 kernel, every output of
which depends on 2 x 2 inputs: a 2 x 2 convolution finds the 4 x 4 pixels between four inputs at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
CELL = 4
"""Side, in pixels, of the cells that pictures are made of."""
CELLS = 4
"""Cells along a side of a latent."""

Function = Callable[..., list[NDArray[np.float32]]]
"""From a graph's inputs to its outputs."""


class Operations(Protocol):
    """What an engine can do with its nodes, which are ``(1, C, h, w)`` floats."""

    def floats(self, cells: Any) -> Any:
        """Cells ``(1, h, w, C)`` of 8 bits as ``(1, C, h, w)`` in -0.5..0.5."""
        ...

    def convolve(self, x: Any, weight: Any, bias: Any, stride: int = 1, padding: int = 0) -> Any: ...

    def depthwise(self, x: Any, weight: Any, bias: Any, stride: int = 1) -> Any:
        """With a kernel of odd sides, padded by half of them."""
        ...

    def upsample(self, x: Any, weight: Any, bias: Any) -> Any:
        """Transposed convolution of stride 2: kernel 4 and padding 1, or kernel 2 and none."""
        ...

    def relu(self, x: Any) -> Any: ...

    def relu6(self, x: Any) -> Any:
        """Clipped to 0..6."""
        ...

    def add(self, a: Any, b: Any) -> Any: ...

    def cells(self, x: Any) -> Any:
        """``(1, C, h, w)`` as float32 ``(1, h, w, C)``."""
        ...


class Input(NamedTuple):
    """What a graph takes in.

    Attributes:
        name: for formats in which inputs have one.
        kind: of its numbers.
        shape: -1 where it may have any length.
    """

    name: str
    kind: type
    shape: tuple[int, ...]


class Graph(NamedTuple):
    """A network.

    Attributes:
        apply: from operations, weights (an engine's own) and inputs to the outputs.
        inputs: the first one holds the picture, or what has become of it.
        float32: whether an engine may not round to 16 bits.
    """

    apply: Callable[..., tuple[Any, ...]]
    inputs: tuple[Input, ...]
    float32: bool = False


class Engine(Protocol):
    """Something that can run a graph; a codec that was opened is kept by the engine it runs on."""

    name: str
    batch: int
    """Pictures that one call computes, at most: more than one where that is faster than one after the other."""

    def __hash__(self) -> int: ...

    def compile(self, graph: Graph, weights: Arrays) -> Function:
        """The graph with these weights as a function, which threads may share."""
        ...


def analysis(weights: Arrays) -> tuple[Graph, Arrays]:
    """``g_a`` and its weights as the graph wants them, from float32 weights by their names inside it."""
    front = weights["front.weight"]
    cells = front.reshape(len(front), 3, CELL, CELL, 3, 3).transpose(0, 2, 3, 1, 4, 5).reshape(front.shape)
    pixels = Input("x", np.uint8, (1, -1, -1, 3 * CELL**2))
    return Graph(_analysis, (pixels, _offset(len(front)))), {**weights, "front.weight": np.ascontiguousarray(cells)}


def synthesis(weights: Arrays) -> tuple[Graph, Arrays]:
    """``g_s`` and its weights as the graph wants them; its output is in -0.5..0.5 where it is to be shown."""
    kernel, bias = weights["stages.pixel.weight"], weights["stages.pixel.bias"]
    inputs, outputs = kernel.shape[:2]
    taps = kernel.reshape(inputs, outputs, 2, CELL, 2, CELL)[:, :, ::-1, :, ::-1]
    corners = taps.transpose(3, 5, 1, 0, 2, 4).reshape(CELL**2 * outputs, inputs, 2, 2)
    latents = len(weights["stages.latent.0.weight"])
    pixel = {"stages.pixel.weight": np.ascontiguousarray(corners), "stages.pixel.bias": np.tile(bias, CELL**2)}
    y_hat = Input("x", np.float32, (1, latents, -1, -1))
    return Graph(_synthesis, (y_hat, _offset(latents))), {**weights, **pixel}


def _offset(channels: int) -> Input:
    """What a quality adds to each channel."""
    return Input("offset", np.float32, (1, channels, 1, 1))


def _analysis(ops: Operations, w: Mapping[str, Any], cells: Any, offset: Any) -> tuple[Any]:
    x = _convolve(ops, w, "front", ops.floats(cells), 2, 1)
    x = _blocks(ops, w, "eighth", range(4), ops.add(x, offset))
    return (_blocks(ops, w, "latent", range(2), _convolve(ops, w, "down", x, 2, 1)),)


def _synthesis(ops: Operations, w: Mapping[str, Any], y_hat: Any, offset: Any) -> tuple[Any]:
    x = _convolve(ops, w, "stages.latent.0", ops.add(y_hat, offset))
    x = _blocks(ops, w, "stages.latent", range(1, 3), x)
    for stage, blocks in (("eighth", range(1, 5)), ("quarter", range(1, 2))):
        name = f"stages.{stage}"
        x = ops.upsample(x, w[f"{name}.0.weight"], w[f"{name}.0.bias"])
        x = _blocks(ops, w, name, blocks, x)
    return (ops.cells(_convolve(ops, w, "stages.pixel", x, padding=1)),)


def _blocks(ops: Operations, w: Mapping[str, Any], stage: str, numbers: range, x: Any) -> Any:
    """Residual blocks: depthwise 3x3, pointwise to twice the channels, ReLU, pointwise back."""
    for number in numbers:
        name = f"{stage}.{number}"
        mixed = ops.depthwise(x, w[f"{name}.spatial.weight"], w[f"{name}.spatial.bias"])
        hidden = ops.relu(_convolve(ops, w, f"{name}.expand", mixed))
        x = ops.add(_convolve(ops, w, f"{name}.project", hidden), x)
    return x


def _convolve(ops: Operations, w: Mapping[str, Any], name: str, x: Any, stride: int = 1, padding: int = 0) -> Any:
    return ops.convolve(x, w[f"{name}.weight"], w[f"{name}.bias"], stride, padding)
