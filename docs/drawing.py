"""Draws the networks of the shipped codec, from the networks themselves: ``python docs/drawing.py``.

::

    modules ──one picture through them──> order, shapes, layers ──> boxes ──> docs/images/codec.svg

The tests draw it again and compare.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import torch
from torch import nn

import diptych
from diptych.nn import integer
from diptych.nn.arrays import model_of
from diptych.nn.model import ALIGNMENT, CodecModel
from diptych.nn.transforms import Block, QualityBias

FILE = Path(__file__).parent / "images" / "codec.svg"
WIDTH, MARGIN, BOX, BOX_HEIGHT = 720, 12, 296, 44
TOP, MIDDLE, BOTTOM = 76, 500, 850
"""Heights at which the picture, the latents and the hyper-latents are written."""
COLOURS = {"plain": "#dfe8f5", "tuned": "#ffd8a6", "integer": "#cdead3", "file": "#f1f1f1"}
TIP = ' marker-end="url(#tip)"'
EXACT = ("h_s", "context")
Shape = tuple[int, int]
"""Channels, and by how much the sides are smaller than the picture's."""


class Stage(NamedTuple):
    """One box: which network it is a part of, what it is made of, and what goes in and comes out."""

    network: str
    name: str
    layers: str
    inputs: Shape
    outputs: Shape


def stages(model: CodecModel) -> dict[str, list[Stage]]:
    """The stages of each network, in the order in which a picture runs through them."""
    parts = {path: (network, name) for network, name, paths in _parts(model) for path in paths}
    seen: dict[str, tuple[Shape, Shape]] = {}

    def note(path: str, _: nn.Module, inputs: Any, output: Any) -> None:
        seen[path] = _shape(inputs[0]), _shape(output)

    hooks = [model.get_submodule(path).register_forward_hook(partial(note, path)) for path in parts]
    with torch.inference_mode():
        model(torch.zeros(1, 3, ALIGNMENT, ALIGNMENT), torch.full((1,), 40.0))
    for hook in hooks:
        hook.remove()
    drawn: dict[str, list[Stage]] = {}
    for (network, name), group in groupby(seen, key=lambda path: parts[path]):
        paths = list(group)
        layers = " · ".join(_layers(model.get_submodule(path)) for path in paths)
        stage = Stage(network, name, layers, seen[paths[0]][0], seen[paths[-1]][1])
        drawn.setdefault(network, []).append(stage)
    return drawn


def _shape(tensor: torch.Tensor) -> Shape:
    return tensor.shape[1], ALIGNMENT // tensor.shape[3]


def _parts(model: CodecModel) -> Iterator[tuple[str, str, list[str]]]:
    """Network, name of the stage, and the modules it consists of."""
    for network, owner in {"g_a": "g_a", "g_s": "g_s.stages", "h_a": "h_a"}.items():
        for name, module in model.get_submodule(owner).named_children():
            if not isinstance(module, QualityBias):
                yield network, name, [f"{owner}.{name}"]
    triple = ("spatial", "expand", "project")
    for number in range(len(model.h_s.spatial)):
        yield "h_s", f"round {number + 1}", [f"h_s.{part}.{number}" for part in triple]
    for number in range(len(model.context.rounds)):
        yield "context", f"pass {number + 2}", [f"context.rounds.{number}.{part}" for part in triple]


def _layers(module: nn.Module) -> str:
    """What a module is made of, in a few words."""
    if isinstance(module, nn.Sequential):
        words = [(word, len(list(same))) for word, same in groupby(map(_layers, module))]
        return " · ".join(word if count == 1 else f"{count} {word}s" for word, count in words)
    if isinstance(module, Block):
        return "block"
    if isinstance(module, nn.PixelUnshuffle):
        return f"{module.downscale_factor}x{module.downscale_factor} pixels to channels"
    if isinstance(module, integer.Depthwise):
        return "3x3 each"
    if isinstance(module, integer.Pointwise):
        return f"1x1 to {module.out_features}"
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        kind = "transposed " if isinstance(module, nn.ConvTranspose2d) else ""
        step = f", stride {module.stride[0]}" if module.stride[0] > 1 else ""
        return f"{kind}{module.kernel_size[0]}x{module.kernel_size[0]}{step}"
    raise TypeError(f"the drawing has no words for {module}")


