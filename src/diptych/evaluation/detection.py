"""COCO mask accuracy over many resamples of the photos.

Detections are matched to instances once per picture (pycocotools); an average precision over any multiset of
photos is then a weighted sum over what was kept, equal to what pycocotools computes with photos repeated.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from pycocotools import mask as rle_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

_RECALLS = np.linspace(0, 1, 101)
_EVERY_AREA = [0, 1e10]
_MOST = 100


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


def match(truth: COCO, image_id: int, found: dict[str, Tensor]) -> PictureMatches:
    """Match the detections in one picture.

    Args:
        truth: labels of all photos.
        image_id: the photo in ``truth``.
        found: labels ``(n,)`` as category ids, scores ``(n,)``, masks ``(n, 1, H, W)`` in 0..1.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        detections = COCO()
        detections.dataset = {
            "images": [truth.imgs[image_id]],
            "annotations": _annotations(image_id, found),
            "categories": truth.dataset["categories"],
        }
        detections.createIndex()
        evaluation = COCOeval(truth, detections, "segm")
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

    def over(self, drawn: np.ndarray | None = None) -> Precision:
        """The precision over the photos with indices ``drawn`` (int64 ``(n,)``), or over each photo once."""
        chosen = np.arange(self.photos) if drawn is None else drawn
        weights = np.bincount(chosen, minlength=self.photos).astype(float)
        curves = [c for c in (ranked.precisions(weights) for ranked in self._classes) if c is not None]
        if not curves:
            return Precision(float("nan"), float("nan"))
        mean = np.mean(curves, axis=0)
        return Precision(float(mean.mean()), float(mean[0]))


class _Ranked(NamedTuple):
    """All detections of one class, best first, with the photo each comes from."""

    photo: np.ndarray
    hits: np.ndarray
    misses: np.ndarray
    instances: np.ndarray

    def precisions(self, weights: np.ndarray) -> np.ndarray | None:
        """Mean precision per threshold ``(10,)``, photo ``i`` counted ``weights[i]`` times; None without
        instances."""
        wanted = weights @ self.instances
        if not wanted:
            return None
        weight = weights[self.photo]
        used = weight > 0
        hits = np.cumsum(self.hits[:, used] * weight[used], axis=1)
        misses = np.cumsum(self.misses[:, used] * weight[used], axis=1)
        precision = hits / np.maximum(hits + misses, 1)
        best_from_here = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        padded = np.pad(best_from_here, ((0, 0), (0, 1)))
        return np.array(
            [
                row[np.searchsorted(recall, _RECALLS)].mean()
                for row, recall in zip(padded, hits / wanted, strict=True)
            ]
        )


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


def _annotations(image_id: int, found: dict[str, Tensor]) -> list[dict[str, Any]]:
    masks = (found["masks"][:, 0] > 0.5).to("cpu", torch.uint8).numpy()
    annotations: list[dict[str, Any]] = []
    for label, score, mask in zip(found["labels"], found["scores"], masks, strict=True):
        rle = rle_masks.encode(np.asfortranarray(mask))
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": int(label),
                "score": float(score),
                "segmentation": rle,
                "area": float(rle_masks.area(rle)),
                "iscrowd": 0,
            }
        )
    return annotations
