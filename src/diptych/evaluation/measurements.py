"""The measurements of one evaluation: one row per photo and variant."""

from __future__ import annotations

import math
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from diptych.checkerboard.baseline import STRIDES
from diptych.checkerboard.score import grid_scores, spectral_scores
from diptych.evaluation.average_precision import PictureMatches
from diptych.evaluation.cache import Cache
from diptych.evaluation.metrics import detail, features, ms_ssim, psnr, sharpness, ssim
from diptych.evaluation.people import MADE_WITH, butteraugli, lpips, ssimulacra2
from diptych.evaluation.task_accuracy import TaskAccuracy
from diptych.evaluation.variants import CODEC, ORIGINAL, Decoded, Variant
from diptych.io.pixels import Picture, digest

Metric = Literal[
    "psnr",
    "ssim",
    "ms_ssim",
    "ssimulacra2",
    "lpips",
    "butteraugli",
    "features",
    "sharpness",
    "detail",
    "grid",
    "spectral",
]
LOWER_IS_BETTER = frozenset({"lpips", "butteraugli", "features"})
AGAINST_PHOTO: dict[str, Callable[[Picture, Picture], float]] = {
    "psnr": psnr,
    "ssim": ssim,
    "ms_ssim": ms_ssim,
    "ssimulacra2": ssimulacra2,
    "lpips": lpips,
    "butteraugli": butteraugli,
    "features": features,
    "sharpness": sharpness,
    "detail": detail,
}
_OF_PICTURE: dict[str, Callable[[Picture], dict[int, float]]] = {
    "grid": partial(grid_scores, strides=STRIDES),
    "spectral": partial(spectral_scores, strides=STRIDES),
}

Row = dict[str, Any]
"""Measurements of one picture: ``bytes``, ``fits`` (matched anchors), ``psnr`` ..., ``grid_2`` ... ."""


class Photo(NamedTuple):
    """One photo of the evaluation: pixels uint8 ``(H, W, 3)``."""

    name: str
    image_id: int
    pixels: np.ndarray


class Measured(NamedTuple):
    """All variants of one photo, measured.

    Attributes:
        name: of the photo.
        pixels: how many it has.
        rows: by variant.
        matches: what the task network found, by variant; empty without one.
    """

    name: str
    pixels: int
    rows: dict[Variant, Row]
    matches: dict[Variant, PictureMatches]


def measure(
    photo: Photo,
    made: Iterable[Decoded],
    metrics: Sequence[Metric],
    anchor_metrics: Sequence[Metric],
    accuracy: TaskAccuracy | None,
    cache: Cache | None = None,
) -> Measured:
    """Measure all variants of one photo.

    Args:
        made: the variants; each is measured before the next is made.
        metrics: of the original and the codec's views.
        anchor_metrics: of anchors.
        accuracy: of the task network, if detections count.
        cache: keeps the scores that take long.

    Raises:
        DiptychError: if what computes a metric is not installed.
    """
    pictures: dict[Variant, Picture] = {}
    rows: dict[Variant, Row] = {}
    for one in made:
        of_codec = one.variant.codec in (ORIGINAL, CODEC)
        rows[one.variant] = _row(photo.pixels, one, metrics if of_codec else anchor_metrics, cache)
        pictures[one.variant] = one.picture
    matches = accuracy.matches(photo.image_id, list(pictures.values())) if accuracy else []
    area = photo.pixels.shape[0] * photo.pixels.shape[1]
    return Measured(photo.name, area, rows, dict(zip(pictures, matches, strict=False)))


class Measurements:
    """Rows of measurements, grown photo by photo.

    Attributes:
        names: the photos, in order.
        pixels: their pixel counts.
        rows: per variant, one list per measurement of a :data:`Row` with a value for each photo.
        matches: per variant, one entry per photo.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.pixels: list[int] = []
        self.rows: dict[Variant, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
        self.matches: dict[Variant, list[PictureMatches]] = defaultdict(list)

    def add(self, measured: Measured) -> None:
        """Append one photo."""
        self.names.append(measured.name)
        self.pixels.append(measured.pixels)
        for variant, row in measured.rows.items():
            for name, value in row.items():
                self.rows[variant][name].append(value)
        for variant, matches in measured.matches.items():
            self.matches[variant].append(matches)


def _row(photo: np.ndarray, one: Decoded, metrics: Sequence[Metric], cache: Cache | None) -> Row:
    row: Row = {"bytes": one.size}
    if one.variant.matched:
        row["fits"] = one.fits
    for metric in metrics:
        if metric in _OF_PICTURE:
            for stride, score in _OF_PICTURE[metric](one.picture).items():
                row[f"{metric}_{stride}"] = round(score, 4)
        elif one.variant.codec != ORIGINAL:
            value = _score(metric, photo, one.picture, cache)
            row[metric] = round(value, 5) if math.isfinite(value) else value
    return row


def _score(metric: Metric, photo: np.ndarray, picture: Picture, cache: Cache | None) -> float:
    if cache is None or metric not in MADE_WITH:
        return AGAINST_PHOTO[metric](photo, picture)
    parts = metric, MADE_WITH[metric](), digest(photo), digest(picture)
    known = cache.get(*parts)
    if known is None:
        known = struct.pack("<d", AGAINST_PHOTO[metric](photo, picture))
        cache.put(known, *parts)
    return float(struct.unpack("<d", known)[0])
