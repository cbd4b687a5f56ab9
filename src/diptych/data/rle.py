"""Masks of COCO labels, checked: a malformed one would crash pycocotools or decode to uninitialised memory."""

from typing import Any

import numpy as np
from pycocotools import mask as rle_masks


def to_rle(segmentation: Any, size: tuple[int, int]) -> dict[str, Any]:
    """Compressed run lengths of a segmentation as COCO files store it.

    Args:
        segmentation: a list of polygons, or a dictionary of ``size`` and ``counts``, these either run lengths
            or pycocotools' string of them.
        size: height and width of the photo.

    Raises:
        ValueError: it is none of these, or does not fit the photo.
    """
    try:
        if isinstance(segmentation, list):
            return _of_polygons(segmentation, size)
        return _of_runs(segmentation, size)
    except (KeyError, TypeError, OverflowError):
        raise ValueError("its segmentation is neither polygons nor run lengths") from None


def _of_runs(segmentation: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    if list(segmentation["size"]) != list(size):
        raise ValueError("its mask has not the size of the photo")
    counts = segmentation["counts"]
    runs = np.asarray(counts) if isinstance(counts, list) else _runs(counts)
    if runs.ndim != 1 or runs.dtype.kind not in "iu" or (runs < 0).any() or runs.sum() != size[0] * size[1]:
        raise ValueError("its run lengths do not cover the photo")
    return rle_masks.frPyObjects({"size": list(size), "counts": runs.tolist()}, *size)


def _of_polygons(polygons: list[Any], size: tuple[int, int]) -> dict[str, Any]:
    """Of the polygons that are some; each of the others costs itself alone."""
    good, problems = _sorted(polygons, size)
    if not good:
        raise ValueError(problems[0] if problems else "it has no polygon")
    return rle_masks.merge(rle_masks.frPyObjects(good, *size))


def bad_polygons(segmentation: Any, size: tuple[int, int]) -> list[str]:
    """Why polygons of an object that has others, too, are left out, a sentence without a full stop each."""
    return _sorted(segmentation, size)[1] if isinstance(segmentation, list) and any(segmentation) else []


def _sorted(polygons: list[Any], size: tuple[int, int]) -> tuple[list[list[float]], list[str]]:
    good, problems = [], []
    for polygon in polygons:
        points = np.asarray(polygon, dtype=np.float64)
        if points.ndim != 1:
            raise TypeError
        if len(points) < 6 or len(points) % 2:
            problems.append("a polygon needs at least three points")
        elif not (np.abs(points) <= 10 * max(size)).all():
            problems.append("a polygon lies far outside the photo")
        else:
            good.append(points.tolist())
    return good, problems


def is_empty(segmentation: Any) -> bool:
    """Whether a segmentation says nothing, so that the box stands for the object."""
    return not segmentation or (isinstance(segmentation, list) and not any(segmentation))


def _runs(text: Any) -> np.ndarray:
    """Run lengths (int64) written in pycocotools' string.

    A character is 48 + five bits of a number, lowest first, + 32 if more follow; the sign is that of the last
    five bits. From the fourth number on they are differences to the number two before.
    """
    if not isinstance(text, str) or not text or not text.isascii():
        raise ValueError("its run lengths are no string")
    codes = np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if codes.min() < 0 or codes.max() > 63 or codes[-1] & 32 or (ends - starts).max() > 6:
        raise ValueError("its run lengths are no string of pycocotools")
    places = 5 * (np.arange(len(codes)) - np.repeat(starts, ends - starts + 1))
    numbers = np.add.reduceat((codes & 31) << places, starts)
    numbers -= np.where(codes[ends] & 16, 1 << (places[ends] + 5), 0)
    numbers[1::2] = numbers[1::2].cumsum()
    numbers[2::2] = numbers[2::2].cumsum()
    return numbers
