"""From the raw outputs of a network to detections, in pixels of its input."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import ConvexHull
from torch import Tensor
from torchvision.ops import batched_nms, nms

from diptych.errors import ModelError
from diptych.tasks.descriptions import (
    DbnetDecoder,
    Decoder,
    FastestDetDecoder,
    NanodetDecoder,
    UltralightDecoder,
    YunetDecoder,
)
from diptych.tasks.preprocessing import Size


def decode(how: Decoder, outputs: Mapping[str, np.ndarray], canvas: Size, classes: int) -> dict[str, Tensor]:
    """Detections in one picture, best first.

    Args:
        how: which decoder, and its thresholds.
        outputs: of the network, by name.
        canvas: height and width of its input.
        classes: how many it knows.

    Returns:
        boxes float32 (n, 4) as x0, y0, x1, y1 in pixels of the canvas, labels int64 (n,) from 1, scores (n,).

    Raises:
        ModelError: the outputs, or the number of classes, are not those of the decoder.
    """
    if isinstance(how, FastestDetDecoder):
        return _fastestdet(how, _map(outputs, 5 + classes, how.kind), canvas)
    if isinstance(how, NanodetDecoder):
        return _nanodet(how, [output[0] for output in _levels(outputs, classes)], canvas)
    if classes != 1:
        raise ModelError(f"The decoder '{how.kind}' finds one class, but {classes} are named.")
    if isinstance(how, YunetDecoder):
        return _best(*_yunet(outputs, canvas), how, canvas)
    if isinstance(how, UltralightDecoder):
        return _best(*_ultralight(outputs, canvas), how, canvas)
    return _dbnet(how, _map(outputs, 1, how.kind)[0], canvas)


def _map(outputs: Mapping[str, np.ndarray], channels: int, decoder: str) -> np.ndarray:
    shapes = [tuple(output.shape) for output in outputs.values()]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][:2] != (1, channels):
        raise ModelError(
            f"The decoder '{decoder}' reads one output of shape (1, {channels}, height, width), "
            f"but the network gives {' and '.join(map(str, shapes))}."
        )
    return next(iter(outputs.values()))[0]


def _levels(outputs: Mapping[str, np.ndarray], classes: int) -> list[np.ndarray]:
    """The outputs of NanoDet, checked: probabilities of each level, then odds of each."""
    found = list(outputs.values())
    half = len(found) // 2
    fit = len(found) == 2 * half > 0 and all(
        p.shape == (1, p.shape[1], classes) and d.shape == (1, p.shape[1], d.shape[-1]) and not d.shape[-1] % 4
        for p, d in zip(found[:half], found[half:], strict=True)
    )
    if not fit:
        raise ModelError(
            f"The decoder 'nanodet' reads outputs (1, cells, {classes}), then as many (1, cells, 4 * bins), "
            f"but the network gives {' and '.join(str(tuple(output.shape)) for output in found)}."
        )
    return found


def _nanodet(how: NanodetDecoder, levels: Sequence[np.ndarray], canvas: Size) -> dict[str, Tensor]:
    half, boxes, scores = len(levels) // 2, [], []
    for probabilities, odds in zip(levels[:half], levels[half:], strict=True):
        stride = _stride(len(probabilities), canvas)
        distances = torch.from_numpy(odds).float().reshape(len(odds), 4, -1).softmax(dim=-1)
        distances = distances @ torch.arange(distances.shape[-1]).float() * stride
        down, right = (torch.arange(0, side, stride) + (stride - 1) / 2 for side in canvas)
        centres = torch.cartesian_prod(down, right).flip(1)
        boxes.append(torch.cat([centres - distances[:, :2], centres + distances[:, 2:]], dim=1))
        scores.append(torch.from_numpy(probabilities).float())
    cells, classes = (torch.cat(scores) > how.score).nonzero(as_tuple=True)
    sure, limit = torch.cat(scores)[cells, classes], torch.tensor([canvas[1], canvas[0]] * 2).float()
    placed = torch.cat(boxes)[cells].clamp(min=0).minimum(limit)
    kept = batched_nms(placed, sure, classes, how.iou)[: how.most]
    return {"boxes": placed[kept], "labels": classes[kept] + 1, "scores": sure[kept]}


def _stride(cells: int, canvas: Size) -> int:
    for stride in (4, 8, 16, 32, 64, 128):
        if cells == math.prod(math.ceil(side / stride) for side in canvas):
            return stride
    raise ModelError(
        f"The decoder 'nanodet' finds no stride at which {canvas[0]} x {canvas[1]} pixels are {cells} cells."
    )


def _fastestdet(how: FastestDetDecoder, cells: np.ndarray, canvas: Size) -> dict[str, Tensor]:
    found = torch.from_numpy(cells).float()
    height, width = found.shape[1:]
    scores, classes = found[5:].max(0)
    scores = found[0].clamp(min=0) ** 0.6 * scores.clamp(min=0) ** 0.4
    x = (torch.arange(width) + found[1].tanh()) / width
    y = (torch.arange(height)[:, None] + found[2].tanh()) / height
    half_width, half_height = found[3].sigmoid() / 2, found[4].sigmoid() / 2
    boxes = torch.stack([x - half_width, y - half_height, x + half_width, y + half_height], dim=-1)
    sure = scores > how.score
    boxes = boxes[sure].clamp(0, 1) * torch.tensor([canvas[1], canvas[0]] * 2)
    kept = batched_nms(boxes, scores[sure], classes[sure], how.iou)
    return {"boxes": boxes[kept], "labels": classes[sure][kept] + 1, "scores": scores[sure][kept]}


def _yunet(outputs: Mapping[str, np.ndarray], canvas: Size) -> tuple[Tensor, Tensor]:
    """Boxes and scores of all cells."""
    boxes, scores = [], []
    for stride in (8, 16, 32):
        height, width = canvas[0] // stride, canvas[1] // stride
        sure, there, box = (_cells(outputs, f"{n}_{stride}", height * width) for n in ("cls", "obj", "bbox"))
        cells = torch.cartesian_prod(torch.arange(height), torch.arange(width)).flip(1)
        centre, half = (cells + box[:, :2]) * stride, box[:, 2:].exp() * stride / 2
        boxes.append(torch.cat([centre - half, centre + half], dim=1))
        scores.append((sure.clamp(0, 1) * there.clamp(0, 1)).sqrt()[:, 0])
    return torch.cat(boxes), torch.cat(scores)


_SMALLEST_FACES = {8: (10, 16, 24), 16: (32, 48), 32: (64, 96), 64: (128, 192, 256)}
"""Sides of Ultra-Light's priors, in pixels, by stride."""


