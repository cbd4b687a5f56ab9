"""Training pictures made of several: mosaics, and objects pasted from one photo onto another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Example = tuple[Tensor, dict[str, Tensor]]
"""A picture, float (3, size, size), and its boxes, labels and masks, as ``training_example`` returns them."""

LEAST_VISIBLE = 0.3
"""An object is no longer taught when pasted ones leave less than this share of its mask."""


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


def _boxes_around(masks: Tensor) -> Tensor:
    """Boxes float (n, 4) around masks (n, H, W), none of them empty."""
    boxes = torch.empty(len(masks), 4)
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = mask.amax(1).nonzero().flatten(), mask.amax(0).nonzero().flatten()
        box[:] = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    return boxes
