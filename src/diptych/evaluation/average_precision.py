"""COCO accuracy over many resamples of the photos: of masks, or of boxes where a task network gives no masks.

Detections are matched to instances once per picture (pycocotools); an average precision over any multiset of
photos is then a weighted sum over what was kept, equal to what pycocotools computes with photos repeated.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pycocotools import mask as rle_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

_RECALLS = np.linspace(0, 1, 101)
_EVERY_AREA = [0, 1e10]
_MOST = 100
_TOGETHER = 100
"""Resamples computed at once, which bounds the memory."""


class ClassMatches(NamedTuple):
    """What was found of one class in one picture, for each of the ten IoU thresholds 0.50 ... 0.95.

    Attributes:
        scores: float64 ``(n,)``, best first.
        hits: bool ``(10, n)``, the detection matches an instance.
        misses: bool ``(10, n)``, it matches none; neither is set where it falls on a crowd.
        instances: how many there are to find.
    """

    scores: np.ndarray
    hits: np.ndarray
    misses: np.ndarray
    instances: int


PictureMatches = list[ClassMatches | None]
"""One entry per class; None where the class is neither there nor found."""


class Precision(NamedTuple):
    """Average precision over IoU thresholds 0.50 ... 0.95, and at 0.50; 0 to 1, NaN without instances."""

    ap: float
    ap50: float


Detection = dict[str, Any]
"""``label``, ``score``, ``bbox`` (x, y, width, height in pixels), if the network segments ``segmentation`` (run
lengths as pycocotools has them, ``counts`` a string), and if it reads ``text``: all of it fit for JSON."""

Overlap = Literal["segm", "bbox"]


def detections(found: dict[str, Any]) -> list[Detection]:
    """What a task network found in a picture, put down compactly.

    Args:
        found: boxes ``(n, 4)`` as x0, y0, x1, y1, labels ``(n,)``, scores ``(n,)`` and perhaps masks
            ``(n, 1, H, W)`` in 0..1, or texts, a list.
    """
    boxes = found["boxes"].double().cpu().numpy()
    boxes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    entries: list[Detection] = [
        {"label": int(label), "score": float(score), "bbox": box.tolist()}
        for label, score, box in zip(found["labels"], found["scores"], boxes, strict=True)
    ]
    if "masks" in found:
        masks = (found["masks"][:, 0] > 0.5).to("cpu", torch.uint8).numpy()
        for entry, mask in zip(entries, masks, strict=True):
            rle = rle_masks.encode(np.asfortranarray(mask))
            entry["segmentation"] = {"size": rle["size"], "counts": rle["counts"].decode("ascii")}
    for entry, text in zip(entries, found["texts"], strict=True) if "texts" in found else ():
        entry["text"] = text
    return entries


def found_again(seen: Sequence[Detection]) -> dict[str, Any]:
    """Boxes, labels, scores and texts as the network gave them to :func:`detections`."""
    corners = torch.tensor([each["bbox"] for each in seen], dtype=torch.float32).reshape(-1, 4)
    return {
        "texts": [each.get("text", "") for each in seen],
        "boxes": torch.cat([corners[:, :2], corners[:, :2] + corners[:, 2:]], dim=1),
        "labels": torch.tensor([each["label"] for each in seen], dtype=torch.int64),
        "scores": torch.tensor([each["score"] for each in seen], dtype=torch.float32),
    }


def match(truth: COCO, image_id: int, seen: Sequence[Detection], overlap: Overlap) -> PictureMatches:
    """Match the detections in one picture.

    Args:
        truth: labels of all photos.
        image_id: the photo in ``truth``.
        seen: their labels are category ids of ``truth``.
        overlap: of masks or of boxes.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        found = COCO()
        found.dataset = {
            "images": [truth.imgs[image_id]],
            "annotations": [_annotation(k, image_id, each, overlap) for k, each in enumerate(seen, start=1)],
            "categories": truth.dataset["categories"],
        }
        found.createIndex()
        evaluation = COCOeval(truth, found, overlap)
        evaluation.params.imgIds = [image_id]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [_EVERY_AREA], ["all"]
        evaluation.params.maxDets = [_MOST]
        evaluation.evaluate()
    return [_kept(entry) for entry in evaluation.evalImgs]


