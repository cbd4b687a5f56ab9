"""Random views of photos for training: scale, crop, flip and colour, mosaics, objects pasted from one photo onto
another, the labels following."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diptych.data.coco import IGNORE
from diptych.data.photo_cache import Sample

PADDING = 124
"""Grey level of the canvas outside the photo, the mean of natural photos."""
LEAST_VISIBLE = 0.3
"""An object is no longer taught when pasted ones leave less than this share of its mask."""

Example = tuple[Tensor, dict[str, Tensor]]
"""A picture, float (3, size, size), and its boxes, labels and masks, as :func:`training_example` returns them."""


@dataclass(frozen=True)
class Augmentation:
    """How far training pictures may differ from the photos.

    Attributes:
        size: side of the square training picture, in pixels.
        scale: range of the photo's long side, relative to ``size``; beyond 1 the photo is cropped.
        colour: largest relative change of brightness, contrast and saturation, 0 to 1.
        keep: a cropped instance stays an example if this share of its box is left, else it is ignored.
    """

    size: int = 320
    scale: tuple[float, float] = (0.7, 1.3)
    colour: float = 0.2
    keep: float = 0.4


class Samples(Protocol):
    """Photos with labels (``CocoDataset``) or without (``Photos``)."""

    def sample(self, index: int, random: np.random.Generator) -> Sample: ...


def training_example(dataset: Samples, index: int, how: Augmentation, random: np.random.Generator) -> Example:
    """One random view of photo ``index``, or of another one if it turns out to be broken.

    Returns:
        the picture, float (3, size, size) in [0, 1], and its target: boxes float32 (n, 4) in its pixels,
        labels int64 (n,), ``IGNORE`` for crowds and for what is cropped too far, and masks uint8
        (n, size, size). Only the heads of Mask R-CNN know ``IGNORE``: its region proposals learn such boxes
        as objects.
    """
    photo, boxes, labels, masks = dataset.sample(index, random)
    height, width = photo.shape[:2]
    factor = random.uniform(*how.scale) * how.size / max(height, width)
    scaled = (max(1, round(height * factor)), max(1, round(width * factor)))
    seen, place = zip(*(_window(side, how.size, random) for side in scaled), strict=True)
    source = (seen[1][0] / factor, seen[0][0] / factor, seen[1][1] / factor, seen[0][1] / factor)
    source = (source[0], source[1], min(source[2], width), min(source[3], height))
    flip = random.random() < 0.5
    canvas = np.full((how.size, how.size, 3), PADDING, dtype=np.uint8)
    area = np.s_[place[0][0] : place[0][1], place[1][0] : place[1][1]]
    shape = (place[1][1] - place[1][0], place[0][1] - place[0][0])
    resized = Image.fromarray(photo).resize(shape, Image.Resampling.BILINEAR, box=source, reducing_gap=2.0)
    canvas[area] = _recolour(np.asarray(resized), how.colour, random)

    offset = np.array([place[1][0] - seen[1][0], place[0][0] - seen[0][0]] * 2, dtype=np.float32)
    moved = boxes * np.float32(factor) + offset
    boxes = np.stack([moved[:, k].clip(place[1 - k % 2][0], place[1 - k % 2][1]) for k in range(4)], axis=1)
    left = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    whole = (moved[:, 2] - moved[:, 0]) * (moved[:, 3] - moved[:, 1])
    useful = ((boxes[:, 2:] - boxes[:, :2]) >= 4).all(axis=1)
    labels = np.where(left < how.keep * whole, IGNORE, labels)[useful]
    views = np.zeros((int(useful.sum()), how.size, how.size), dtype=np.uint8)
    for view, mask in zip(views, masks[useful], strict=True):
        view[area] = np.asarray(Image.fromarray(mask).resize(shape, Image.Resampling.NEAREST, box=source))
    boxes = boxes[useful]
    if flip:
        canvas, views = canvas[:, ::-1], views[:, :, ::-1]
        boxes = np.stack([how.size - boxes[:, 2], boxes[:, 1], how.size - boxes[:, 0], boxes[:, 3]], axis=1)
    picture = torch.from_numpy(np.ascontiguousarray(canvas)).permute(2, 0, 1).float().div_(255)
    target = {
        "boxes": torch.from_numpy(boxes),
        "labels": torch.from_numpy(labels),
        "masks": torch.from_numpy(np.ascontiguousarray(views)),
    }
    return picture, target


def mosaic(examples: Sequence[Example]) -> Example:
    """One picture of twice the side made of four (Bochkovskiy et al., 2020, without their random centre)."""
    pictures, targets = zip(*examples, strict=True)
    side = pictures[0].shape[1]
    picture = torch.cat([torch.cat(pictures[:2], 2), torch.cat(pictures[2:], 2)], 1)
    corners = [(0, 0), (0, side), (side, 0), (side, side)]
    masks = []
    for target, (top, left) in zip(targets, corners, strict=True):
        mask = torch.zeros(len(target["masks"]), 2 * side, 2 * side, dtype=torch.uint8)
        mask[:, top : top + side, left : left + side] = target["masks"]
        masks.append(mask)
    boxes = [
        target["boxes"] + torch.tensor([left, top, left, top])
        for target, (top, left) in zip(targets, corners, strict=True)
    ]
    labels = [target["labels"] for target in targets]
    return picture, {"boxes": torch.cat(boxes), "labels": torch.cat(labels), "masks": torch.cat(masks)}


def paste(under: Example, over: Example, random: np.random.Generator) -> Example:
    """``under`` with a random choice of the objects of ``over`` on top (Ghiasi et al., CVPR 2021)."""
    picture, target = under
    donor, objects = over
    chosen = torch.from_numpy(random.random(len(objects["labels"])) < 0.6) & (objects["labels"] > 0)
    chosen &= objects["masks"].flatten(1).amax(1) > 0
    if not bool(chosen.any()):
        return under
    cover = objects["masks"][chosen].amax(0)
    visible = target["masks"] * (1 - cover)
    before, after = target["masks"].flatten(1).sum(1), visible.flatten(1).sum(1)
    kept = after >= LEAST_VISIBLE * before.clamp(min=1)
    changed = kept & (after < before)
    boxes = target["boxes"].clone()
    boxes[changed] = _boxes_around(visible[changed])
    mixed = {
        "boxes": torch.cat([boxes[kept], objects["boxes"][chosen]]),
        "labels": torch.cat([target["labels"][kept], objects["labels"][chosen]]),
        "masks": torch.cat([visible[kept], objects["masks"][chosen]]),
    }
    return torch.where(cover.bool(), donor, picture), mixed


def _window(scaled: int, size: int, random: np.random.Generator) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where a side of ``scaled`` pixels is cut (seen) and where that lands on the canvas (place)."""
    if scaled > size:
        start = int(random.integers(scaled - size + 1))
        return (start, start + size), (0, size)
    start = int(random.integers(size - scaled + 1))
    return (0, scaled), (start, start + scaled)


def _recolour(photo: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """The photo (uint8, height x width x 3) with random brightness, contrast and saturation."""
    brightness, contrast, saturation = random.uniform(1 - strength, 1 + strength, 3).astype(np.float32)
    grey = photo @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    mean = grey.mean()
    coloured = (photo * saturation + (1 - saturation) * grey[..., None] - mean) * contrast + mean
    return np.clip(coloured * brightness, 0, 255).astype(np.uint8)


def _boxes_around(masks: Tensor) -> Tensor:
    """Boxes float (n, 4) around masks (n, H, W), none of them empty."""
    boxes = torch.empty(len(masks), 4)
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = mask.amax(1).nonzero().flatten(), mask.amax(0).nonzero().flatten()
        box[:] = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    return boxes
