"""How far two looks of a task network agree, which needs no labels and no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.tasks.regions import overlaps

Found = Mapping[str, Any]
"""Detections in a picture, as :meth:`diptych.tasks.Task.predict` gives them, in arrays or tensors of the CPU."""


def agreement(wanted: Found, seen: Found, iou: float = 0.5, confidence: float = 0.5) -> float:
    """F1 of the detections in a decoded picture against those in the original.

    A detection agrees with at most one of the other picture, of its class and overlapping by at least ``iou``;
    surer ones choose first. Detections scored below ``confidence`` do not count.

    Returns:
        0 to 1, or NaN where nothing was found in the original.
    """
    (wanted_boxes, wanted_labels), (boxes, labels) = (_confident(found, confidence) for found in (wanted, seen))
    if not len(wanted_labels):
        return math.nan
    same = labels[:, None] == wanted_labels[None]
    candidates = np.where(same, overlaps(boxes, wanted_boxes), -1)
    agreed = 0
    for row in candidates:
        best = int(row.argmax())
        if row[best] >= iou:
            agreed += 1
            candidates[:, best] = -1
    return 2 * agreed / (len(wanted_labels) + len(labels))


def kept(wanted: Found, seen: Found) -> float:
    """:func:`agreement` with an answer where nothing was found in the original, too.

    Returns:
        0 to 1; where nothing was found in the original, 1 if nothing is found in the decoded picture, else 0.
    """
    found = agreement(wanted, seen)
    if math.isnan(found):
        return float(math.isnan(agreement(seen, wanted)))
    return found


def _confident(found: Found, confidence: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Boxes ``(n, 4)`` and labels ``(n,)``, the surest first."""
    boxes, labels, scores = (np.asarray(found[name]) for name in ("boxes", "labels", "scores"))
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= confidence]
    return boxes[order], labels[order]
