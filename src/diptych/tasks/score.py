"""How well a task network sees: average precision against labels, or agreement with itself.

Detections are dictionaries: boxes float (n, 4) in pixels as x0, y0, x1, y1, labels int64 (n,) from 1, scores
float (n,) in [0, 1], and, for networks that segment, masks float (n, 1, H, W) in [0, 1].
"""

import contextlib
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from pycocotools import mask as rle_masks
from pycocotools.cocoeval import COCOeval
from torch import Tensor
from torchvision.ops import box_iou

from diptych.data.coco import CocoDataset
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
            f"The task network and the labels have no class in common: {_few(classes)} against {_few(wanted)}."
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


def coco_score(predictions: Iterable[Found], dataset: CocoDataset, classes: Sequence[str]) -> dict[str, float]:
    """COCO average precision of ``predictions``, one per photo of ``dataset`` in its order.

    Args:
        classes: of the network; those that the labels do not know are left out.

    Returns:
        ``box_AP`` and ``box_AP50`` of boxes, 0 to 1, and ``AP`` and ``AP50`` of masks where there are any.

    Raises:
        ModelError: the labels know none of the classes.
    """
    mapping = label_map(classes, dataset.classes)
    kinds = {"bbox": "box_"}
    results = []
    for image_id, found in zip(dataset.ids, predictions, strict=True):
        if "masks" in found:
            kinds["segm"] = ""
        results += _coco_results(image_id, relabelled(found, mapping))
    if not results:
        return {prefix + name: 0.0 for prefix in kinds.values() for name in ("AP", "AP50")}
    scores: dict[str, float] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = dataset.truth()
        loaded = truth.loadRes(results)
        for kind, prefix in kinds.items():
            evaluation = COCOeval(truth, loaded, kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            ap, ap50 = (max(0.0, float(value)) for value in evaluation.stats[:2])
            scores |= {prefix + "AP": ap, prefix + "AP50": ap50}
    return scores


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


def _coco_results(image_id: int, found: Found) -> list[dict[str, Any]]:
    boxes = found["boxes"].cpu().double().numpy()
    corners = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    results: list[dict[str, Any]] = [
        {"image_id": image_id, "category_id": int(label), "score": float(score), "bbox": box.tolist()}
        for label, score, box in zip(found["labels"], found["scores"], corners, strict=True)
    ]
    if "masks" in found:
        masks = (found["masks"][:, 0] > 0.5).to("cpu", torch.uint8).numpy()
        for result, mask in zip(results, masks, strict=True):
            result["segmentation"] = rle_masks.encode(np.asfortranarray(mask))
    return results


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
