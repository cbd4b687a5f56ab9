"""COCO-format labels: photos decoded once into memory, instances as tensors.

    folder of photos + labels.json -> CocoDataset -> photo(i), target(i), truth() for the evaluation

A broken photo or annotation never stops a run: it is left out and named in ``CocoDataset.problems``.
"""

import contextlib
import hashlib
import io
import json
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pycocotools import mask as rle_masks
from pycocotools.coco import COCO
from pydantic import BaseModel, PositiveInt, StrictInt, ValidationError
from torch import Tensor

from diptych.data.masks import to_rle
from diptych.data.photos import read_pixels
from diptych.errors import PictureError, RecipeError

IGNORE = -1
"""Label of a crowd region: neither an example of a class nor of the background."""

Split = Literal["all", "train", "validation"]


class _Category(BaseModel):
    id: StrictInt
    name: str


class _Image(BaseModel):
    id: StrictInt
    file_name: str
    width: PositiveInt
    height: PositiveInt


class _Labels(BaseModel):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[Any]


def in_validation(file_name: str, fraction: float) -> bool:
    """Whether a photo belongs to the validation part, decided by a hash of its name alone."""
    digest = hashlib.sha256(file_name.encode()).digest()
    return int.from_bytes(digest[:4], "big") < fraction * 2**32


