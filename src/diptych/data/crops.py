"""Training crops: drawn first, cut later, by workers beside the training or on the device that holds the photos.

::

    (seed, batch) ──draw──> photo numbers, windows ──cut──> (B, 3, S, S) in 0..1

A window is ``(top, left, extent, flip)`` in pixels of its photo: a square of ``extent`` pixels becomes ``S`` pixels
wide, mirrored if ``flip`` is 1. Two thirds of them are not resampled, so that a codec learns from pixels as cameras
and their JPEGs leave them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from diptych.data.photo_cache import Sample

UNSCALED = 0.67
"""Share of the windows that are not resampled."""
VISIBLE = 0.4
"""An object of which less than this share is left in the crop is to be ignored."""


def draw_window(
    size: tuple[int, int], side: int, zoom: tuple[float, float], random: np.random.Generator
) -> list[float]:
    """A random window for a crop of ``side`` pixels.

    Args:
        size: height and width of the photo; one smaller than the crop is enlarged.
        zoom: range of photo pixels per crop pixel, where the crop is resampled.
    """
    factor = 1.0 if random.random() < UNSCALED else random.uniform(*zoom)
    factor = min(factor, *(length / side for length in size))
    extent = side * factor
    corner = [random.uniform(0, length - extent) for length in size]
    if factor == 1:
        corner = [float(round(start)) for start in corner]
    return [*corner, extent, float(random.random() < 0.5)]


def cut(photos: Tensor, windows: Tensor, side: int) -> Tensor:
    """Crops ``(B, 3, S, S)`` in 0..1, channels last, interpolated bilinearly.

    Args:
        photos: uint8 ``(B, 3, H, W)``, on the device of ``windows``.
        windows: float ``(B, 4)``.
    """
    top, left, extent, flip = windows.unbind(1)
    height, width = photos.shape[2:]
    none = torch.zeros_like(top)
    across = torch.stack([(1 - 2 * flip) * extent / width, none, (2 * left + extent) / width - 1], 1)
    down = torch.stack([none, extent / height, (2 * top + extent) / height - 1], 1)
    grid = affine_grid(torch.stack([across, down], 1), [len(photos), 3, side, side], align_corners=False)
    crops = grid_sample(photos.float() / 255, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return crops.clamp(0, 1).contiguous(memory_format=torch.channels_last)


def cut_one(photo: np.ndarray, window: Sequence[float], side: int) -> Tensor:
    """:func:`cut` of a single photo, uint8 ``(H, W, 3)``, reading no more of it than it needs: ``(3, S, S)``."""
    top, left, extent, flip = window
    first = [max(0, math.floor(start) - 1) for start in (top, left)]
    last = [math.ceil(start + extent) + 1 for start in (top, left)]
    part = np.ascontiguousarray(photo[first[0] : last[0], first[1] : last[1]].transpose(2, 0, 1))
    moved = torch.tensor([[top - first[0], left - first[1], extent, flip]])
    return cut(torch.from_numpy(part)[None], moved, side)[0]


def cut_target(sample: Sample, window: Sequence[float], side: int, ignore: int) -> dict[str, Tensor]:
    """What of a photo's instances is in the crop.

    Returns:
        boxes float32 ``(n, 4)`` in its pixels, labels int64 ``(n,)``, ``ignore`` for what is cut too far, and masks
        uint8 ``(n, S, S)``.
    """
    top, left, extent, flip = window
    boxes = (sample.boxes - np.array([left, top] * 2, np.float32)) * np.float32(side / extent)
    seen = boxes.clip(0, side)
    whole, rest = (((b[:, 2:] - b[:, :2]).clip(min=0)).prod(1) for b in (boxes, seen))
    kept = ((seen[:, 2:] - seen[:, :2]) >= 4).all(1)
    labels = np.where(rest < VISIBLE * whole, ignore, sample.labels)[kept]
    height, width = sample.photo.shape[:2]
    steps = (np.arange(side) + 0.5) * extent / side
    rows, columns = (
        (start + steps).astype(int).clip(0, limit - 1) for start, limit in ((top, height), (left, width))
    )
    masks, seen = sample.masks[kept][:, rows][:, :, columns], seen[kept]
    if flip:
        masks, seen = masks[:, :, ::-1], np.stack([side - seen[:, 2], seen[:, 1], side - seen[:, 0], seen[:, 3]], 1)
    return {
        "boxes": torch.from_numpy(np.ascontiguousarray(seen, np.float32)),
        "labels": torch.from_numpy(labels),
        "masks": torch.from_numpy(np.ascontiguousarray(masks)),
    }
