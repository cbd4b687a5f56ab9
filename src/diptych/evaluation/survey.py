"""The measurements of one evaluation: one row per photo and variant."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from pycocotools.coco import COCO

from diptych.evaluation.detection import PictureMatches, match
from diptych.evaluation.grid import grid_scores, spectral_scores
from diptych.evaluation.metrics import ms_ssim, psnr, sharpness, ssim
from diptych.evaluation.pixels import Picture
from diptych.evaluation.variants import CODEC, ORIGINAL, Decoded, Variant
from diptych.tasks import Task

Metric = Literal["psnr", "ssim", "ms_ssim", "sharpness", "grid", "spectral"]
_AGAINST_PHOTO: dict[str, Callable[[Picture, Picture], float]] = {
    "psnr": psnr,
    "ssim": ssim,
    "ms_ssim": ms_ssim,
    "sharpness": sharpness,
}
_OF_PICTURE: dict[str, Callable[[Picture], dict[int, float]]] = {
    "grid": grid_scores,
    "spectral": spectral_scores,
}


class Eye:
    """The machine that looks at every picture.

    Args:
        task: the network.
        truth: labels of the photos.
        batch: pictures of one photo that are looked at together.
    """

    def __init__(self, task: Task, truth: COCO, batch: int) -> None:
        self._task, self._truth, self._batch = task, truth, batch

    def look(self, image_id: int, pictures: Sequence[Picture]) -> list[PictureMatches]:
        """Matches in each of the pictures of photo ``image_id``, all of one size; equal ones are looked at
        once."""
        arrays = [np.asarray(picture) for picture in pictures]
        keys = [hashlib.sha256(array.tobytes()).digest() for array in arrays]
        distinct = dict(zip(keys, arrays, strict=True))
        tensors = [torch.tensor(array).permute(2, 0, 1).float() / 255 for array in distinct.values()]
        found = []
        for start in range(0, len(tensors), self._batch):
            found += self._task.predict(tensors[start : start + self._batch])
        matches = {key: match(self._truth, image_id, f) for key, f in zip(distinct, found, strict=True)}
        return [matches[key] for key in keys]


class Survey:
    """Rows of measurements, grown photo by photo.

    Args:
        metrics: what to measure on the codec's views.
        anchor_metrics: what to measure on anchors.
        eye: the machine, if detections count.

    Attributes:
        names: the photos, in order.
        pixels: their pixel counts.
        rows: per variant, one list per measurement with a value for each photo: ``bytes``, ``fits`` (matched
            anchors), ``psnr`` ..., ``grid_2`` ... .
        matches: per variant, one entry per photo.
    """

    def __init__(self, metrics: Sequence[Metric], anchor_metrics: Sequence[Metric], eye: Eye | None) -> None:
        self._metrics, self._anchor_metrics, self._eye = metrics, anchor_metrics, eye
        self.names: list[str] = []
        self.pixels: list[int] = []
        self.rows: dict[Variant, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
        self.matches: dict[Variant, list[PictureMatches]] = defaultdict(list)

    def add(self, name: str, photo: np.ndarray, made: Iterable[Decoded], image_id: int = 0) -> None:
        """Measure all variants of one photo (uint8 ``(H, W, 3)``)."""
        self.names.append(name)
        self.pixels.append(photo.shape[0] * photo.shape[1])
        pictures: list[Decoded] = []
        for one in made:
            self._measure(photo, one)
            pictures.append(one)
        if self._eye is not None:
            looks = self._eye.look(image_id, [one.picture for one in pictures])
            for one, matches in zip(pictures, looks, strict=True):
                self.matches[one.variant].append(matches)

    def _measure(self, photo: np.ndarray, one: Decoded) -> None:
        row = self.rows[one.variant]
        row["bytes"].append(one.size)
        if one.variant.matched:
            row["fits"].append(one.fits)
        original = one.variant.codec == ORIGINAL
        metrics = self._metrics if original or one.variant.codec == CODEC else self._anchor_metrics
        for metric in metrics:
            if metric in _OF_PICTURE:
                for stride, score in _OF_PICTURE[metric](one.picture).items():
                    row[f"{metric}_{stride}"].append(round(score, 4))
            elif not original:
                value = _AGAINST_PHOTO[metric](photo, one.picture)
                row[metric].append(round(value, 5) if math.isfinite(value) else value)