class AveragePrecision:
    """Average precision of one set of decoded pictures, for any resample of them.

    Args:
        pictures: the matches of every photo, in order.
    """

    def __init__(self, pictures: Sequence[PictureMatches]) -> None:
        self.photos = len(pictures)
        classes = zip(*pictures, strict=True)
        self._classes = [c for c in (_ranked(matches) for matches in classes) if c is not None]

    def over(self) -> Precision:
        """The precision over each photo once."""
        return Precision(*self._weighted(np.ones((1, self.photos)))[0].tolist())

    def resampled(self, drawn: np.ndarray) -> np.ndarray:
        """The precisions over many sets of photos.

        Args:
            drawn: indices of the photos in each set, int64 ``(draws, n)``.

        Returns:
            float64 ``(draws, 2)``, the columns those of :class:`Precision`.
        """
        weights = np.stack([np.bincount(draw, minlength=self.photos) for draw in drawn])
        parts = np.array_split(weights, math.ceil(len(weights) / _TOGETHER))
        return np.concatenate([self._weighted(part) for part in parts])

    def _weighted(self, weights: np.ndarray) -> np.ndarray:
        """Precisions ``(draws, 2)``, photo ``i`` counted ``weights[:, i]`` times."""
        if not self._classes:
            return np.full((len(weights), 2), np.nan)
        per_class = np.stack([ranked.precisions(weights.astype(float)) for ranked in self._classes])
        there = ~np.isnan(per_class[:, :, :1])
        with np.errstate(invalid="ignore"):
            mean = np.where(there, per_class, 0).sum(axis=0) / there.sum(axis=0)
        return np.stack([mean.mean(axis=1), mean[:, 0]], axis=1)


class _Ranked(NamedTuple):
    """All detections of one class, best first, with the photo each comes from."""

    photo: np.ndarray
    hits: np.ndarray
    misses: np.ndarray
    instances: np.ndarray

    def precisions(self, weights: np.ndarray) -> np.ndarray:
        """Mean precision ``(draws, 10)`` per threshold, the photos counted by ``weights`` ``(draws, photos)``;
        NaN without instances.

        Precision rises only at hits, so the envelope is needed there alone; a hit stands for the recall levels
        between the recall before it and its own.
        """
        wanted = (weights @ self.instances)[:, None]
        weight = weights[:, self.photo]
        means = np.zeros((len(weights), len(self.hits)))
        for threshold, (hits, misses) in enumerate(zip(self.hits, self.misses, strict=True)):
            found = np.cumsum(weight[:, hits], axis=1)
            shown = np.cumsum(weight * (hits | misses), axis=1)[:, hits]
            precision = found / np.maximum(shown, 1)
            best_from_here = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            reached = np.searchsorted(_RECALLS, found / np.maximum(wanted, 1), side="right")
            means[:, threshold] = (best_from_here * np.diff(reached, prepend=0)).sum(axis=1) / len(_RECALLS)
        return np.where(wanted > 0, means, np.nan)


def _ranked(matches: Sequence[ClassMatches | None]) -> _Ranked | None:
    instances = np.array([m.instances if m else 0 for m in matches], dtype=float)
    present = [(photo, m) for photo, m in enumerate(matches) if m]
    if not instances.any():
        return None
    order = np.argsort(-np.concatenate([m.scores for _, m in present]), kind="stable")
    photo = np.concatenate([np.full(len(m.scores), index) for index, m in present])
    hits = np.concatenate([m.hits for _, m in present], axis=1)
    misses = np.concatenate([m.misses for _, m in present], axis=1)
    return _Ranked(photo[order], hits[:, order], misses[:, order], instances)


def _kept(entry: dict[str, Any] | None) -> ClassMatches | None:
    if entry is None:
        return None
    matched, ignored = entry["dtMatches"] > 0, entry["dtIgnore"].astype(bool)
    return ClassMatches(
        scores=np.asarray(entry["dtScores"], dtype=float),
        hits=matched & ~ignored,
        misses=~matched & ~ignored,
        instances=int(np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0)),
    )


def _annotation(number: int, image_id: int, seen: Detection, overlap: Overlap) -> dict[str, Any]:
    width, height = seen["bbox"][2:]
    area = float(rle_masks.area(seen["segmentation"])) if overlap == "segm" else width * height
    known = {"id": number, "image_id": image_id, "category_id": seen["label"], "area": area, "iscrowd": 0}
    return seen | known