def _ultralight(outputs: Mapping[str, np.ndarray], canvas: Size) -> tuple[Tensor, Tensor]:
    """Boxes and scores of all priors."""
    priors = []
    for stride, sides in _SMALLEST_FACES.items():
        down, right = ((torch.arange(math.ceil(side / stride)) + 0.5) * stride for side in canvas)
        centres = torch.cartesian_prod(down, right).flip(1)
        of_each = [torch.cat([centres, torch.full_like(centres, side)], dim=1) for side in sides]
        priors.append(torch.stack(of_each, dim=1).flatten(0, 1))
    prior = torch.cat(priors)
    found, scores = _cells(outputs, "boxes", len(prior)), _cells(outputs, "scores", len(prior))
    centre, half = prior[:, :2] + 0.1 * found[:, :2] * prior[:, 2:], (0.2 * found[:, 2:]).exp() * prior[:, 2:] / 2
    return torch.cat([centre - half, centre + half], dim=1), scores[:, 1]


def _cells(outputs: Mapping[str, np.ndarray], name: str, count: int) -> Tensor:
    if name not in outputs or outputs[name].shape[:2] != (1, count):
        given = ", ".join(f"{n} {tuple(output.shape)}" for n, output in outputs.items())
        raise ModelError(f"The decoder reads an output '{name}' (1, {count}, ...), but the network gives {given}.")
    return torch.from_numpy(outputs[name][0]).float()


