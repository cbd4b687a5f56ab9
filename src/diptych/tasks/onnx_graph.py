"""A network in ONNX, twice: as onnxruntime runs it, and as torch modules through which gradients flow.

file -> checked -> cut at the chosen tensors -> constants folded -> padding explicit -> torch
  └─────────── onnxruntime must compute the same tensors from the same picture ──────────┘
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx.version_converter
import onnxruntime
import torch
from onnx2torch import convert
from onnx2torch.node_converters.registry import get_converter
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from diptych.errors import ModelError

STRIDES = range(4, 65)
"""Strides of the feature maps that are chosen for the user."""
OPSET = 17
"""The newest opset of which onnx2torch knows all that is usual in networks for pictures."""
TOLERANCE = 1e-3
"""Largest relative difference between onnxruntime and torch, both in float32, that is put down to rounding."""


class Graph(NamedTuple):
    """A graph that was read and checked.

    Attributes:
        path: its file.
        proto: its content.
        input: name of its input.
        shape: of the input, four lengths; None where the graph leaves one open.
        outputs: names of its outputs.
    """

    path: Path
    proto: Any
    input: str
    shape: tuple[int | None, ...]
    outputs: tuple[str, ...]


class TorchGraph(nn.Module):
    """The part of a graph that computes some of its tensors, frozen: input -> tensors by name."""

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self.names = tuple(names)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found = self.network(x)
        return dict(zip(self.names, [found] if isinstance(found, Tensor) else found, strict=True))


def read_graph(path: Path) -> Graph:
    """Read a graph that takes one picture; one of an opset that onnx2torch does not know is converted down.

    Raises:
        ModelError: it is damaged, or takes something else.
    """
    try:
        proto = _converted_down(onnx.load(path))
        _session(proto)
    except Exception as error:  # protobuf, onnx and onnxruntime each raise their own kinds
        raise ModelError(f"The network {path} cannot be read: {_first_line(error)}") from None
    constants = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise ModelError(f"The network {path} has {len(inputs)} inputs; one that takes a picture alone is needed.")
    tensor = inputs[0].type.tensor_type
    shape = tuple(d.dim_value or None for d in tensor.shape.dim)
    if tensor.elem_type != onnx.TensorProto.FLOAT or len(shape) != 4:
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        raise ModelError(f"The network {path} takes {kind} of {len(shape)} axes; float of 4 axes is needed.")
    return Graph(path, proto, inputs[0].name, shape, tuple(value.name for value in proto.graph.output))


def _converted_down(proto: Any) -> Any:
    """The graph in opset :data:`OPSET`, if it is newer and can be converted; else as it is."""
    newest = max((opset.version for opset in proto.opset_import if not opset.domain), default=0)
    if newest <= OPSET:
        return proto
    try:
        older = onnx.version_converter.convert_version(proto, OPSET)
        _session(older)
        return older
    except Exception:  # what cannot be converted is named when it is to be made torch
        return proto


def session(graph: Graph) -> onnxruntime.InferenceSession:
    """The graph in onnxruntime, on the CPU."""
    return _session(graph.proto)


def torch_graph(graph: Graph, names: Sequence[str], sample: Tensor) -> TorchGraph:
    """The tensors ``names`` of a graph, computed in torch.

    Args:
        names: if empty, the inputs of the last convolution at each stride from 4 to 64, or the outputs of the
            graph if there is none.
        sample: an input of the network, float (1, ...), on which torch and onnxruntime are compared.

    Raises:
        ModelError: there is no such tensor, the graph holds what torch cannot be given, torch computes something
            else than onnxruntime, or no gradient reaches the input.
    """
    several = {name: len(node.output) > 1 for node in graph.proto.graph.node for name in node.output if name}
    for name in names:
        if name not in several:
            raise ModelError(f"The network {graph.path} computes no tensor '{name}'.")
    chosen = list(dict.fromkeys(names)) or _last_levels(graph, sample) or list(graph.outputs)
    for name in chosen:
        if several[name]:
            raise ModelError(f"The tensor '{name}' of {graph.path} is one of several of its node; name another.")
    folded = _folded(_cut(graph.proto, chosen))
    _refuse_unsupported(graph.path, folded)
    try:
        network = TorchGraph(convert(folded), chosen)
        found = network(x := sample.clone().requires_grad_())
    except Exception as error:  # converters raise whatever their layers raise
        raise ModelError(f"The network {graph.path} cannot be converted to torch: {_first_line(error)}") from error
    _compare(graph, found, x)
    return network


def at_size(network: TorchGraph, x: Tensor) -> nn.Module:
    """The network for inputs of the shape of ``x`` alone: all that it works out from shapes is done, once, now."""
    with torch.no_grad():
        return make_fx(lambda given: dict(network(given)))(x)


def _last_levels(graph: Graph, sample: Tensor) -> list[str]:
    """The input of the last convolution at each stride within ``STRIDES``, finest first."""
    computed = {name for node in graph.proto.graph.node for name in node.output}
    convolutions = [node for node in graph.proto.graph.node if node.op_type in ("Conv", "ConvTranspose")]
    read = list(dict.fromkeys(node.input[0] for node in convolutions if node.input[0] in computed))
    side = max(sample.shape[1:3] if sample.shape[3] == 3 else sample.shape[2:])
    levels: dict[float, str] = {}
    for name, value in zip(read, _run(graph, read, sample), strict=True):
        if value.ndim == 4 and side / max(value.shape[2:]) in STRIDES:
            levels[side / max(value.shape[2:])] = name
    return [levels[stride] for stride in sorted(levels)]


def _run(graph: Graph, names: Sequence[str], sample: Tensor) -> list[np.ndarray]:
    """Tensors of the graph as onnxruntime computes them."""
    if not names:
        return []
    return _session(_cut(graph.proto, names)).run(list(names), {graph.input: sample.detach().numpy()})


def _cut(proto: Any, names: Iterable[str]) -> Any:
    """A copy of the graph that has ``names`` as its outputs and only the nodes that these need."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    needed, kept = set(names), []
    for node in reversed(proto.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    del copy.graph.node[:], copy.graph.output[:]
    copy.graph.node.extend(reversed(kept))
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return copy


def _folded(proto: Any) -> Any:
    """The graph with all that is constant computed, and with explicit padding."""
    options = _options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        _session(proto, options)
        folded = onnx.load(options.optimized_model_filepath)
    for node in folded.graph.node:
        _pad_explicitly(node)
    return folded


def _pad_explicitly(node: Any) -> None:
    """Replace ``auto_pad``, which onnx2torch does not know, by the padding of inputs that the stride divides."""
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    how = values.get("auto_pad", b"NOTSET")
    if how not in (b"SAME_UPPER", b"SAME_LOWER") or "kernel_shape" not in values:
        return
    kernel = values["kernel_shape"]
    ones = [1] * len(kernel)
    sizes = zip(kernel, values.get("strides", ones), values.get("dilations", ones), strict=True)
    total = [max((k - 1) * dilation + 1 - stride, 0) for k, stride, dilation in sizes]
    less, more = [t // 2 for t in total], [t - t // 2 for t in total]
    kept = [a for a in node.attribute if a.name not in ("auto_pad", "pads")]
    pads = less + more if how == b"SAME_UPPER" else more + less
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute("pads", pads)])


