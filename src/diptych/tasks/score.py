"""What machines say, compared: classes of different lists by name, and agreement of two looks.

Detections are dictionaries: boxes float (n, 4) in pixels as x0, y0, x1, y1, labels int64 (n,) from 1, scores
float (n,) in [0, 1], and, for machines that segment, masks float (n, 1, H, W) in [0, 1].
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou

from diptych.errors import ModelError

Found = dict[str, Tensor]


def label_map(classes: Sequence[str], wanted: Sequence[str]) -> Tensor:
    """From labels of one list of classes to those of another, by name.

    Returns:
        int64 (1 + len(classes),): entry ``k`` is the label in ``wanted`` of label ``k``, 0 where it has none.

    Raises:
        ModelError: no name is in both.
    """
    labels = {name: label for label, name in reversed(list(enumerate(wanted, start=1)))}
    mapping = torch.tensor([0, *(labels.get(name, 0) for name in classes)])
    if not mapping.any():
        raise ModelError(
            f"The machine and the labels have no class in common: {_few(classes)} against {_few(wanted)}."
        )
    return mapping


def relabelled(instances: Found, mapping: Tensor) -> Found:
    """Detections or training targets with the labels that :func:`label_map` gives them.

    Instances of other classes are left out; labels below 0 (to be ignored) stay.
    """
    old = instances["labels"]
    new = torch.where(old < 0, old, mapping.to(old.device)[old.clamp(min=0)])
    kept = new != 0
    return {name: (new if name == "labels" else value)[kept] for name, value in instances.items()}


def agreement(wanted: Found, seen: Found, iou: float = 0.5, confidence: float = 0.5) -> float:
    """F1 of the detections in a decoded picture against those in the original, which need no labels.

    A detection agrees with at most one of the other picture, of its class and overlapping by at least ``iou``;
    surer ones choose first. Detections scored below ``confidence`` do not count.

    Returns:
        0 to 1, or NaN where nothing was found in the original.
    """
    wanted, seen = (_confident(found, confidence) for found in (wanted, seen))
    if not len(wanted["labels"]):
        return math.nan
    same = seen["labels"][:, None] == wanted["labels"][None]
    overlaps = torch.where(same, box_iou(seen["boxes"], wanted["boxes"]), -1.0)
    agreed = 0
    for row in overlaps:
        best = int(row.argmax())
        if row[best] >= iou:
            agreed += 1
            overlaps[:, best] = -1.0
    return 2 * agreed / (len(wanted["labels"]) + len(seen["labels"]))


def _confident(found: Found, confidence: float) -> Found:
    order = found["scores"].argsort(descending=True, stable=True)
    order = order[found["scores"][order] >= confidence]
    return {name: found[name][order] for name in ("boxes", "labels", "scores")}


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