class Drawing:
    """The codec as an SVG: down on the left to the file, and up on the right from it."""

    def __init__(self, codec: diptych.Codec) -> None:
        self.stages = stages(model_of(codec.frozen.arrays, codec.frozen.widths).eval())
        self.cost = codec.complexity()
        self.tuned = {name.split(".")[1] for name in codec.transforms.human}
        self.parts: list[str] = []

    def svg(self) -> str:
        """The whole drawing."""
        left, right = MARGIN + BOX // 2, WIDTH - MARGIN - BOX // 2
        for row, network in enumerate(("g_a", "h_a")):
            self._text(left, 18 + 15 * row, self._price(network))
        for row, network in enumerate(("g_s", "h_s", "context")):
            self._text(right, 18 + 15 * row, self._price(network))
        for x, networks in ((left, (["g_a"], ["h_a"])), (right, (["g_s"], ["h_s", "context"]))):
            for names, ends in zip(networks, ((TOP, MIDDLE), (MIDDLE, BOTTOM)), strict=True):
                self._section(x, *(ends if x == left else ends[::-1]), [s for n in names for s in self.stages[n]])
            self._text(x, TOP, f"picture: {_words(self.stages['g_a'][0].inputs)}", "label")
            self._text(x, MIDDLE, f"latents y: {_words(self.stages['g_s'][0].inputs)}", "label")
            self._text(x, BOTTOM, f"hyper-latents z: {_words(self.stages['h_s'][0].inputs)}", "label")
        self._file()
        self._legend()
        return _PAGE.format(width=WIDTH, height=BOTTOM + 84, content="\n".join(self.parts))

    def _price(self, network: str) -> str:
        millions, work = self.cost[f"{network} parameters"] / 1e6, self.cost[f"{network} kMAC/pixel"]
        return f"{network}: {millions:.2f} M parameters, {work:.2g} kMAC/pixel"

    def _section(self, x: int, start: int, end: int, boxes: list[Stage]) -> None:
        """Boxes in running order between two heights, and what goes from one to the next."""
        pitch, sense = (end - start) / len(boxes), 1 if end > start else -1
        for number, box in enumerate(boxes):
            y = start + pitch * (number + 0.5)
            self._line(x, y - pitch / 2 + 12 * sense, x, y - sense * BOX_HEIGHT / 2, TIP)
            self._line(x, y + sense * BOX_HEIGHT / 2, x, y + pitch / 2 - 12 * sense)
            self._box(x - BOX / 2, y - BOX_HEIGHT / 2, BOX, BOX_HEIGHT, self._kind(box))
            self._text(x, y - 9, f"{box.network} · {box.name}", "name")
            self._text(x, y + 10, box.layers)
            if number:
                into_context = box.network == "context"
                self._text(x, y - pitch / 2, "means and tables" if into_context else _words(box.inputs), "label")

    def _kind(self, box: Stage) -> str:
        if box.network in EXACT:
            return "integer"
        return "tuned" if box.network == "g_s" and box.name in self.tuned else "plain"

    def _file(self) -> None:
        middle = WIDTH // 2
        for y in (MIDDLE, BOTTOM):
            self._line(MARGIN + BOX - 38, y, middle - 22, y, TIP)
            self._line(middle + 22, y, WIDTH - MARGIN - BOX + 38, y, TIP)
        self._box(middle - 22, MIDDLE - 24, 44, BOTTOM - MIDDLE + 48, "file")
        centre = (MIDDLE + BOTTOM) / 2
        self.parts.append(f'<g transform="rotate(-90 {middle} {centre:g})">')
        self._text(middle, centre, "round, range coder, .dip file", "name")
        self.parts.append("</g>")

    def _legend(self) -> None:
        words = {"tuned": "replaced in the human view", "integer": "runs in exact integers", "plain": "the rest"}
        for row, (kind, meaning) in enumerate(words.items()):
            y = BOTTOM + 32 + 18 * row
            self._box(MARGIN, y - 6, 22, 12, kind)
            self._text(MARGIN + 32, y, meaning, "legend")

    def _box(self, x: float, y: float, width: float, height: float, kind: str) -> None:
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" fill="{COLOURS[kind]}"/>'
        )

    def _text(self, x: float, y: float, text: str, kind: str = "small") -> None:
        self.parts.append(f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(text)}</text>')

    def _line(self, x: float, y: float, to_x: float, to_y: float, end: str = "") -> None:
        self.parts.append(f'<path d="M{x:g} {y:g} {to_x:g} {to_y:g}"{end}/>')


def _words(shape: Shape) -> str:
    channels, shrink = shape
    return f"{channels} channels" if shrink == 1 else f"{channels} at 1/{shrink}"


_PAGE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>The networks of the codec</title>
<style>
text {{ font: 13px sans-serif; text-anchor: middle; dominant-baseline: central; fill: #1c2733 }}
.name {{ font-weight: bold; font-size: 15px }}
.label {{ font-size: 14px }}
.legend {{ text-anchor: start }}
rect, path {{ stroke: #5b6b80 }}
</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">
<path d="M0 0 8 4 0 8Z" fill="#5b6b80"/></marker></defs>
<rect width="{width}" height="{height}" fill="#fff" style="stroke: none"/>
{content}
</svg>
"""

if __name__ == "__main__":
    FILE.write_text(Drawing(diptych.load()).svg(), encoding="utf-8")
