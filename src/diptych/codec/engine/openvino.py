"""OpenVINO: in bfloat16 (on ARM float16) where the processor has instructions for it, else in float32."""

from __future__ import annotations

import os
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
def _core() -> tuple[Any, int]:
    """The one core, and the process that made it. Never let go: each sets a stack for signals in its thread and,
    when it goes, puts back the one it had found, which may be that of a core that is gone; then the next signal
    ends the process."""
    return ov.Core(), os.getpid()


def _forked() -> bool:
    """Whether the core came here by a fork: without its threads, for which compiling may wait for ever."""
    return bool(_core.cache_info().currsize) and _core()[1] != os.getpid()


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
        inputs = [op.parameter(list(each.shape), each.kind) for each in graph.inputs]
        outputs = graph.apply(_Nodes(), weights, *inputs)
        model = ov.Model(list(outputs), inputs, "network")

        @cache
        def compiled(float32: bool) -> tuple[Any, Lock]:
            settings = self._settings | ({"INFERENCE_PRECISION_HINT": "f32"} if float32 else {})
            return _core()[0].compile_model(model, "CPU", settings).create_infer_request(), Lock()

        @cache
        def elsewhere() -> Function:
            from diptych.codec.engine import engine_of_fork

            return engine_of_fork().compile(graph, weights)

        def run(*arrays: NDArray[Any]) -> list[NDArray[np.float32]]:
            if _forked():
                return elsewhere()(*arrays)
            request, lock = compiled(graph.float32 or _thin(graph, arrays[0]))
            with lock:  # a request runs once at a time, and a second one would need memory of its own
                found = request.infer(list(arrays), share_inputs=True)
                return [found[number] for number in range(len(outputs))]

        return run


def _thin(graph: Graph, x: NDArray[Any]) -> bool:
    """Whether a plane is one latent wide or high: bfloat16 kernels read beyond such planes."""
    _, kind, shape = graph.inputs[0]
    sides = [side for side, length in zip(x.shape, shape, strict=True) if length < 0]
    return min(sides) <= (CELLS if kind is np.uint8 else 1)


class _Nodes:
    def floats(self, cells: Any) -> Any:
        planes = op.transpose(op.convert(cells, "f32"), op.constant(np.array([0, 3, 1, 2])))
        return op.subtract(op.multiply(planes, op.constant(np.float32(1 / 255))), op.constant(np.float32(0.5)))

    def convolve(self, x: Any, weight: Any, bias: Any, stride: int = 1, padding: int = 0) -> Any:
        steps, pads = [stride] * 2, [padding] * 2
        return _biased(op.convolution(x, _constant(weight), steps, pads, pads, [1, 1]), bias)

    def depthwise(self, x: Any, weight: Any, bias: Any, stride: int = 1) -> Any:
        steps, pads = [stride] * 2, [weight.shape[-1] // 2] * 2
        return _biased(op.group_convolution(x, _constant(weight[:, :, None]), steps, pads, pads, [1, 1]), bias)

    def upsample(self, x: Any, weight: Any, bias: Any) -> Any:
        pads = [weight.shape[-1] // 2 - 1] * 2
        wide = op.convolution_backprop_data(x, _constant(weight), [2, 2], pads_begin=pads, pads_end=pads)
        return _biased(wide, bias)

    def relu(self, x: Any) -> Any:
        return op.relu(x)

    def relu6(self, x: Any) -> Any:
        return op.clamp(x, 0, 6)

    def add(self, a: Any, b: Any) -> Any:
        return op.add(a, b)

    def cells(self, x: Any) -> Any:
        return op.transpose(x, op.constant(np.array([0, 2, 3, 1])))


def _biased(x: Any, bias: NDArray[np.float32]) -> Any:
    return op.add(x, _constant(bias[None, :, None, None]))


def _constant(weights: NDArray[np.float32]) -> Any:
    """Weights as they lie in memory, if OpenVINO takes them so: it keeps the array for as long as it needs it."""
    return op.constant(weights, shared_memory=weights.flags.writeable and weights.flags.c_contiguous)