def _best(boxes: Tensor, scores: Tensor, how: YunetDecoder | UltralightDecoder, canvas: Size) -> dict[str, Tensor]:
    """The sure ones of one class, cut at the border, without those that a better one overlaps."""
    sure = scores > how.score
    boxes, scores = boxes[sure].clamp(min=0).minimum(torch.tensor([canvas[1], canvas[0]] * 2)), scores[sure]
    kept = nms(boxes, scores, how.iou)
    return {"boxes": boxes[kept], "labels": torch.ones(len(kept), dtype=torch.int64), "scores": scores[kept]}


def _dbnet(how: DbnetDecoder, probability: np.ndarray, canvas: Size) -> dict[str, Tensor]:
    parts, _ = ndimage.label(probability > how.threshold, structure=np.ones((3, 3)))
    boxes, scores = [], []
    for number, (rows, columns) in enumerate(ndimage.find_objects(parts), start=1):
        rectangle = _tightest(parts[rows, columns] == number, np.array([columns.start, rows.start]))
        short, long = np.sort(2 * rectangle.half)
        score = rectangle.mean(probability)
        if short >= how.smallest and score >= how.score:
            boxes.append(rectangle.bounds(how.unclip * short * long / (2 * (short + long))))
            scores.append(score)
    scale = torch.tensor([canvas[1] / probability.shape[1], canvas[0] / probability.shape[0]] * 2)
    order = np.argsort(-np.array(scores), kind="stable").tolist()
    return {
        "boxes": torch.tensor(np.array(boxes), dtype=torch.float32).reshape(-1, 4)[order] * scale,
        "labels": torch.ones(len(order), dtype=torch.int64),
        "scores": torch.tensor(scores, dtype=torch.float32)[order],
    }


class _Rectangle(NamedTuple):
    """A rectangle at any angle: centre x, y, unit vectors along its two sides (2, 2), half their lengths (2,)."""

    centre: np.ndarray
    axes: np.ndarray
    half: np.ndarray

    def bounds(self, more: float = 0.0) -> np.ndarray:
        """The upright box around the rectangle with ``more`` added on every side: x0, y0, x1, y1."""
        reach = (self.half + more) @ np.abs(self.axes)
        return np.concatenate([self.centre - reach, self.centre + reach])

    def mean(self, values: np.ndarray) -> float:
        """Mean of a map (height, width) over the pixels that are inside or on the border."""
        low, high = np.floor(self.bounds(0.5)).astype(int).reshape(2, 2).clip(0, np.array(values.shape[::-1]) - 1)
        y, x = np.mgrid[low[1] : high[1] + 1, low[0] : high[0] + 1]
        centres = np.stack([x, y], axis=-1) + 0.5 - self.centre
        inside = (np.abs(centres @ self.axes.T) <= self.half + 0.5).all(axis=-1)
        return float(values[y[inside], x[inside]].mean())


def _tightest(part: np.ndarray, origin: np.ndarray) -> _Rectangle:
    """The smallest rectangle around the pixels of ``part`` (bool (height, width)), which starts at ``origin``."""
    rows = np.flatnonzero(part.any(axis=1))
    left, right = part[rows].argmax(axis=1), part.shape[1] - part[rows, ::-1].argmax(axis=1)
    corners = np.concatenate([np.stack([x, rows + down], axis=1) for x in (left, right) for down in (0, 1)])
    hull = corners[ConvexHull(corners).vertices]
    sides = np.roll(hull, -1, axis=0) - hull
    along = sides / np.linalg.norm(sides, axis=1, keepdims=True)
    axes = np.stack([along, along[:, ::-1] * [-1, 1]], axis=1)
    places = np.einsum("sij,nj->nsi", axes, hull)
    low, high = places.min(axis=0), places.max(axis=0)
    best = int(np.prod(high - low, axis=1).argmin())
    centre = (low + high)[best] / 2 @ axes[best]
    return _Rectangle(centre + origin, axes[best], (high - low)[best] / 2)
