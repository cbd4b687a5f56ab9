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
from PIL import Image
from pycocotools import mask as rle_masks
from pycocotools.coco import COCO
from torch import Tensor

from diptych.errors import RecipeError

IGNORE = -1
"""Label of a crowd region: neither an example of a class nor of the background."""

Split = Literal["all", "train", "validation"]


def in_validation(file_name: str, fraction: float) -> bool:
    """Whether a photo belongs to the validation part, decided by a hash of its name alone."""
    digest = hashlib.sha256(file_name.encode()).digest()
    return int.from_bytes(digest[:4], "big") < fraction * 2**32


def sample_order(seed: int, count: int, step: int, batch: int) -> list[int]:
    """Indices (``batch`` of them, in ``range(count)``) of training step ``step``.

    Every epoch is a fresh permutation of all indices; the result depends on the arguments alone, so a resumed
    run sees exactly the pictures an uninterrupted one would have seen.
    """
    positions = range(step * batch, (step + 1) * batch)
    epochs = {p // count for p in positions}
    orders = {epoch: np.random.default_rng([seed, epoch]).permutation(count) for epoch in epochs}
    return [int(orders[p // count][p % count]) for p in positions]


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
        categories = sorted(content["categories"], key=lambda c: c["id"])
        self.classes = tuple(str(c["name"]) for c in categories)
        self._label_of = {c["id"]: k for k, c in enumerate(categories, start=1)}
        self._categories = categories
        chosen = [i for i in content["images"] if _chosen(i["file_name"], split, validation)][:limit]
        with ThreadPoolExecutor() as pool:
            photos = list(pool.map(lambda entry: _decode(Path(folder), entry), chosen))
        self.problems += [p for p in photos if isinstance(p, str)]
        kept = [(entry, p) for entry, p in zip(chosen, photos, strict=True) if not isinstance(p, str)]
        if not kept:
            raise RecipeError(f"{labels} names no photo that can be read from {folder}.")
        self._images = [entry for entry, _ in kept]
        self._photos = [photo for _, photo in kept]
        self.ids: list[int] = [entry["id"] for entry in self._images]
        self._instances = self._read_instances(content["annotations"])

    def __len__(self) -> int:
        return len(self._photos)

    def name(self, index: int) -> str:
        """File name of photo ``index``."""
        return str(self._images[index]["file_name"])

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
        """The labels of the kept photos for pycocotools, crowds included; category ids are the labels 1..n."""
        annotations: list[dict[str, Any]] = []
        for image_id in self.ids:
            for instance in self._instances[image_id]:
                x0, y0, x1, y1 = instance["box"]
                annotations.append({
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": instance["label"],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": float(instance["area"]),
                    "iscrowd": instance["iscrowd"],
                    "segmentation": instance["rle"],
                })
        coco = COCO()
        coco.dataset = {
            "images": self._images,
            "annotations": annotations,
            "categories": [{"id": k, "name": name} for k, name in enumerate(self.classes, start=1)],
        }
        with contextlib.redirect_stdout(io.StringIO()):
            coco.createIndex()
        return coco

    def _read_instances(self, annotations: Sequence[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
        sizes = {i["id"]: (int(i["height"]), int(i["width"])) for i in self._images}
        instances: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for number, annotation in enumerate(annotations):
            image_id = annotation.get("image_id")
            if image_id not in sizes:
                continue
            try:
                instances[image_id].append(_read_instance(annotation, sizes[image_id], self._label_of))
            except (KeyError, TypeError, ValueError, IndexError) as error:
                which = annotation.get("id", f"number {number}")
                self.problems.append(f"Annotation {which} of photo {image_id} was left out: {error}.")
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


def _read_labels(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"The labels {path} cannot be read: {error}.") from error
    missing = {"images", "annotations", "categories"} - set(content if isinstance(content, dict) else ())
    if missing:
        raise RecipeError(f"The labels {path} are not in COCO format: {', '.join(sorted(missing))} missing.")
    return content


def _decode(folder: Path, entry: dict[str, Any]) -> np.ndarray | str:
    name = entry["file_name"]
    try:
        with Image.open(folder / name) as picture:
            photo = np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"Photo {name} was left out: {error}."
    if photo.shape[:2] != (entry["height"], entry["width"]):
        return f"Photo {name} was left out: it is {photo.shape[1]}x{photo.shape[0]}, not as its labels say."
    return photo


def _read_instance(
    annotation: dict[str, Any], size: tuple[int, int], label_of: dict[int, int]
) -> dict[str, Any]:
    x, y, width, height = (float(v) for v in annotation["bbox"])
    rle = _to_rle(annotation["segmentation"], size)
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


def _to_rle(segmentation: Any, size: tuple[int, int]) -> dict[str, Any]:
    """Compressed RLE of a polygon list, an uncompressed RLE or a compressed one."""
    height, width = size
    if isinstance(segmentation, list):
        if not segmentation or any(len(p) < 6 or len(p) % 2 for p in segmentation):
            raise ValueError("a polygon needs at least three points")
        return rle_masks.merge(rle_masks.frPyObjects(segmentation, height, width))
    if tuple(segmentation["size"]) != size:
        raise ValueError("its mask has not the size of the photo")
    counts = segmentation["counts"]
    if isinstance(counts, list):
        return rle_masks.frPyObjects(segmentation, height, width)
    return {"size": [height, width], "counts": counts.encode() if isinstance(counts, str) else counts}
