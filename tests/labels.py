"""Small COCO-format data sets, written for a test."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as rle_masks

CATEGORIES = ({"id": 7, "name": "round"}, {"id": 3, "name": "square"})


def rectangle(x: int, y: int, width: int, height: int, **changes: Any) -> dict[str, Any]:
    """Annotation of a rectangle of class ``square`` in photo 1, its mask a polygon."""
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    box = {"bbox": [x, y, width, height], "area": width * height, "segmentation": [corners]}
    return {"id": 1, "image_id": 1, "category_id": 3, "iscrowd": 0} | box | changes


def uncompressed(mask: np.ndarray) -> dict[str, Any]:
    """Run lengths of a mask, as a list."""
    changes = np.flatnonzero(np.diff(mask.flatten("F").astype(np.int8), prepend=0)).tolist()
    ends = [*changes, mask.size]
    return {"size": list(mask.shape), "counts": np.diff(ends, prepend=0).tolist()}


def compressed(mask: np.ndarray) -> dict[str, Any]:
    """Run lengths of a mask, as pycocotools' string."""
    rle = rle_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": rle["counts"].decode()}


def write_dataset(folder: Path, photos: Sequence[np.ndarray], annotations: Sequence[Any]) -> Path:
    """Write ``photos`` as PNG files, numbered from 1, and their labels.

    Returns:
        the labels file, beside the photos.
    """
    images = []
    for number, photo in enumerate(photos, start=1):
        Image.fromarray(photo).save(folder / f"{number}.png")
        height, width = photo.shape[:2]
        images.append({"id": number, "file_name": f"{number}.png", "width": width, "height": height})
    labels = folder / "labels.json"
    labels.write_text(json.dumps({"images": images, "annotations": annotations, "categories": CATEGORIES}))
    return labels
