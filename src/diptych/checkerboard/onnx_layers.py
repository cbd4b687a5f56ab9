"""The upsamplers of an ONNX graph: ``ConvTranspose``, and ``Conv`` before ``DepthToSpace``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.checkerboard.upsampler import Upsampler
from diptych.errors import ModelError, extra

_KEEP_CHANNELS = {"BatchNormalization", "Clip", "Identity", "LeakyRelu", "PRelu", "Relu", "Sigmoid", "Tanh"}
"""Operators that may stand between a convolution and its pixel shuffle."""


def read_graph(path: Path) -> list[Upsampler]:
    """The upsamplers of an ONNX file whose weights are stored in it.

    Raises:
        DiptychError: if it cannot be read, or the package ``onnx`` is missing.
    """
    with extra("onnx", "an ONNX file"):
        import onnx
    if not path.is_file():
        raise ModelError(f"there is no file {path}")
    try:
        graph = onnx.load(str(path)).graph
    except Exception as error:  # protobuf and onnx raise several unrelated kinds
        raise ModelError(f"{path} is not a readable ONNX file: {' '.join(str(error).split())}") from None
    arrays = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    arrays |= {
        node.output[0]: onnx.numpy_helper.to_array(_attributes(node)["value"])
        for node in graph.node
        if node.op_type == "Constant" and "value" in _attributes(node)
    }
    makers = {output: node for node in graph.node for output in node.output}
    found = [_transposed(node, arrays) for node in graph.node if node.op_type == "ConvTranspose"]
    found += [_subpixel(node, makers, arrays) for node in graph.node if node.op_type == "DepthToSpace"]
    return [upsampler for upsampler in found if upsampler is not None]


def _transposed(node: Any, arrays: dict[str, NDArray[Any]]) -> Upsampler | None:
    weight = arrays.get(node.input[1])
    if weight is None:
        return None
    options = _attributes(node)
    stride = tuple(options.get("strides", [1] * (weight.ndim - 2)))
    if max(stride) == 1:
        return None
    dilation = tuple(options["dilations"]) if "dilations" in options else None
    name = node.name or node.output[0]
    return Upsampler(name, "transposed", weight, None, stride, dilation, False, "graph")


def _subpixel(node: Any, makers: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Upsampler | None:
    maker = makers.get(node.input[0])
    while maker is not None and maker.op_type in _KEEP_CHANNELS:
        maker = makers.get(maker.input[0])
    if maker is None or maker.op_type != "Conv" or maker.input[1] not in arrays:
        return None
    options = _attributes(node)
    bias = arrays.get(maker.input[2]) if len(maker.input) > 2 else None
    return Upsampler(
        maker.name or maker.output[0],
        "subpixel",
        arrays[maker.input[1]].astype(np.float64),
        bias,
        (options["blocksize"],) * 2,
        None,
        options.get("mode", b"DCR") == b"DCR",
        "graph",
    )


def _attributes(node: Any) -> dict[str, Any]:
    import onnx

    return {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
