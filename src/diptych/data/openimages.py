"""Open Images (V5 to V7) as COCO-format labels.

    photos/**/IMAGE.jpg
    *-class-descriptions*.csv                     code and name of every class
    *-annotations-bbox.csv                        a row per box, in parts of the photo's sides
    *-annotations-object-segmentation.csv         a row per box that has a mask, with the name of the mask's file
    masks/**/IMAGE_CODE_BOX.png                   masks, at sizes of their own

Kuznetsova et al., The Open Images Dataset V4, IJCV 2020; Benenson et al., Large-Scale Interactive Object
Segmentation with Human Annotators, CVPR 2019.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from diptych.data.coco_format import LabelWriter, annotation
from diptych.data.photo_cache import in_parallel
from diptych.errors import PictureError, RecipeError
from diptych.io.files import files_below, reason
from diptych.io.images import READS, stored_size

SAME = 0.005
"""A mask belongs to a box of its photo and class whose sides are this near, in parts of the photo's sides: the two
files round them differently."""

Box = tuple[float, float, float, float]
_BOX = ("XMin", "YMin", "XMax", "YMax")
_MASK_BOX = ("BoxXMin", "BoxYMin", "BoxXMax", "BoxYMax")


class _Thing(NamedTuple):
    """A box: label, sides in parts of the photo's, whether it holds a group, and its mask's file."""

    label: int
    box: Box
    group: bool
    mask: str | None = None


def convert(
    photos: Path, classes: Path, boxes: Path, masks: Path | None = None, mask_files: Path | None = None
) -> tuple[LabelWriter, list[str]]:
    """The boxes, and with ``masks`` the instances, of the photos in a folder.

    Groups become crowds. With ``masks``, so do boxes without a mask: there is a thing, but not one to learn a mask
    from. Photos without a box are left out, since nobody may have looked for things in them.

    Args:
        photos: searched with its subfolders.
        classes: the CSV file of codes and names. All of them become classes, in this order; boxes of others are
            left out, so that a shorter file selects.
        boxes: the CSV file of boxes.
        masks: the CSV file of masks.
        mask_files: the folder of the masks' PNG files, searched with its subfolders.

    Returns:
        the labels, which name photos relative to ``photos``, and a sentence per photo or mask left out.

    Raises:
        RecipeError: a file cannot be read or lacks a column, or there is no photo with a box.
    """
    found = {path.stem: path for path in files_below(photos, READS)}
    names = _names(classes)
    label_of = {code: label for label, code in enumerate(names, start=1)}
    things = _things(boxes, found, label_of)
    files: dict[str, Path] | None = None
    if masks is not None:
        things = _with_masks(things, masks, label_of)
        files = {path.name: path for path in files_below(mask_files or masks.parent, {".png"})}
    labels = LabelWriter(list(names.values()), {"description": "Open Images"})
    problems: list[str] = []
    wanted = sorted(things)
    work = partial(_annotations, found, things, files)
    for image, (size, entries, wrong) in zip(wanted, in_parallel(work, wanted, "converting"), strict=True):
        problems += wrong
        if entries:
            labels.add(found[image].relative_to(photos).as_posix(), size, entries)
    if not labels.photos:
        raise RecipeError(problems[0] if problems else f"{boxes} has no box of the photos in {photos}.")
    return labels, problems


def _annotations(
    photos: Mapping[str, Path], things: Mapping[str, Sequence[_Thing]], files: Mapping[str, Path] | None, image: str
) -> tuple[tuple[int, int], list[dict[str, Any]], list[str]]:
    """Size of a photo, its annotations, and what is wrong with it."""
    try:
        size = stored_size(photos[image])
    except PictureError as error:
        return (0, 0), [], [f"Photo {photos[image].name} was left out: {error}."]
    entries, problems = [], []
    for thing in things[image]:
        box = [side * size[k % 2] for k, side in enumerate(thing.box)]
        mask: np.ndarray | None = None
        if files is not None and thing.mask is not None:
            mask = _mask(files.get(thing.mask), size)
            if mask is None:
                problems.append(f"The mask {thing.mask} was left out: it is missing, damaged or empty.")
        ignored = thing.group or (files is not None and mask is None)
        entries.append(annotation(thing.label, box, mask, crowd=ignored))
    return size, entries, problems


def _mask(path: Path | None, size: tuple[int, int]) -> np.ndarray | None:
    """A mask (height, width) at the size (width, height) of its photo, None if there is nothing in it."""
    if path is None:
        return None
    try:
        with Image.open(path) as image:
            mask = np.asarray(image.convert("L").resize(size, Image.Resampling.NEAREST)) > 0
    except Exception:  # Pillow's readers raise nearly anything on damaged files
        return None
    return mask if mask.any() else None


def _names(path: Path) -> dict[str, str]:
    """Names of the classes by their codes; some versions of the file begin with a header."""
    rows = (row[:2] for row in _lines(path) if len(row) >= 2 and row[0] != "LabelName")
    names = dict(rows)
    if not names:
        raise RecipeError(f"{path} names no class.")
    return names


def _things(path: Path, photos: Mapping[str, Path], label_of: Mapping[str, int]) -> dict[str, list[_Thing]]:
    """The boxes of the photos that are there, by the photos' ids."""
    things: dict[str, list[_Thing]] = defaultdict(list)
    for image, code, group, *sides in _columns(path, ("ImageID", "LabelName", "IsGroupOf", *_BOX)):
        if image in photos and code in label_of:
            things[image].append(_Thing(label_of[code], _box(sides, path), group == "1"))
    return things


def _with_masks(
    things: Mapping[str, list[_Thing]], path: Path, label_of: Mapping[str, int]
) -> dict[str, list[_Thing]]:
    """The boxes with the names of their masks."""
    joined = {image: list(boxes) for image, boxes in things.items()}
    for name, image, code, *sides in _columns(path, ("MaskPath", "ImageID", "LabelName", *_MASK_BOX)):
        if image in joined and code in label_of:
            box, boxes = _box(sides, path), joined[image]
            open_ = [k for k, each in enumerate(boxes) if each.label == label_of[code] and each.mask is None]
            nearest = min(open_, key=lambda k: _distance(boxes[k].box, box), default=None)
            if nearest is not None and _distance(boxes[nearest].box, box) <= SAME:
                boxes[nearest] = boxes[nearest]._replace(mask=name)
            else:
                boxes.append(_Thing(label_of[code], box, False, name))
    return joined


def _distance(one: Box, other: Box) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def _box(sides: Sequence[str], path: Path) -> Box:
    try:
        x0, y0, x1, y1 = map(float, sides)
    except ValueError:
        raise RecipeError(f"{path} has a box that is no four numbers: {', '.join(sides)}.") from None
    return x0, y0, x1, y1


def _columns(path: Path, names: Sequence[str]) -> Iterator[list[str]]:
    """These columns of a CSV file with a header."""
    lines = _lines(path)
    header = next(lines, [])
    for name in names:
        if name not in header:
            raise RecipeError(f"{path} has no column {name}.")
    places = [header.index(name) for name in names]
    for row in lines:
        if len(row) != len(header):
            raise RecipeError(f"{path} has a row of {len(row)} instead of {len(header)} columns.")
        yield [row[place] for place in places]


def _lines(path: Path) -> Iterator[list[str]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            yield from csv.reader(file)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecipeError(f"{path} cannot be read: {reason(error)}.") from None
