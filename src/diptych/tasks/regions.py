"""Boxes in NumPy: what detectors do between their convolutions.

Boxes are float32 ``(n, 4)`` as left, top, right, bottom, in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
_LARGEST = math.log(1000 / 16)
"""Boxes grow by no more than the exponential of this."""


def anchors(size: tuple[int, int], strides: tuple[int, int], side: int, aspects: Sequence[float]) -> Floats:
    """Boxes around each of ``size`` places, row by row, one for each aspect (height by width).

    Returns:
        ``(rows * columns * aspects, 4)``.
    """
    roots = np.sqrt(np.array(aspects, np.float32))
    halves = np.stack([side / roots, side * roots], axis=1) / 2
    around = np.rint(np.concatenate([-halves, halves], axis=1))
    rows, columns = np.indices(size, np.float32) * np.reshape(strides, (2, 1, 1))
    centres = np.stack([columns, rows, columns, rows], axis=-1).reshape(-1, 1, 4)
    return (centres + around).reshape(-1, 4).astype(np.float32)


def moved(boxes: Floats, deltas: Floats) -> Floats:
    """Boxes moved by ``deltas`` ``(n, 4)``: of centres in widths and heights, of sides as logarithms."""
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = boxes[:, :2] + sides / 2 + deltas[:, :2] * sides
    halves = np.exp(np.minimum(deltas[:, 2:], np.float32(_LARGEST))) * sides / 2
    return np.concatenate([centres - halves, centres + halves], axis=1)


def inside(boxes: Floats, size: tuple[int, int]) -> Floats:
    """Boxes cut at the border of a picture of ``size``: height, width."""
    height, width = size
    return boxes.clip(0, np.array([width, height, width, height], np.float32))


def wide(boxes: Floats, least: float) -> NDArray[np.bool_]:
    """Which boxes have both sides of at least so many pixels."""
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    return (width >= least) & (height >= least)


def overlaps(boxes: Floats, others: Floats) -> Floats:
    """Intersection over union of each with each: ``(n, m)``."""
    left, top = (np.maximum.outer(boxes[:, side], others[:, side]) for side in (0, 1))
    right, bottom = (np.minimum.outer(boxes[:, side], others[:, side]) for side in (2, 3))
    common = (right - left).clip(0) * (bottom - top).clip(0)
    union = np.add.outer(_areas(boxes), _areas(others)) - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def best_apart(
    boxes: Floats, scores: Floats, groups: NDArray[np.int64], limit: float, most: int
) -> NDArray[np.intp]:
    """Non-maximum suppression.

    Returns:
        The best boxes, best first and ``most`` of them at most, none of which overlaps a better one of its group by
        more than ``limit``.
    """
    left = np.argsort(-scores, kind="stable")
    kept: list[np.intp] = []
    while left.size and len(kept) < most:
        best, left = left[0], left[1:]
        kept.append(best)
        double = (groups[left] == groups[best]) & (overlaps(boxes[best, None], boxes[left])[0] > limit)
        left = left[~double]
    return np.array(kept, np.intp)


def pooled(levels: Sequence[Floats], boxes: Floats, strides: Sequence[int], side: int) -> Floats:
    """RoI align: what a feature pyramid holds inside each box, from the level that suits the box's size.

    A bin is the mean of 2 x 2 samples, each interpolated between four features. Both steps are linear and separate
    into rows and columns, so that two matrix products do all of it.

    Args:
        levels: ``(h, w, C)`` each.
        strides: pixels per feature of each level.
        side: bins along a side of a box.

    Returns:
        ``(n, side, side, C)``.
    """
    found = np.empty((len(boxes), side, side, levels[0].shape[2]), np.float32)
    suited = np.floor(4 + np.log2(np.sqrt(_areas(boxes)) / 224) + 1e-6)  # 4: a stride of 2**4
    for level, stride in zip(levels, strides, strict=True):
        exponent = int(math.log2(stride))
        mine = np.flatnonzero(suited.clip(math.log2(strides[0]), math.log2(strides[-1])) == exponent)
        height, width, channels = level.shape
        places = boxes[mine] / stride
        down = _shares(places[:, 1], places[:, 3], height, side)
        along = _shares(places[:, 0], places[:, 2], width, side)
        rows = down.reshape(-1, height) @ level.reshape(height, -1)
        found[mine] = along[:, None] @ rows.reshape(len(mine), side, width, channels)
    return found


def pasted(masks: Floats, boxes: Floats, size: tuple[int, int]) -> Floats:
    """Masks ``(n, m, m)`` of boxes in a picture of ``size``: ``(n, height, width)``, 0 outside the boxes."""
    side = masks.shape[-1]
    bordered = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
    centres, halves = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * ((side + 2) / side)
    corners = np.concatenate([centres - halves, centres + halves], axis=1).astype(np.int64)
    canvas = np.zeros((len(masks), *size), np.float32)
    for mask, (left, top, right, bottom), picture in zip(bordered, corners, canvas, strict=True):
        whole = resized(mask, (max(bottom - top + 1, 1), max(right - left + 1, 1)))
        seen = whole[max(-top, 0) : size[0] - top, max(-left, 0) : size[1] - left]
        row, column = max(top, 0), max(left, 0)
        picture[row : row + seen.shape[0], column : column + seen.shape[1]] = seen
    return canvas


def resized(planes: Floats, size: tuple[int, int]) -> Floats:
    """Planes ``(..., h, w)`` at another size, interpolated without a low-pass."""
    for axis, new in zip((planes.ndim - 2, planes.ndim - 1), size, strict=True):
        old = planes.shape[axis]
        if new == old:
            continue
        places = ((np.arange(new, dtype=np.float32) + 0.5) * np.float32(old / new) - 0.5).clip(0, old - 1)
        low = places.astype(np.intp)
        share = (places - low).astype(np.float32).reshape(-1, *[1] * (planes.ndim - 1 - axis))
        first, second = planes.take(low, axis), planes.take(np.minimum(low + 1, old - 1), axis)
        planes = first + share * (second - first)
    return planes


def _shares(start: Floats, stop: Floats, length: int, bins: int) -> Floats:
    """What each of ``length`` features contributes to each bin between ``start`` and ``stop``:
    ``(n, bins, length)``. Boxes have a side of at least 1; samples beyond the features are 0."""
    sides = np.maximum(stop - start, 1)
    samples = start[:, None] + sides[:, None] * ((np.arange(2 * bins, dtype=np.float32) + 0.5) / (2 * bins))
    distance = np.abs(np.arange(length, dtype=np.float32) - samples.clip(0, length - 1)[..., None])
    shares = (1 - distance).clip(0) * (samples <= length)[..., None]
    return shares.reshape(len(start), bins, 2, length).mean(axis=2)


def _areas(boxes: Floats) -> Floats:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
