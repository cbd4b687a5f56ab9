"""The measurements of one evaluation: one row per photo and variant."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from diptych.checkerboard.baseline import STRIDES
from diptych.checkerboard.score import grid_scores, spectral_scores
from diptych.evaluation.anchors import ANCHORS
from diptych.evaluation.average_precision import PictureMatches
from diptych.evaluation.cache import Cache
from diptych.evaluation.codecs import Decoded
from diptych.evaluation.metrics import detail, features, ms_ssim, psnr, sharpness, ssim
from diptych.evaluation.people import MADE_WITH, butteraugli, cvvdp, lpips, psnr_hvs, ssimulacra2, vmaf
from diptych.evaluation.recipe import Metric
from diptych.evaluation.results import ORIGINAL, Variant
from diptych.evaluation.task_scores import Score, device_of
from diptych.evaluation.vgg import dists, vgg
from diptych.io.pixels import Picture, digest
from diptych.nn.losses import feature_distance
from diptych.tasks import Task

AGAINST_PHOTO: dict[str, Callable[[Picture, Picture], float]] = {
    "psnr": psnr,
    "ssim": ssim,
    "ms_ssim": ms_ssim,
    "psnr_hvs": psnr_hvs,
    "ssimulacra2": ssimulacra2,
    "cvvdp": cvvdp,
    "vmaf": vmaf,
    "lpips": lpips,
    "butteraugli": butteraugli,
    "dists": dists,
    "vgg": vgg,
    "features": features,
    "sharpness": sharpness,
    "detail": detail,
}
_OF_PICTURE: dict[str, Callable[[Picture], dict[int, float]]] = {
    "grid": partial(grid_scores, strides=STRIDES),
    "spectral": partial(spectral_scores, strides=STRIDES),
}
_OF_DECODERS = ("sharpness", "detail", "grid", "spectral")

Row = dict[str, float | bool]
"""Measurements of one picture: ``bytes``, ``fits`` (matched anchors), ``psnr`` ..., ``grid_2`` ..., and of task
networks ``fcos.distance``, ``faces.agreement`` ... ."""


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
        matches: by task network and variant, its detections against the labels.
    """

    name: str
    pixels: int
    rows: dict[Variant, Row]
    matches: dict[str, dict[Variant, PictureMatches]]


def measure(
    photo: Photo,
    made: Iterable[Decoded],
    metrics: Sequence[Metric],
    tasks: Mapping[str, Task],
    scores: Mapping[str, Score],
    cache: Cache | None = None,
) -> Measured:
    """Measure all variants of one photo.

    Args:
        made: the variants, the original first; each is measured before the next is made.
        tasks: the task networks, by name.
        scores: of each of them.
        cache: keeps the scores that take long.

    Raises:
        DiptychError: if what computes a metric is not installed.
    """
    pictures: dict[Variant, Picture] = {}
    rows: dict[Variant, Row] = {}
    for one in made:
        rows[one.variant] = _row(photo.pixels, one, metrics, cache)
        pictures[one.variant] = one.picture
    matches: dict[str, dict[Variant, PictureMatches]] = {}
    for name, score in scores.items():
        for variant, worth in zip(pictures, score(photo.image_id, list(pictures.values())), strict=True):
            if isinstance(worth, dict):
                rows[variant] |= {f"{name}.{kind}": round(value, 5) for kind, value in worth.items()}
            else:
                matches.setdefault(name, {})[variant] = worth
    for name, task in tasks.items() if "distances" in metrics else ():
        wanted = _features(task, photo.pixels)
        for variant in list(pictures)[1:]:
            distance = float(feature_distance(wanted, _features(task, np.asarray(pictures[variant])))[0])
            rows[variant][f"{name}.distance"] = round(distance, 5)
    return Measured(photo.name, photo.pixels[..., 0].size, rows, matches)


class Measurements:
    """Rows of measurements.

    Args:
        photos: measured, in order.

    Attributes:
        names: the photos, in order.
        pixels: their pixel counts.
        rows: per variant, one list per measurement of a :data:`Row` with a value for each photo.
        matches: per task network and variant, one entry per photo.
    """

    def __init__(self, photos: Iterable[Measured]) -> None:
        self.names: list[str] = []
        self.pixels: list[int] = []
        self.rows: dict[Variant, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
        self.matches: dict[str, dict[Variant, list[PictureMatches]]] = defaultdict(lambda: defaultdict(list))
        for measured in photos:
            self._add(measured)

    def _add(self, measured: Measured) -> None:
        self.names.append(measured.name)
        self.pixels.append(measured.pixels)
        for variant, row in measured.rows.items():
            for name, value in row.items():
                self.rows[variant][name].append(value)
        for task, found in measured.matches.items():
            for variant, matches in found.items():
                self.matches[task][variant].append(matches)


def _row(photo: np.ndarray, one: Decoded, metrics: Sequence[Metric], cache: Cache | None) -> Row:
    row: Row = {"bytes": one.size}
    if one.variant.matched is not None:
        row["fits"] = one.fits
    of_anchor = one.variant.codec in ANCHORS
    for metric in metrics:
        if metric == "distances" or (of_anchor and metric in _OF_DECODERS):
            continue
        if metric in _OF_PICTURE:
            for stride, score in _OF_PICTURE[metric](one.picture).items():
                row[f"{metric}_{stride}"] = round(score, 4)
        elif one.variant.codec != ORIGINAL:
            row[metric] = round(_score(metric, photo, one.picture, cache), 5)
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


@torch.inference_mode()
def _features(task: Task, picture: np.ndarray) -> dict[str, torch.Tensor]:
    return task.features(torch.tensor(picture, device=device_of(task)).permute(2, 0, 1)[None].float() / 255)