class CocoDataset:
    """Photos and instances of one COCO-format file.

    Args:
        folder: where the photos lie.
        labels: the COCO JSON file.
        split: ``train`` and ``validation`` divide the photos by name, ``all`` takes every one.
        validation: the part of the photos, 0 to 1, that ``validation`` gets.
        limit: take at most this many photos.

    Attributes:
        classes: names of the classes; label ``k`` (1-based) is ``classes[k - 1]``.
        ids: COCO image ids in the order of the indices.
        problems: one sentence per photo or annotation that was left out.

    Raises:
        RecipeError: the labels cannot be read, or no usable photo is left.
    """

    def __init__(
        self,
        folder: str | Path,
        labels: str | Path,
        split: Split = "all",
        validation: float = 0.05,
        limit: int | None = None,
    ) -> None:
        self.problems: list[str] = []
        content = _read_labels(Path(labels))
        categories = sorted(content.categories, key=lambda c: c.id)
        self.classes = tuple(c.name for c in categories)
        self._label_of = {c.id: k for k, c in enumerate(categories, start=1)}
        chosen = [i for i in content.images if _chosen(i.file_name, split, validation)][:limit]
        with ThreadPoolExecutor() as pool:
            photos = list(pool.map(lambda entry: _decode(Path(folder), entry), chosen))
        self.problems += [p for p in photos if isinstance(p, str)]
        kept = [(entry, p) for entry, p in zip(chosen, photos, strict=True) if not isinstance(p, str)]
        if not kept:
            raise RecipeError(f"{labels} names no photo that can be read from {folder}.")
        self._images = [entry for entry, _ in kept]
        self._photos = [photo for _, photo in kept]
        self.ids = [entry.id for entry in self._images]
        self._instances = self._read_instances(content.annotations)

    def __len__(self) -> int:
        return len(self._photos)

    def name(self, index: int) -> str:
        """File name of photo ``index``."""
        return self._images[index].file_name

    def photo(self, index: int) -> np.ndarray:
        """Photo ``index``: uint8 (height, width, 3), sRGB. Shared: do not write into it."""
        return self._photos[index]

    def labels(self, index: int) -> list[int]:
        """Class labels of the photo's instances, crowds left out, without decoding masks."""
        return [i["label"] for i in self._instances[self.ids[index]] if not i["iscrowd"]]

    def instances(self, index: int, crowds: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Instances of photo ``index`` as arrays.

        Args:
            crowds: also return crowd regions, with the label ``IGNORE``.

        Returns:
            boxes float32 (n, 4) in pixels as x0, y0, x1, y1; labels int64 (n,) in 1..classes; masks uint8
            (n, height, width) of 0 and 1.
        """
        found = [i for i in self._instances[self.ids[index]] if crowds or not i["iscrowd"]]
        height, width = self._photos[index].shape[:2]
        boxes = np.array([i["box"] for i in found], dtype=np.float32).reshape(-1, 4)
        labels = np.array([IGNORE if i["iscrowd"] else i["label"] for i in found], dtype=np.int64)
        masks = np.zeros((0, height, width), dtype=np.uint8)
        if found:
            masks = np.moveaxis(rle_masks.decode([i["rle"] for i in found]), 2, 0)
        return boxes, labels, masks

    def target(self, index: int) -> dict[str, Tensor]:
        """Training target of photo ``index`` at its own size: boxes float32 (n, 4), labels int64 (n,), masks
        uint8 (n, height, width); crowds left out."""
        boxes, labels, masks = self.instances(index)
        return {
            "boxes": torch.from_numpy(boxes),
            "labels": torch.from_numpy(labels),
            "masks": torch.from_numpy(np.ascontiguousarray(masks)),
        }

    def truth(self) -> COCO:
        """The labels of the kept photos for pycocotools, with crowds; category ids are the labels 1..n."""
        annotations: list[dict[str, Any]] = []
        for image_id in self.ids:
            for instance in self._instances[image_id]:
                x0, y0, x1, y1 = instance["box"]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": instance["label"],
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "area": float(instance["area"]),
                        "iscrowd": instance["iscrowd"],
                        "segmentation": instance["rle"],
                    }
                )
        coco = COCO()
        coco.dataset = {
            "images": [entry.model_dump() for entry in self._images],
            "annotations": annotations,
            "categories": [{"id": k, "name": name} for k, name in enumerate(self.classes, start=1)],
        }
        with contextlib.redirect_stdout(io.StringIO()):
            coco.createIndex()
        return coco

    def _read_instances(self, annotations: Sequence[Any]) -> dict[int, list[dict[str, Any]]]:
        sizes = {entry.id: (entry.height, entry.width) for entry in self._images}
        instances: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for number, annotation in enumerate(annotations):
            try:
                image_id = annotation["image_id"]
                if image_id in sizes:
                    instances[image_id].append(_read_instance(annotation, sizes[image_id], self._label_of))
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                which = annotation.get("id") if isinstance(annotation, dict) else None
                reason = f"it lacks {error}" if isinstance(error, KeyError) else error
                self.problems.append(f"Annotation {which or f'number {number}'} was left out: {reason}.")
        return instances


def repeated(dataset: CocoDataset, threshold: float, seed: int = 0) -> np.ndarray:
    """Indices (int64) of an epoch in which photos of rare classes appear more than once.

    A photo is repeated ``sqrt(threshold / f)`` times, ``f`` being the share of photos that show its rarest
    class; the fractional part is rounded at random, fixed by ``seed``. ``threshold`` 0 repeats nothing.
    """
    shown = [set(dataset.labels(i)) for i in range(len(dataset))]
    counts = np.zeros(len(dataset.classes) + 1)
    for labels in shown:
        counts[list(labels)] += 1
    factors = np.sqrt(threshold * len(dataset) / np.maximum(counts, 1))
    wanted = np.array([max([1.0, *(float(factors[k]) for k in labels)]) for labels in shown])
    extra = np.random.default_rng(seed).random(len(dataset)) < wanted % 1
    return np.repeat(np.arange(len(dataset)), wanted.astype(np.int64) + extra)


def _chosen(name: str, split: Split, validation: float) -> bool:
    return split == "all" or in_validation(name, validation) == (split == "validation")


def _read_labels(path: Path) -> _Labels:
    try:
        labels = _Labels.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"The labels {path} are not in COCO format: {where or 'file'}: {first['msg']}.") from None
    except (OSError, ValueError) as error:
        raise RecipeError(f"The labels {path} cannot be read: {error}.") from error
    for kind, entries in (("photos", labels.images), ("categories", labels.categories)):
        if len({entry.id for entry in entries}) < len(entries):
            raise RecipeError(f"Two {kind} in the labels {path} have the same id.")
    return labels


def _decode(folder: Path, entry: _Image) -> np.ndarray | str:
    try:
        photo = read_pixels(folder / entry.file_name)
    except PictureError as error:
        return f"Photo {entry.file_name} was left out: {error}."
    height, width = photo.shape[:2]
    if (height, width) != (entry.height, entry.width):
        return f"Photo {entry.file_name} was left out: it is {width}x{height}, not as its labels say."
    return photo


def _read_instance(annotation: dict[str, Any], size: tuple[int, int], label_of: dict[int, int]) -> dict[str, Any]:
    x, y, width, height = (float(v) for v in annotation["bbox"])
    if not np.isfinite([x, y, width, height]).all():
        raise ValueError("its box is not finite")
    rle = to_rle(annotation["segmentation"], size)
    area = int(rle_masks.area(rle))
    crowd = int(annotation.get("iscrowd", 0))
    if not (width >= 1 and height >= 1 and (area >= 1 or crowd)):
        raise ValueError("its box or mask is empty")
    if annotation["category_id"] not in label_of:
        raise ValueError(f"it has the unknown category {annotation['category_id']}")
    return {
        "box": (x, y, x + width, y + height),
        "label": label_of[annotation["category_id"]],
        "iscrowd": crowd,
        "area": float(annotation.get("area", area)),
        "rle": rle,
    }
