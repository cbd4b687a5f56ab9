"""Small ONNX graphs, written for a test."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str]


def conv(source: str, target: str, inputs: int, outputs: int, stride: int = 1, **more: Any) -> tuple[Any, Any]:
    """A random 3x3 convolution, padded so that the stride alone decides the size, and its kernel."""
    rng = np.random.default_rng(inputs * outputs)
    kernel = rng.normal(size=(outputs, inputs, 3, 3)).astype(np.float32) / (3 * inputs**0.5)
    attributes = {"kernel_shape": [3, 3], "strides": [stride, stride], "pads": [1, 1, 1, 1]} | more
    attributes = {name: value for name, value in attributes.items() if value is not None}
    node = helper.make_node("Conv", [source, f"{target}_kernel"], [target], **attributes)
    return node, numpy_helper.from_array(kernel, f"{target}_kernel")


def pyramid(shape: Shape = ("n", 3, "h", "w"), **of_first: Any) -> tuple[list[Any], list[Any], Shape]:
    """Three strided convolutions and a head: strides 2, 4, 8; outputs ``map``, (n, 1, h / 8, w / 8) in 0..1."""
    layers = [
        conv("picture", "two", 3, 4, 2, **of_first),
        conv("two_on", "four", 4, 6, 2),
        conv("four_on", "eight", 6, 8, 2),
        conv("eight_on", "head", 8, 1),
    ]
    nodes = []
    for node, _ in layers[:3]:
        nodes += [node, helper.make_node("Relu", [node.output[0]], [f"{node.output[0]}_on"])]
    nodes += [layers[3][0], helper.make_node("Sigmoid", ["head"], ["map"])]
    return nodes, [kernel for _, kernel in layers], shape


def write(
    path: Path,
    nodes: Sequence[Any],
    kernels: Sequence[Any],
    shape: Shape = ("n", 3, "h", "w"),
    output: str = "map",
    kind: int = TensorProto.FLOAT,
    domains: Sequence[str] = ("",),
) -> Path:
    """Write a graph from ``picture`` to ``output``."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("picture", kind, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        kernels,
    )
    opsets = [helper.make_opsetid(domain, 13 if not domain else 1) for domain in domains]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def describe(path: Path, **settings: Any) -> Path:
    """Write the description of the graph at ``path`` beside it."""
    description = path.with_suffix(".yaml")
    description.write_text(yaml.safe_dump({"kind": "onnx", "network": str(path)} | settings))
    return description
