"""OpenVINO: in bfloat16 (on ARM float16) where the processor has instructions for it, else in float32."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.codec.engine.graphs import CELLS, Arrays, Function, Graph


@contextmanager
def _without(module: str) -> Iterator[None]:
    """Have a module look as if it were not installed."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]


with _without("openvino.tools.ovc"):  # a converter that takes half the time and reports each import to its makers
    import openvino as ov
    from openvino import opset13 as op


@cache
def _core() -> Any:
    """The one core of this process, never let go: each sets a stack for signals in its thread and, when it goes,
    puts back the one it had found, which may be that of a core that is gone; the next signal ends the process."""
    return ov.Core()


class OpenVino:
    """Runs graphs on the CPU.

    Args:
        threads: 0 for as many as there are cores.
        precision: ``f32`` or ``bf16``; None for the fastest.
    """

    batch = 1
    name = f"openvino {ov.__version__.partition('-')[0]}"

    def __init__(self, threads: int = 0, precision: str | None = None) -> None:
        self._settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        if precision:
            self._settings["INFERENCE_PRECISION_HINT"] = precision

    def compile(self, graph: Graph, weights: Arrays) -> Function:
        x = op.parameter(list(graph.shape), graph.kind)
        offset = op.parameter([1, graph.offset, 1, 1], np.float32)
        output = graph.apply(_Nodes(), weights, x, offset)
        model = ov.Model([output], [x, offset], "network")

        @cache
        def compiled(thin: bool) -> tuple[Any, Lock]:
            settings = self._settings | ({"INFERENCE_PRECISION_HINT": "f32"} if thin else {})
            return _core().compile_model(model, "CPU", settings).create_infer_request(), Lock()

        def run(x: NDArray[Any], offset: NDArray[np.float32]) -> NDArray[np.float32]:
            request, lock = compiled(_thin(graph, x))
            with lock:  # a request runs once at a time, and a second one would need memory of its own
                found: NDArray[np.float32] = request.infer([x, offset], share_inputs=True)[0]
                return found

        return run


def _thin(graph: Graph, x: NDArray[Any]) -> bool:
    """Whether a plane is one latent wide or high: bfloat16 kernels read beyond such planes."""
    sides = [side for side, length in zip(x.shape, graph.shape, strict=True) if length < 0]
    return min(sides) <= (CELLS if graph.kind is np.uint8 else 1)


class _Nodes:
    def floats(self, cells: Any) -> Any:
        planes = op.transpose(op.convert(cells, "f32"), op.constant(np.array([0, 3, 1, 2])))
        return op.subtract(op.multiply(planes, op.constant(np.float32(1 / 255))), op.constant(np.float32(0.5)))

    def convolve(self, x: Any, weight: Any, bias: Any, stride: int = 1, padding: int = 0) -> Any:
        steps, pads = [stride] * 2, [padding] * 2
        return _biased(op.convolution(x, op.constant(weight), steps, pads, pads, [1, 1]), bias)

    def depthwise(self, x: Any, weight: Any, bias: Any) -> Any:
        kernels = op.constant(weight[:, :, None])
        return _biased(op.group_convolution(x, kernels, [1, 1], [1, 1], [1, 1], [1, 1]), bias)

    def upsample(self, x: Any, weight: Any, bias: Any) -> Any:
        wide = op.convolution_backprop_data(x, op.constant(weight), [2, 2], pads_begin=[1, 1], pads_end=[1, 1])
        return _biased(wide, bias)

    def relu(self, x: Any) -> Any:
        return op.relu(x)

    def add(self, a: Any, b: Any) -> Any:
        return op.add(a, b)

    def cells(self, x: Any) -> Any:
        return op.transpose(x, op.constant(np.array([0, 2, 3, 1])))


def _biased(x: Any, bias: NDArray[np.float32]) -> Any:
    return op.add(x, op.constant(bias[None, :, None, None]))
