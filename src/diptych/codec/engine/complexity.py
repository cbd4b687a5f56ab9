"""What the networks cost: parameters, and multiply-accumulates per pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from diptych.codec.architecture import HYPER_STRIDE, PARTS, STRIDE
from diptych.codec.engine.graphs import Graph, analysis, synthesis
from diptych.codec.weights import FrozenCodec

NETWORKS = ("g_a", "g_s", "h_a", "h_s", "context")
_SIDE = 1024
"""Of the picture for which operations are counted."""


def complexity(frozen: FrozenCodec) -> dict[str, float]:
    """Cost of each network of a codec.

    Returns:
        ``<network> parameters`` (a count) and ``<network> kMAC/pixel`` (on a large picture) for ``g_a``, ``g_s``,
        ``h_a``, ``h_s`` and ``context``.
    """
    latents = (_SIDE // STRIDE) ** 2
    layers = {name: frozen.network(name) for name in NETWORKS}
    sizes = {name: {k: v.size for k, v in found.items() if k.endswith("weight")} for name, found in layers.items()}
    operations = {
        "g_a": _of_graph(*analysis(layers["g_a"]), _SIDE // 4),
        "g_s": _of_graph(*synthesis(layers["g_s"]), _SIDE // STRIDE),
        "h_a": sum(
            size * latents // (4 if name.startswith("first") else HYPER_STRIDE**2)
            for name, size in sizes["h_a"].items()
        ),
        "h_s": sum(
            size * latents // HYPER_STRIDE**2 * 4 ** (int(name.split(".")[0]) // len(PARTS))
            for name, size in sizes["h_s"].items()
        ),
        "context": sum(size * latents for size in sizes["context"].values()),
    }
    cost: dict[str, float] = {}
    for name in NETWORKS:
        cost[f"{name} parameters"] = sum(array.size for array in layers[name].values())
        cost[f"{name} kMAC/pixel"] = operations[name] / _SIDE**2 / 1000
    return cost


def _of_graph(graph: Graph, weights: Mapping[str, NDArray[Any]], side: int) -> int:
    counter = _Counter()
    graph.apply(counter, weights, side, side)
    return counter.total


class _Counter:
    """Operations whose nodes are the sides of square feature maps."""

    def __init__(self) -> None:
        self.total = 0

    def floats(self, cells: int) -> int:
        return cells

    def convolve(self, x: int, weight: NDArray[Any], bias: Any, stride: int = 1, padding: int = 0) -> int:
        side = (x + 2 * padding - weight.shape[-1]) // stride + 1
        self.total += weight.size * side**2
        return side

    def depthwise(self, x: int, weight: NDArray[Any], bias: Any, stride: int = 1) -> int:
        return self.convolve(x, weight, bias, stride, weight.shape[-1] // 2)

    def upsample(self, x: int, weight: NDArray[Any], bias: Any) -> int:
        self.total += weight.size * x**2
        return 2 * x

    def relu(self, x: int) -> int:
        return x

    def relu6(self, x: int) -> int:
        return x

    def add(self, a: int, b: int) -> int:
        return a

    def cells(self, x: int) -> int:
        return x
