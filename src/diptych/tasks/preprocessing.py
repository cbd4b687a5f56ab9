"""From pictures to what a network takes in, differentiably, and back from its coordinates to the picture's.

picture -> resized and placed on the canvas -> channels in order -> (x * white - mean) / std -> layout
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from diptych.tasks.descriptions import InputDescription

Size = tuple[int, int]


class Placement(NamedTuple):
    """Where a picture lies on a network's canvas; all sizes are (height, width) in pixels.

    Attributes:
        picture: size of the picture.
        resized: its size on the canvas.
        canvas: size of the canvas.
        offset: of the picture's upper left corner (down, right).
    """

    picture: Size
    resized: Size
    canvas: Size
    offset: Size

    def in_picture(self, boxes: Tensor) -> Tensor:
        """Boxes (n, 4) as x0, y0, x1, y1 from pixels of the canvas to pixels of the picture, cut at its border."""
        (height, width), (down, right) = self.picture, self.offset
        scale = boxes.new_tensor([width / self.resized[1], height / self.resized[0]] * 2)
        moved = (boxes - boxes.new_tensor([right, down] * 2)) * scale
        return moved.clamp(min=0).minimum(boxes.new_tensor([width, height] * 2))


def place(how: InputDescription, picture: Size, graph: Size | None, enlarge: bool) -> Placement:
    """Where a picture of size ``picture`` goes.

    Args:
        graph: the size of a graph that has a fixed one.
        enlarge: whether ``shortest`` counts.
    """
    height, width = picture
    canvas = how.size or graph
    if how.resize == "keep":
        factor = max(1.0, how.shortest / min(picture)) if enlarge else 1.0
        kept = tuple(max(1, round(int(side * factor) / how.multiple)) * how.multiple for side in picture)
        canvas = (kept[0], kept[1])
    if canvas is None:
        raise ValueError("neither the graph nor its description has a size")
    if how.resize != "letterbox":
        return Placement(picture, canvas, canvas, (0, 0))
    factor = min(canvas[0] / height, canvas[1] / width)
    resized = (max(1, round(height * factor)), max(1, round(width * factor)))
    return Placement(picture, resized, canvas, ((canvas[0] - resized[0]) // 2, (canvas[1] - resized[1]) // 2))


def network_input(images: Tensor, how: InputDescription, where: Placement) -> Tensor:
    """What the network takes in for ``images`` (float (B, 3, H, W) in [0, 1], all of one size).

    Always in float32: bfloat16 has fewer levels than a picture.
    """
    with torch.autocast(images.device.type, enabled=False):
        x = resized(images.float(), where.resized, how.filter)
        (down, right), (height, width) = where.offset, where.resized
        border = (right, where.canvas[1] - width - right, down, where.canvas[0] - height - down)
        if any(border):
            x = pad(x, border, value=how.grey)
        if how.channels == "bgr":
            x = x.flip(1)
        colours = zip(x.unbind(1), how.mean, how.std, strict=True)
        x = torch.stack([(colour * how.white - mean) / std for colour, mean, std in colours], 1)
        return (x if how.layout == "nchw" else x.permute(0, 2, 3, 1)).contiguous()


def resized(images: Tensor, size: Size, kind: str) -> Tensor:
    """``images`` (float (B, 3, H, W)) at another size.

    Args:
        kind: ``area`` (where a side shrinks; else ``bilinear``), ``bilinear`` or ``antialias``.
    """
    if tuple(images.shape[2:]) == size:
        return images
    if kind == "area":
        for axis, side in enumerate(size, start=2):
            if side < images.shape[axis]:
                weights = _overlaps(images.shape[axis], side).to(images)
                images = torch.tensordot(images, weights, dims=([axis], [1])).movedim(-1, axis)
    return interpolate(images, size=size, mode="bilinear", antialias=kind == "antialias", align_corners=False)


def _overlaps(old: int, new: int) -> Tensor:
    """Share of each old pixel in each new one along one axis: float (new, old), rows sum to 1."""
    edges = torch.arange(new + 1, dtype=torch.float64) * old / new
    pixels = torch.arange(old, dtype=torch.float64)
    ends = edges[1:, None].minimum(pixels + 1) - edges[:-1, None].maximum(pixels)
    return ends.clamp(min=0) * new / old
