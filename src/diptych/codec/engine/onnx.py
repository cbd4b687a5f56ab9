"""ONNX Runtime, and the graphs in its format; float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.codec.engine.graphs import Arrays, Function, Graph, Input
from diptych.errors import extra

with extra("onnx", "ONNX Runtime"):
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 8
"""Of ONNX: old enough for any runtime of the last years."""


class OnnxRuntime:
    """Runs graphs on the CPU.

    Args:
        threads: 0 for as many as there are cores.
    """

    batch = 1
    name = f"onnxruntime {onnxruntime.__version__}"

    def __init__(self, threads: int = 0) -> None:
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads

    def compile(self, graph: Graph, weights: Arrays) -> Function:
        content = model(graph, weights).SerializeToString()
        session = onnxruntime.InferenceSession(content, self._options, providers=["CPUExecutionProvider"])

        def run(*arrays: NDArray[Any]) -> list[NDArray[np.float32]]:
            named = {each.name: array for each, array in zip(graph.inputs, arrays, strict=True)}
            found: list[NDArray[np.float32]] = session.run(None, named)
            return found

        return run


def model(graph: Graph, weights: Arrays) -> onnx.ModelProto:
    """The graph as ONNX."""
    nodes = Nodes({name: array for name, array in weights.items() if name != "quality.knots"})
    last = graph.apply(nodes, {name: name for name in weights}, *(each.name for each in graph.inputs))
    return nodes.model(graph.inputs, [Input(name, np.float32, (-1,) * 4) for name in last])


class Nodes:
    """Operations that become a graph in ONNX; nodes are names.

    Args:
        constants: tensors by their names, which operations take as nodes.
    """

    def __init__(self, constants: Mapping[str, NDArray[Any]]) -> None:
        self.constants = dict(constants)
        self._made: list[onnx.NodeProto] = []

    def model(self, inputs: Sequence[Input], outputs: Sequence[Input]) -> onnx.ModelProto:
        """All nodes so far as a model with these ends."""
        constants = [numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        made = helper.make_graph(
            self._made, "network", list(map(_end, inputs)), list(map(_end, outputs)), constants
        )
        return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)

    def node(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """The first output of a new node; by default it is named after its operator."""
        name = name or f"{operator.lower()}{len(self._made)}"
        self._made.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def floats(self, cells: str) -> str:
        self.constants |= {"scale": np.array([1 / 255], np.float32), "half": np.array([0.5], np.float32)}
        planes = self.node("Transpose", self.node("Cast", cells, to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
        return self.node("Sub", self.node("Mul", planes, "scale"), "half")

    def convolve(self, x: str, weight: str, bias: str, stride: int = 1, padding: int = 0) -> str:
        return self.node("Conv", x, weight, bias, strides=[stride] * 2, pads=[padding] * 4)

    def depthwise(self, x: str, weight: str, bias: str, stride: int = 1) -> str:
        channels, _, _, side = self.constants[weight].shape
        return self.node("Conv", x, weight, bias, group=channels, strides=[stride] * 2, pads=[side // 2] * 4)

    def upsample(self, x: str, weight: str, bias: str) -> str:
        pads = [self.constants[weight].shape[-1] // 2 - 1] * 4
        return self.node("ConvTranspose", x, weight, bias, strides=[2, 2], pads=pads)

    def relu(self, x: str) -> str:
        return self.node("Relu", x)

    def relu6(self, x: str) -> str:
        self.constants |= {"zero": np.array(0, np.float32), "six": np.array(6, np.float32)}
        return self.node("Clip", x, "zero", "six")

    def add(self, a: str, b: str) -> str:
        return self.node("Add", a, b)

    def cells(self, x: str) -> str:
        return self.node("Transpose", x, perm=[0, 2, 3, 1])


def _end(end: Input) -> onnx.ValueInfoProto:
    name, kind, shape = end
    free = [f"{name}{axis}" if side < 0 else side for axis, side in enumerate(shape)]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), free)
