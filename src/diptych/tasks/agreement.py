"""How far two looks of a task network agree, which needs no labels and no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.tasks.regions import overlaps

Found = Mapping[str, Any]
"""Detections in a picture, as :meth:`diptych.tasks.Task.predict` gives them, in arrays or tensors of the CPU."""


def agreement(wanted: Found, seen: Found, iou: float = 0.5, confidence: float = 0.5) -> float:
    """F1 of the detections in a decoded picture against those in the original.

    Detections agree that :func:`pairs` puts together. Those scored below ``confidence`` do not count.

    Returns:
        0 to 1, or NaN where nothing was found in the original.
    """
    ours, theirs = (len(_confident(found, confidence)) for found in (wanted, seen))
    return 2 * len(pairs(wanted, seen, iou, confidence)) / (ours + theirs) if ours else math.nan


def pairs(wanted: Found, seen: Found, iou: float = 0.5, confidence: float = 0.5) -> list[tuple[int, int]]:
    """Numbers of the detections in the original and in a decoded picture that agree.

    A detection agrees with at most one of the other picture, of its class and overlapping by at least ``iou``;
    surer ones of the decoded picture choose first. Detections scored below ``confidence`` do not count.
    """
    ours, theirs = (_confident(found, confidence) for found in (wanted, seen))
    if not len(ours):
        return []
    (wanted_boxes, wanted_labels), (boxes, labels) = (
        (np.asarray(found["boxes"])[chosen], np.asarray(found["labels"])[chosen])
        for found, chosen in ((wanted, ours), (seen, theirs))
    )
    candidates = np.where(labels[:, None] == wanted_labels[None], overlaps(boxes, wanted_boxes), -1)
    agreed = []
    for row, number in zip(candidates, theirs, strict=True):
        best = int(row.argmax())
        if row[best] >= iou:
            agreed.append((int(ours[best]), int(number)))
            candidates[:, best] = -1
    return agreed


def characters_kept(wanted: Found, seen: Found) -> float:
    """F1 of the characters that a reader reads in a decoded picture against those in the original.

    Lines are put together by :func:`pairs`; in each pair those characters count that stand in both in one order.

    Args:
        wanted, seen: with ``texts``, see :class:`diptych.tasks.reader.ReaderTask`.

    Returns:
        0 to 1, or NaN where nothing was read in the original.
    """
    length = [sum(map(len, found["texts"])) for found in (wanted, seen)]
    if not length[0]:
        return math.nan
    blocks = (
        SequenceMatcher(None, wanted["texts"][ours], seen["texts"][theirs], autojunk=False).get_matching_blocks()
        for ours, theirs in pairs(wanted, seen)
    )
    return 2 * sum(block.size for line in blocks for block in line) / sum(length)


def kept(wanted: Found, seen: Found) -> float:
    """:func:`agreement` with an answer where nothing was found in the original, too.

    Returns:
        0 to 1; where nothing was found in the original, 1 if nothing is found in the decoded picture, else 0.
    """
    found = agreement(wanted, seen)
    if math.isnan(found):
        return float(math.isnan(agreement(seen, wanted)))
    return found


def _confident(found: Found, confidence: float) -> NDArray[np.intp]:
    """Numbers of the detections that count, the surest first."""
    scores = np.asarray(found["scores"])
    order = np.argsort(-scores, kind="stable")
    return order[scores[order] >= confidence]
