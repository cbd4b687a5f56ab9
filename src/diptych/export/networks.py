"""The two halves of a codec as ONNX: all that lies between pixels and latents.

::

    pixels ──fill to 16──cells──g_a──gain──> y ──fill to 4──h_a──> z                                    encoder.onnx
    values ──/256──inverse gain──> y_hat ──g_s──cells──> pixels                                        view-*.onnx
                    quality ──> gains, offsets of g_a and g_s

``g_a`` and ``g_s`` are those of :mod:`diptych.codec.engine.graphs`, written once for all engines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diptych.codec.architecture import HYPER_STRIDE, QUALITY_KNOTS, STRIDE
from diptych.codec.engine.graphs import CELL, Arrays, Input, analysis, synthesis
from diptych.codec.entropy import ONE
from diptych.codec.weights import FrozenCodec
from diptych.errors import extra

with extra("onnx", "an export"):
    import onnx
    from onnx import TensorProto

    from diptych.codec.engine.onnx import Nodes

Size = tuple[int, int]
QUALITY = Input("quality", np.float32, (1,))


class Form(NamedTuple):
    """How graphs are written.

    Attributes:
        size: height and width of the pictures in pixels; None for any.
        half: whether convolutions are in float16.
    """

    size: Size | None = None
    half: bool = False


def encoder(frozen: FrozenCodec, form: Form) -> onnx.ModelProto:
    """``pixels`` uint8 (1, H, W, 3) and ``quality`` float32 (1,), 0..100, to ``y`` and ``z``.

    These are what :meth:`diptych.codec.entropy.EntropyModel.encode` codes: float32 (1, M, h, w), where h and w are
    H / 16 and W / 16 rounded up, and (1, Nz, h / 4, w / 4), rounded up.
    """
    weights = frozen.network("g_a")
    graph, prepared = analysis(weights)
    nodes = _Nodes(prepared, form.half)
    full = nodes.node("Cast", "pixels", to=TensorProto.FLOAT)
    planes = nodes.filled(nodes.node("Transpose", full, perm=[0, 3, 1, 2]), STRIDE, form.size)
    [latents] = graph.apply(nodes, nodes.names, planes, nodes.narrow(nodes.at_quality(weights["quality.knots"])))
    gain = nodes.node("Exp", nodes.at_quality(frozen.network("gains")["log_gain"]))
    y = nodes.node("Mul", nodes.wide(latents), gain, name="y")
    size = _latents(form.size)
    _hyper_analysis(nodes, frozen.network("h_a"), nodes.filled(y, HYPER_STRIDE, size))
    height, width = form.size or (-1, -1)
    hyper = tuple(math.ceil(side / HYPER_STRIDE) for side in size) if size else (-1, -1)
    pixels = Input("pixels", np.uint8, (1, height, width, 3))
    outputs = [
        Input("y", np.float32, (1, frozen.widths.latent, *(size or (-1, -1)))),
        Input("z", np.float32, (1, frozen.widths.hyper_latent, *hyper)),
    ]
    return nodes.model([pixels, QUALITY], outputs)


def view(frozen: FrozenCodec, weights: Arrays, form: Form) -> onnx.ModelProto:
    """``values`` int32 (1, M, h, w) and ``quality`` float32 (1,) to ``pixels`` uint8 (1, 16 h, 16 w, 3), of which a
    picture is the upper left part; the values are those of :meth:`diptych.codec.entropy.EntropyModel.decode`.

    Args:
        frozen: the codec.
        weights: of ``g_s`` in this view.
        form: of the graph.
    """
    graph, prepared = synthesis(weights)
    nodes = _Nodes(prepared, form.half)
    inverse = nodes.node("Exp", nodes.at_quality(frozen.network("gains")["log_inverse"]))
    steps = nodes.node("Mul", nodes.node("Cast", "values", to=TensorProto.FLOAT), nodes.constant(1 / ONE))
    y_hat = nodes.narrow(nodes.node("Mul", steps, inverse))
    graph.apply(nodes, nodes.names, y_hat, nodes.narrow(nodes.at_quality(weights["quality.knots"])))
    height, width = _latents(form.size) or (-1, -1)
    values = Input("values", np.int32, (1, frozen.widths.latent, height, width))
    sides = (STRIDE * height, STRIDE * width) if form.size else (-1, -1)
    return nodes.model([values, QUALITY], [Input("pixels", np.uint8, (1, *sides, 3))])


class _Nodes(Nodes):
    """Operations on pictures rather than cells, in float16 or float32."""

    def __init__(self, weights: Mapping[str, NDArray[Any]], half: bool) -> None:
        kept = {name: array for name, array in weights.items() if name != "quality.knots"}
        super().__init__({name: array.astype(np.float16) if half else array for name, array in kept.items()})
        self._half = half
        self.names = {name: name for name in weights}

    def constant(self, value: Any, kind: type = np.float32) -> str:
        name = f"constant{len(self.constants)}"
        self.constants[name] = np.array(value, kind)
        return name

    def narrow(self, x: str) -> str:
        return self.node("Cast", x, to=TensorProto.FLOAT16) if self._half else x

    def wide(self, x: str) -> str:
        return self.node("Cast", x, to=TensorProto.FLOAT) if self._half else x

    def at_quality(self, knots: NDArray[np.float32]) -> str:
        """Channels ``(1, C, 1, 1)`` of a table ``(QUALITY_KNOTS, C)`` at the quality, interpolated."""
        places = self.constant(np.linspace(0, 100, QUALITY_KNOTS)[None])
        step = self.constant((QUALITY_KNOTS - 1) / 100)
        apart = self.node("Mul", self.node("Abs", self.node("Sub", "quality", places)), step)
        shares = self.node("Relu", self.node("Sub", self.constant(1), apart))
        found = self.node("MatMul", shares, self.constant(knots))
        return self.node("Reshape", found, self.constant([1, -1, 1, 1], np.int64))

    def filled(self, x: str, multiple: int, size: Size | None) -> str:
        """``(1, C, h, w)`` with its border repeated up to multiples of so many."""
        if size is None:
            sides = self.node("Neg", self.node("Shape", x))
            missing = self.node("Mod", sides, self.constant([1, 1, multiple, multiple], np.int64))
            pads = self.node("Concat", self.constant([0] * 4, np.int64), missing, axis=0)
        elif any(side % multiple for side in size):
            pads = self.constant([0] * 6 + [-side % multiple for side in size], np.int64)
        else:
            return x
        return self.node("Pad", x, pads, mode="edge")

    def floats(self, planes: str) -> str:
        cells = self.node("SpaceToDepth", planes, blocksize=CELL)
        scaled = self.node("Mul", cells, self.constant(1 / 255))
        return self.narrow(self.node("Sub", scaled, self.constant(0.5)))

    def cells(self, corners: str) -> str:
        """The picture, cut to what is between four inputs, in ``pixels``."""
        planes = self.node("DepthToSpace", self.wide(corners), blocksize=CELL)
        edge = CELL // 2
        ends = (self.constant([each] * 2, np.int64) for each in (edge, -edge))
        inner = self.node("Slice", planes, *ends, self.constant([2, 3], np.int64))
        levels = self.node("Add", self.node("Mul", inner, self.constant(255)), self.constant(128))
        shown = self.node("Clip", levels, self.constant(0), self.constant(255))
        last = self.node("Transpose", shown, perm=[0, 2, 3, 1])
        return self.node("Cast", last, name="pixels", to=TensorProto.UINT8)


def _hyper_analysis(nodes: _Nodes, weights: Arrays, x: str) -> None:
    """``h_a``, in float32: it decides how many bits are spent, and is a hundredth of the work."""
    for name in ("first", "second"):
        layer = (nodes.constant(weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        x = nodes.node("Relu", nodes.node("Conv", x, *layer, strides=[2, 2], pads=[1] * 4))
    nodes.node("Conv", x, *(nodes.constant(weights[f"mix.{part}"]) for part in ("weight", "bias")), name="z")


def _latents(size: Size | None) -> Size | None:
    return (math.ceil(size[0] / STRIDE), math.ceil(size[1] / STRIDE)) if size else None
