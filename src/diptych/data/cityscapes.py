"""Cityscapes as COCO-format labels.

    ROOT/leftImg8bit/SPLIT/CITY/*_leftImg8bit.png       photos
    ROOT/gtFine/SPLIT/CITY/*_gtFine_instanceIds.png     a number per pixel: the class * 1000 + the instance, or,
                                                        for a group of things that were not told apart, the class

Cordts et al., The Cityscapes Dataset, CVPR 2016, and the label list of its scripts.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from diptych.data.coco_format import LabelWriter, annotation
from diptych.data.photo_cache import in_parallel
from diptych.errors import RecipeError
from diptych.io.files import reason

CLASSES = {
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
"""The classes whose instances the benchmark counts, by their number in the pictures."""

_PHOTO, _INSTANCES = "_leftImg8bit.png", "_gtFine_instanceIds.png"
_Found = tuple[tuple[int, int], list[dict[str, Any]]]


def convert(root: Path, split: str) -> tuple[LabelWriter, list[str]]:
    """The instances of one split (``train``, ``val``); groups become crowds.

    Returns:
        the labels, which name photos relative to ``ROOT/leftImg8bit/SPLIT``, and a sentence per photo left out.

    Raises:
        RecipeError: there are no photos, or none with its instances.
    """
    photos = root / "leftImg8bit" / split
    paths = sorted(photos.glob(f"*/*{_PHOTO}"))
    if not paths:
        raise RecipeError(f"There are no photos CITY/*{_PHOTO} in {photos}.")
    labels = LabelWriter(list(CLASSES.values()), {"description": f"Cityscapes, gtFine, {split}"})
    problems = []
    work = partial(_instances, root / "gtFine" / split)
    for path, found in zip(paths, in_parallel(work, paths, "converting"), strict=True):
        if isinstance(found, str):
            problems.append(f"Photo {path.name} was left out: {found}.")
        else:
            labels.add(path.relative_to(photos).as_posix(), *found)
    if not labels.photos:
        raise RecipeError(problems[0])
    return labels, problems


def _instances(truth: Path, photo: Path) -> _Found | str:
    """Size of a photo and its annotations, or why they cannot be read."""
    path = truth / photo.parent.name / photo.name.replace(_PHOTO, _INSTANCES)
    try:
        with Image.open(path) as image:
            numbers = np.asarray(image)
    except Exception as error:  # Pillow's readers raise nearly anything on damaged files
        return f"its instances {path.name} cannot be read ({reason(error)})"
    if numbers.ndim != 2:
        return f"its instances {path.name} are not one number per pixel"
    height, width = numbers.shape
    entries = []
    for number in np.unique(numbers).tolist():
        kind = number if number < 1000 else number // 1000
        if kind in CLASSES:
            label = list(CLASSES).index(kind) + 1
            entries.append(annotation(label, mask=numbers == number, crowd=number < 1000))
    return (width, height), entries
