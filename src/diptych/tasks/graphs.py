"""The convolutions of Mask R-CNN as graphs for any engine, from the weights that training writes.

::

    picture (1, 3, H, W)                                                              H, W: multiples of 32
      └─stem s2─blocks s1,2,2─┬─blocks s2,1─┬─blocks s2,1─┐
                             1x1           1x1           1x1
                              └──(+)<─x2────┴──(+)<─x2────┤
                                 3x3           3x3       3x3──every second──┐
                           1/8 ◁──┤     1/16 ◁──┤   1/32 ◁┤                 │      levels (1, h, w, C)
                                 RPN           RPN       RPN               RPN     proposals (1, h, w, 5 A)

    pooled (n, C, 14, 14) ──[3x3, ReLU]──T s2, ReLU──1x1── logits (n, 28, 28, classes)                  mask head
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count, takewhile
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diptych.codec.engine.graphs import Arrays, Graph, Input, Operations
from diptych.tasks.settings import BODY_SCALES

STAGES = (1, 2, 2, 2, 1, 2, 1)
"""Strides of the stages of EfficientNet-Lite."""
LEVELS = (2, 4, 6)
"""The stages whose features the pyramid takes."""
Weights = Mapping[str, Any]


class _Block(NamedTuple):
    """An inverted residual: its name, its stride, whether it first expands, whether its input is added."""

    name: str
    stride: int
    expands: bool
    skips: bool


def pyramid(weights: Arrays, channels: int) -> tuple[Graph, Arrays]:
    """Body, feature pyramid and head of the region proposals, and their weights as the graph wants them.

    Its outputs are the levels at strides 8, 16 and 32, then at 8, 16, 32 and 64 what is proposed at each place: the
    log-odds of each anchor, then the four deltas of each.

    Args:
        weights: float32, by their names inside the network.
        channels: of the levels.
    """
    body = [list(_blocks(weights, stage)) for stage in range(len(STAGES))]
    identity = np.eye(channels, dtype=np.float32)[:, :, None, None]
    more: dict[str, NDArray[Any]] = {
        "double": np.tile(identity, (1, 1, 2, 2)),
        "second": np.ones((channels, 1, 1, 1), np.float32),
        "nothing": np.zeros(channels, np.float32),
    }
    for number, scale in enumerate(BODY_SCALES["efficientnet_lite0"]):
        name = f"{_FPN}.inner_blocks.{number}.0.weight"
        more[name] = weights[name] / np.float32(scale)
    for part in ("weight", "bias"):
        more[f"proposed.{part}"] = np.concatenate([weights[f"{_RPN}.{each}.{part}"] for each in _PROPOSED])

    def apply(ops: Operations, w: Weights, picture: Any) -> tuple[Any, ...]:
        levels = _fpn(ops, w, _body(ops, w, body, picture))
        last = ops.depthwise(levels[-1], w["second"], w["nothing"], 2)
        proposed = [_rpn(ops, w, level) for level in (*levels, last)]
        return tuple(map(ops.cells, [*levels, *proposed]))

    used = {name: array for name, array in weights.items() if name.startswith((_BODY, _FPN, f"{_RPN}.conv"))}
    return Graph(apply, (Input("picture", np.float32, (1, 3, -1, -1)),), float32=True), used | more


def mask_head(weights: Arrays, layers: int, channels: int, bins: int) -> tuple[Graph, Arrays]:
    """The head that draws masks, of so many layers, and its weights.

    Args:
        weights: float32, by their names inside the network.
        layers: convolutions before the one that doubles the size.
        channels, bins: of what is pooled from each box.
    """

    def apply(ops: Operations, w: Weights, x: Any) -> tuple[Any, ...]:
        for number in range(layers):
            x = ops.relu(_convolve(ops, w, f"{_MASK}_head.{number}.0", x, padding=1))
        last = f"{_MASK}_predictor.conv5_mask"
        x = ops.relu(ops.upsample(x, w[f"{last}.weight"], w[f"{last}.bias"]))
        return (ops.cells(_convolve(ops, w, f"{_MASK}_predictor.mask_fcn_logits", x)),)

    used = {name: array for name, array in weights.items() if name.startswith(_MASK)}
    return Graph(apply, (Input("pooled", np.float32, (-1, channels, bins, bins)),), float32=True), used


_BODY, _FPN, _RPN, _MASK = "net.backbone.body", "net.backbone.fpn", "net.rpn.head", "net.roi_heads.mask"
_PROPOSED = ("cls_logits", "bbox_pred")


def _blocks(weights: Arrays, stage: int) -> Iterator[_Block]:
    names = (f"{_BODY}.blocks.{stage}.{number}" for number in count())
    for number, name in enumerate(takewhile(lambda name: f"{name}.conv_dw.weight" in weights, names)):
        expands = f"{name}.conv_pwl.weight" in weights
        stride = 1 if number else STAGES[stage]
        into, out = (
            weights[f"{name}.{layer}.weight"].shape for layer in ("conv_pw", "conv_pwl" if expands else "conv_pw")
        )
        yield _Block(name, stride, expands, stride == 1 and into[1] == out[0])


def _body(ops: Operations, w: Weights, stages: list[list[_Block]], picture: Any) -> list[Any]:
    x = ops.relu6(_convolve(ops, w, f"{_BODY}.conv_stem", picture, 2, 1))
    seen = []
    for number, blocks in enumerate(stages):
        for name, stride, expands, skips in blocks:
            before = x
            if expands:
                x = ops.relu6(_convolve(ops, w, f"{name}.conv_pw", x))
            x = ops.relu6(ops.depthwise(x, w[f"{name}.conv_dw.weight"], w[f"{name}.conv_dw.bias"], stride))
            x = _convolve(ops, w, f"{name}.conv_pwl" if expands else f"{name}.conv_pw", x)
            x = ops.add(x, before) if skips else x
        if number in LEVELS:
            seen.append(x)
    return seen


def _fpn(ops: Operations, w: Weights, seen: list[Any]) -> list[Any]:
    levels: list[Any] = []
    above = None
    for number in reversed(range(len(seen))):
        x = _convolve(ops, w, f"{_FPN}.inner_blocks.{number}.0", seen[number])
        above = x if above is None else ops.add(x, ops.upsample(above, w["double"], w["nothing"]))
        levels.insert(0, _convolve(ops, w, f"{_FPN}.layer_blocks.{number}.0", above, padding=1))
    return levels


def _rpn(ops: Operations, w: Weights, level: Any) -> Any:
    hidden = ops.relu(_convolve(ops, w, f"{_RPN}.conv.0.0", level, padding=1))
    return ops.convolve(hidden, w["proposed.weight"], w["proposed.bias"])


def _convolve(ops: Operations, w: Weights, name: str, x: Any, stride: int = 1, padding: int = 0) -> Any:
    return ops.convolve(x, w[f"{name}.weight"], w[f"{name}.bias"], stride, padding)
