import contextlib
import io
import json

import numpy as np
import pytest
import torch
from pycocotools import mask as rle_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from diptych.evaluation.average_precision import AveragePrecision, detections, match

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


def boxes(masks: np.ndarray) -> Tensor:
    """Boxes around masks as x0, y0, x1, y1."""
    around = rle_masks.toBbox([rle_masks.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks])
    corners = torch.tensor(around).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    return corners


def annotation(image: int, label: int, mask: np.ndarray, **more: float) -> dict:
    rle = rle_masks.encode(np.asfortranarray(mask))
    area = float(rle_masks.area(rle))
    known = {"image_id": image, "category_id": label, "segmentation": rle, "area": area, "iscrowd": 0}
    return known | {"bbox": rle_masks.toBbox(rle).tolist()} | more


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
    all_found = []
    for instances in labels:
        masks = [np.roll(rle_masks.decode(a["segmentation"]), rng.integers(-2, 3, 2), (0, 1)) for a in instances]
        classes = [a["category_id"] for a in instances] + [1, 2]
        masks += list(rectangles(rng, 2))
        all_found.append(
            {
                "boxes": boxes(np.stack(masks)),
                "labels": torch.tensor(classes),
                "scores": torch.tensor(rng.random(len(masks))),
                "masks": torch.tensor(np.stack(masks))[:, None] * 0.9,
            }
        )
    return all_found


def reference(
    labels: list[list[dict]], found: list[dict[str, Tensor]], drawn: list[int], overlap: str = "segm"
) -> tuple[float, float]:
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
        evaluation = COCOeval(truth, coco(list(range(len(drawn))), results), overlap)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[0], evaluation.stats[1]


@pytest.fixture(scope="module")
def truth(labels: list[list[dict]]) -> COCO:
    return coco(list(range(PHOTOS)), [a for instances in labels for a in instances])


@pytest.fixture(scope="module")
def precision(truth: COCO, found: list[dict[str, Tensor]]) -> AveragePrecision:
    return AveragePrecision([match(truth, k, detections(f), "segm") for k, f in enumerate(found)])


def test_same_as_pycocotools(precision: AveragePrecision, labels, found) -> None:
    ap, ap50 = reference(labels, found, list(range(PHOTOS)))
    assert 0.1 < ap < ap50 < 1
    assert precision.over() == pytest.approx((ap, ap50), abs=1e-12)


def test_boxes_as_pycocotools(truth: COCO, labels, found) -> None:
    without_masks = [{k: v for k, v in f.items() if k != "masks"} for f in found]
    seen = [detections(f) for f in without_masks]
    assert "segmentation" not in seen[0][0]
    of_boxes = AveragePrecision([match(truth, k, s, "bbox") for k, s in enumerate(seen)])
    expected = reference(labels, found, list(range(PHOTOS)), "bbox")
    assert of_boxes.over() == pytest.approx(expected, abs=1e-12)


def test_resamples_are_the_same_as_repeated_photos(precision: AveragePrecision, labels, found) -> None:
    drawn = np.random.default_rng(0).integers(0, PHOTOS, (5, PHOTOS))
    expected = np.array([reference(labels, found, draw.tolist()) for draw in drawn])
    assert precision.resampled(drawn) == pytest.approx(expected, abs=1e-12)


def test_resamples_do_not_depend_on_how_many_there_are(precision: AveragePrecision) -> None:
    drawn = np.random.default_rng(1).integers(0, PHOTOS, (230, PHOTOS))
    assert np.array_equal(precision.resampled(drawn)[[0, 229]], precision.resampled(drawn[[0, 229]]))


def test_detections_are_fit_for_json(truth: COCO, found) -> None:
    seen = detections(found[3])
    again = json.loads(json.dumps(seen))
    assert again == seen
    first, second = (AveragePrecision([match(truth, 3, each, "segm")]).over() for each in (seen, again))
    assert first == second


def test_perfect_and_empty_detections(labels) -> None:
    instances = labels[1]
    truth = coco([1], instances)
    masks = np.stack([rle_masks.decode(a["segmentation"]) for a in instances])
    perfect = {
        "boxes": boxes(masks),
        "labels": torch.tensor([a["category_id"] for a in instances]),
        "scores": torch.ones(len(instances)),
        "masks": torch.tensor(masks)[:, None],
    }
    nothing = {name: tensor[:0] for name, tensor in perfect.items()}
    assert AveragePrecision([match(truth, 1, detections(perfect), "segm")]).over() == pytest.approx((1, 1))
    assert AveragePrecision([match(truth, 1, detections(nothing), "segm")]).over() == (0, 0)


def test_photos_without_instances_have_no_precision(precision: AveragePrecision) -> None:
    assert np.isnan(precision.resampled(np.zeros((1, PHOTOS), dtype=np.int64))).all()
