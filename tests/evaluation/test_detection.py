import contextlib
import io
import math

import numpy as np
import pytest
import torch
from pycocotools import mask as rle_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from diptych.evaluation.detection import AveragePrecision, match

SIDE, PHOTOS, CLASSES = 40, 12, 3


def rectangles(rng: np.random.Generator, count: int) -> np.ndarray:
    masks = np.zeros((count, SIDE, SIDE), np.uint8)
    for mask in masks:
        top, left = rng.integers(0, SIDE - 12, 2)
        height, width = rng.integers(6, 12, 2)
        mask[top : top + height, left : left + width] = 1
    return masks


def coco(images: list[int], annotations: list[dict]) -> COCO:
    made = COCO()
    made.dataset = {
        "images": [{"id": i, "height": SIDE, "width": SIDE} for i in images],
        "annotations": [a | {"id": k} for k, a in enumerate(annotations, 1)],
        "categories": [{"id": k, "name": str(k)} for k in range(1, CLASSES + 1)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        made.createIndex()
    return made


def annotation(image: int, label: int, mask: np.ndarray, **more: float) -> dict:
    rle = rle_masks.encode(np.asfortranarray(mask))
    area = float(rle_masks.area(rle))
    return {"image_id": image, "category_id": label, "segmentation": rle, "area": area, "iscrowd": 0} | more


@pytest.fixture(scope="module")
def labels() -> list[list[dict]]:
    """Per photo, some instances, a few of them crowds; photo 0 has none."""
    rng = np.random.default_rng(1)
    return [
        [
            annotation(image, int(rng.integers(1, CLASSES + 1)), mask, iscrowd=int(rng.random() < 0.15))
            for mask in rectangles(rng, 0 if image == 0 else int(rng.integers(1, 5)))
        ]
        for image in range(PHOTOS)
    ]


@pytest.fixture(scope="module")
def found(labels: list[list[dict]]) -> list[dict[str, Tensor]]:
    """Detections: shifted instances and false alarms, scores all different."""
    rng = np.random.default_rng(2)
    detections = []
    for instances in labels:
        masks = [np.roll(rle_masks.decode(a["segmentation"]), rng.integers(-2, 3, 2), (0, 1)) for a in instances]
        classes = [a["category_id"] for a in instances] + [1, 2]
        masks += list(rectangles(rng, 2))
        detections.append(
            {
                "labels": torch.tensor(classes),
                "scores": torch.tensor(rng.random(len(masks))),
                "masks": torch.tensor(np.stack(masks))[:, None] * 0.9,
            }
        )
    return detections


def reference(labels: list[list[dict]], found: list[dict[str, Tensor]], drawn: list[int]) -> tuple[float, float]:
    """What pycocotools says when photos are repeated under new ids."""
    truth = coco(
        list(range(len(drawn))), [a | {"image_id": new} for new, old in enumerate(drawn) for a in labels[old]]
    )
    results = [
        annotation(new, int(label), (mask[0] > 0.5).numpy().astype(np.uint8), score=float(score))
        for new, old in enumerate(drawn)
        for label, mask, score in zip(*(found[old][k] for k in ("labels", "masks", "scores")), strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, coco(list(range(len(drawn))), results), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[0], evaluation.stats[1]


@pytest.fixture(scope="module")
def precision(labels: list[list[dict]], found: list[dict[str, Tensor]]) -> AveragePrecision:
    truth = coco(list(range(PHOTOS)), [a for instances in labels for a in instances])
    return AveragePrecision([match(truth, image, found[image]) for image in range(PHOTOS)])


def test_same_as_pycocotools(precision: AveragePrecision, labels, found) -> None:
    ap, ap50 = reference(labels, found, list(range(PHOTOS)))
    assert 0.1 < ap < ap50 < 1
    assert precision.over() == pytest.approx((ap, ap50), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_resamples_are_the_same_as_repeated_photos(precision: AveragePrecision, labels, found, seed: int) -> None:
    drawn = np.random.default_rng(seed).integers(0, PHOTOS, PHOTOS)
    expected = reference(labels, found, drawn.tolist())
    assert precision.over(drawn) == pytest.approx(expected, abs=1e-12)


def test_perfect_and_empty_detections(labels) -> None:
    instances = labels[1]
    truth = coco([1], instances)
    masks = torch.tensor(np.stack([rle_masks.decode(a["segmentation"]) for a in instances]))[:, None]
    perfect = {
        "labels": torch.tensor([a["category_id"] for a in instances]),
        "scores": torch.ones(len(instances)),
        "masks": masks,
    }
    nothing = {name: tensor[:0] for name, tensor in perfect.items()}
    assert AveragePrecision([match(truth, 1, perfect)]).over() == pytest.approx((1, 1))
    assert AveragePrecision([match(truth, 1, nothing)]).over() == (0, 0)


def test_photos_without_instances_have_no_precision(precision: AveragePrecision) -> None:
    assert all(math.isnan(value) for value in precision.over(np.zeros(PHOTOS, dtype=np.int64)))