def _refuse_unsupported(path: Path, proto: Any) -> None:
    versions = {opset.domain: opset.version for opset in proto.opset_import}
    unsupported = set()
    for node in proto.graph.node:
        try:
            get_converter(node.op_type, versions[node.domain], node.domain)
        except NotImplementedError:
            unsupported.add(".".join(filter(None, (node.domain, node.op_type))))
    if unsupported:
        names = ", ".join(sorted(unsupported))
        opset = versions.get("", 0)
        way = f" It is of opset {opset}: export it with opset {OPSET}." if opset > OPSET else ""
        raise ModelError(f"The network {path} uses operators that onnx2torch cannot convert: {names}.{way}")


def _compare(graph: Graph, found: dict[str, Tensor], x: Tensor) -> None:
    for (name, tensor), expected in zip(found.items(), _run(graph, list(found), x), strict=True):
        ours, scale = tensor.detach().numpy(), float(np.linalg.norm(expected))
        difference = float(np.linalg.norm(ours - expected)) if ours.shape == expected.shape else np.inf
        if not difference <= TOLERANCE * scale:
            raise ModelError(
                f"onnx2torch and onnxruntime compute the tensor '{name}' of {graph.path} differently: "
                f"by {difference:.2g} where its norm is {scale:.2g}."
            )
        if not _moves(tensor, x):
            raise ModelError(f"No gradient gets from the tensor '{name}' of {graph.path} to the picture.")


def _moves(tensor: Tensor, x: Tensor) -> bool:
    if not tensor.requires_grad:
        return False
    (gradient,) = torch.autograd.grad(tensor.square().sum(), x, retain_graph=True)
    return bool(torch.isfinite(gradient).all() and gradient.any())


def _session(proto: Any, options: Any = None) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), options or _options(), providers=["CPUExecutionProvider"]
    )


def _options() -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return options


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".") + "."
