"""The COCO label format: reading it with every mistake named, and writing it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as rle_masks
from pydantic import BaseModel, FiniteFloat, PositiveInt, StrictInt, ValidationError

from diptych.data.rle import is_empty, to_rle
from diptych.errors import RecipeError
from diptych.io.files import reason, write_bytes


class Category(BaseModel):
    id: StrictInt
    name: str


class ImageEntry(BaseModel):
    id: StrictInt
    file_name: str
    width: PositiveInt
    height: PositiveInt


class LabelFile(BaseModel):
    """Content of a label file, its categories in the order of their ids; annotations are checked one by one, by
    :func:`check_annotation`."""

    images: list[ImageEntry]
    categories: list[Category]
    annotations: list[Any]


class Annotation(BaseModel):
    image_id: StrictInt
    category_id: StrictInt
    bbox: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]
    iscrowd: bool | None = None
    area: float | None = None
    segmentation: Any = None


class Instance(NamedTuple):
    """One annotation.

    Attributes:
        box: x0, y0, x1, y1 in pixels, inside the photo.
        label: 1-based index of its class.
        crowd: it marks a group of things, none of them an example.
        area: of the mask in pixels, or what the file states.
        rle: mask as compressed run lengths.
        boxed: the file has no mask of it; the box stands in.
    """

    box: tuple[float, float, float, float]
    label: int
    crowd: bool
    area: float
    rle: dict[str, Any]
    boxed: bool


def read_labels(path: Path) -> LabelFile:
    """Read a label file.

    Raises:
        RecipeError: it cannot be read, is not in COCO format, names no category, or uses an id twice.
    """
    try:
        labels = LabelFile.model_validate(json.loads(path.read_text(encoding="utf-8-sig")))
    except ValidationError as error:
        raise RecipeError(f"The labels {path} are not in COCO format: {_first(error)}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RecipeError(f"The labels {path} cannot be read: {reason(error)}.") from None
    if not labels.categories:
        raise RecipeError(f"The labels {path} name no category.")
    for kind, entries in (("photos", labels.images), ("categories", labels.categories)):
        if len({entry.id for entry in entries}) < len(entries):
            raise RecipeError(f"Two {kind} in the labels {path} have the same id.")
    labels.categories.sort(key=lambda category: category.id)
    return labels


def check_annotation(annotation: Any) -> Annotation:
    """An annotation as it stands in the file, checked for what must be there.

    Raises:
        ValueError: saying what is wrong with it.
    """
    try:
        return Annotation.model_validate(annotation)
    except ValidationError as error:
        raise ValueError(_first(error)) from None


def to_instance(annotation: Annotation, size: tuple[int, int], label_of: Mapping[int, int]) -> Instance:
    """What an annotation says about its photo.

    Args:
        size: width and height of the photo.
        label_of: labels by category id.

    Raises:
        ValueError: saying what is wrong with it.
    """
    if annotation.category_id not in label_of:
        raise ValueError(f"it has the unknown category {annotation.category_id}")
    x, y, width, height = annotation.bbox
    x0, y0, x1, y1 = max(0.0, x), max(0.0, y), min(float(size[0]), x + width), min(float(size[1]), y + height)
    if not (x1 - x0 >= 1 and y1 - y0 >= 1):
        raise ValueError("its box is empty or outside the photo")
    boxed = is_empty(annotation.segmentation)
    outline = [[x0, y0, x1, y0, x1, y1, x0, y1]] if boxed else annotation.segmentation
    rle = to_rle(outline, (size[1], size[0]))
    area, crowd = float(rle_masks.area(rle)), bool(annotation.iscrowd)
    if not area and not crowd:
        raise ValueError("its mask is empty")
    if annotation.area is not None and math.isfinite(annotation.area):
        area = annotation.area
    return Instance((x0, y0, x1, y1), label_of[annotation.category_id], crowd, area, rle, boxed)


class LabelWriter:
    """Labels on their way to a file.

    Args:
        classes: names of the labels 1, 2, ...
        info: where the labels come from.
    """

    def __init__(self, classes: Sequence[str], info: Mapping[str, Any]) -> None:
        self._content: dict[str, Any] = {
            "info": dict(info),
            "images": [],
            "annotations": [],
            "categories": [{"id": label, "name": name} for label, name in enumerate(classes, start=1)],
        }

    @property
    def photos(self) -> int:
        return len(self._content["images"])

    @property
    def instances(self) -> int:
        return len(self._content["annotations"])

    def add(self, file_name: str, size: tuple[int, int], annotations: Sequence[Mapping[str, Any]]) -> None:
        """Add a photo of ``size`` (width, height) and what :func:`annotation` made of its instances."""
        number = self.photos + 1
        self._content["images"].append({"id": number, "file_name": file_name, "width": size[0], "height": size[1]})
        for each in annotations:
            self._content["annotations"].append({"id": self.instances + 1, "image_id": number, **each})

    def write(self, path: Path, overwrite: bool = False) -> None:
        """Write the file, completely or not at all.

        Raises:
            DiptychError: it exists and may not be replaced, or cannot be written.
        """
        write_bytes(json.dumps(self._content).encode(), path, overwrite)


def annotation(
    label: int,
    box: Sequence[float] | None = None,
    mask: np.ndarray | None = None,
    crowd: bool = False,
    score: float | None = None,
) -> dict[str, Any]:
    """One instance as it stands in a label file, without the ids.

    Args:
        label: 1-based index of its class.
        box: x0, y0, x1, y1 in pixels; the one around the mask if not given.
        mask: bool or uint8 (height, width), at the size of the photo, not empty.
        crowd: it marks a group.
        score: 0..1, how sure the task network is that found it.
    """
    entry: dict[str, Any] = {"category_id": label, "iscrowd": int(crowd)}
    if box is not None:
        x0, y0, x1, y1 = (float(side) for side in box)
        entry["bbox"] = [round(side, 2) for side in (x0, y0, x1 - x0, y1 - y0)]
        entry["area"] = round((x1 - x0) * (y1 - y0), 2)
    if mask is not None:
        rle = rle_masks.encode(np.asfortranarray(mask, dtype=np.uint8))
        entry.setdefault("bbox", rle_masks.toBbox(rle).tolist())
        entry["area"] = int(rle_masks.area(rle))
        entry["segmentation"] = {"size": list(mask.shape), "counts": rle["counts"].decode()}
    if score is not None:
        entry["score"] = round(float(score), 4)
    return entry


def _first(error: ValidationError) -> str:
    found = error.errors()[0]
    where = ".".join(str(part) for part in found["loc"])
    return f"{where}: {found['msg']}" if where else str(found["msg"])
