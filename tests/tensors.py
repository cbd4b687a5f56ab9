"""Labelled photos as the tensors that task networks take."""

from collections.abc import Sequence

import torch
from torch import Tensor

from diptych.data.coco import CocoDataset
from diptych.evaluation.average_precision import AveragePrecision, Overlap, Precision, detections, match

Target = dict[str, Tensor]


def pictures(data: CocoDataset) -> Tensor:
    photos = [torch.from_numpy(data.photo(k).copy()).permute(2, 0, 1) for k in range(len(data))]
    return torch.stack(photos).float() / 255


def targets(data: CocoDataset) -> list[Target]:
    """What training uses: crowds are labelled -1."""
    names = ("boxes", "labels", "masks")
    found = [data.instances(k, crowds=True) for k in range(len(data))]
    return [{n: torch.from_numpy(part.copy()) for n, part in zip(names, parts, strict=True)} for parts in found]


def precision(found: Sequence[Target], data: CocoDataset, overlap: Overlap) -> Precision:
    """Average precision of what was found in each photo, labelled as ``data`` does."""
    truth = data.truth()
    pairs = zip(data.ids, found, strict=True)
    return AveragePrecision([match(truth, name, detections(seen), overlap) for name, seen in pairs]).over()
