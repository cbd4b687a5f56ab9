"""One photo through every row, on the same bytes; what is known already is not measured again.

photo -> .dip per quality -> latents -> a picture per row -> metrics, detections -> cache
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torchmetrics
from PIL import Image
from pycocotools.coco import COCO

from diptych.checkerboard import score
from diptych.checkerboard.baseline import STRIDES
from diptych.checkerboard.score import grid_scores
from diptych.codec.codec import Codec, load
from diptych.codec.processes import in_processes
from diptych.evaluation import average_precision, metrics
from diptych.evaluation.ablation import decoders
from diptych.evaluation.ablation.decoders import Decoders, Source
from diptych.evaluation.ablation.recipe import Measuring
from diptych.evaluation.average_precision import ClassMatches, PictureMatches
from diptych.evaluation.cache import Cache
from diptych.evaluation.measurements import Photo
from diptych.evaluation.task_accuracy import PredictionCache, TaskAccuracy, overlap_of
from diptych.io import pixels
from diptych.io.files import read_bytes
from diptych.io.pixels import Picture
from diptych.io.progress import progress
from diptych.tasks import load_task

METRICS: dict[str, Callable[[Picture, Picture], float]] = {
    "psnr": metrics.psnr,
    "ssim": metrics.ssim,
    "ms_ssim": metrics.ms_ssim,
    "features": metrics.features,
    "sharpness": metrics.sharpness,
    "detail": metrics.detail,
}


class Entry(NamedTuple):
    """What was measured on one picture.

    Attributes:
        size: bytes of its file.
        metrics: by name: :data:`METRICS`, ``grid_2`` ... ``grid_16``.
        matches: the task network's detections against the labels.
    """

    size: int
    metrics: dict[str, float]
    matches: PictureMatches


Table = list[list[Entry]]
"""The entries of one photo: per quality, per row."""


class Runner:
    """Measures photo after photo; to be pickled before its first.

    Args:
        settings: what to measure.
        codec: file of the base codec.
        sources: of the rows.
        truth: labels of the photos.
    """

    def __init__(self, settings: Measuring, codec: Path, sources: Sequence[Source], truth: COCO) -> None:
        self._settings, self._codec, self._sources, self._truth = settings, codec, sources, truth
        self._keys = [source.key for source in sources]
        self._decoders: Decoders | None = None

    def __call__(self, base: Codec, photo: Photo) -> Table:
        """All rows of a photo at all qualities, measured now or before.

        Args:
            base: the base codec.
        """
        found: dict[tuple[float, int], Entry] = {}
        missing: dict[tuple[float, int], tuple[int, Image.Image]] = {}
        for quality in self._settings.qualities:
            todo = []
            for row, parts in enumerate(self._parts(photo, quality)):
                known = self._cache.get(*parts)
                if known is None:
                    todo.append(row)
                else:
                    found[quality, row] = _entry(json.loads(known))
            missing |= {(quality, row): made for row, made in self._decoded(base, photo, quality, todo).items()}
        pictures = [picture for _, picture in missing.values()]
        matches = self.accuracy.matches(photo.image_id, pictures) if missing else []
        for (place, (size, picture)), matched in zip(missing.items(), matches, strict=True):
            found[place] = Entry(size, measured(photo.pixels, picture), matched)
            quality, row = place
            self._cache.put(_packed(found[place]), *self._parts(photo, quality)[row])
        rows = range(len(self._sources))
        return [[found[quality, row] for row in rows] for quality in self._settings.qualities]

    @cached_property
    def accuracy(self) -> TaskAccuracy:
        """Of the recipe's task network.

        Raises:
            DiptychError: if it, or the labels, cannot be used.
        """
        return TaskAccuracy(
            self._task, self._truth, overlap_of(self._task), self._settings.batch, self._predictions
        )

    @cached_property
    def _task(self) -> Any:
        return load_task(self._settings.task)

    @cached_property
    def _predictions(self) -> PredictionCache:
        return PredictionCache(self._cache, self._task, self._settings.task)

    @cached_property
    def _known_by(self) -> bytes:
        """Digest of everything but row, photo and quality that a measurement depends on."""
        known = hashlib.sha256(self._predictions.task)
        files = [read_bytes(path) for path in (self._codec, self._settings.labels)]
        code = [
            inspect.getsource(module).encode() for module in (decoders, average_precision, score, metrics, pixels)
        ]
        for part in (*files, *code, f"torchmetrics {torchmetrics.__version__}".encode()):
            known.update(hashlib.sha256(part).digest())
        return known.digest()

    @cached_property
    def _cache(self) -> Cache:
        return Cache(self._settings.cache)

    def _decoded(
        self, base: Codec, photo: Photo, quality: float, rows: Sequence[int]
    ) -> dict[int, tuple[int, Image.Image]]:
        """Size of the file and picture of some rows."""
        if not rows:
            return {}
        if self._decoders is None:
            self._decoders = Decoders(base, self._sources)
        data = self._decoders.encode(Image.fromarray(photo.pixels), quality)
        pictures = self._decoders.decode_views(data, [self._sources[row].row.name for row in rows])
        return {row: (len(data), picture) for row, picture in zip(rows, pictures, strict=True)}

    def _parts(self, photo: Photo, quality: float) -> list[tuple[str | bytes, ...]]:
        """What the entry of each row is made of."""
        digest = hashlib.sha256(repr(photo.pixels.shape).encode() + photo.pixels.tobytes()).digest()
        shared = ("ablation", self._known_by, digest, str(photo.image_id), f"{quality:g}")
        return [(*shared, key) for key in self._keys]


def measured(photo: np.ndarray, picture: Image.Image) -> dict[str, float]:
    """All metrics of a decoded picture."""
    scores = grid_scores(picture, STRIDES)
    found = {name: metric(photo, picture) for name, metric in METRICS.items()}
    return found | {f"grid_{stride}": score for stride, score in scores.items()}


def measure_all(runner: Runner, photos: Sequence[Photo], codec: Path, workers: int) -> list[Table]:
    """The tables of all photos, in their order, measured in ``workers`` processes.

    Raises:
        DiptychError: if a process dies.
    """
    tables: dict[int, Table] = {}
    with progress(len(photos), "evaluated", every=60) as advance:

        def keep(found: tuple[int, Table]) -> None:
            tables.update([found])
            advance()

        work, items = _Work(runner), list(enumerate(photos))
        if workers > 1:
            in_processes(items, work, str(codec), workers, keep)
        else:
            base = load(codec)
            for item in items:
                keep(work(base, item))
    return [tables[index] for index in range(len(photos))]


class _Work:
    """A runner of numbered photos."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def __call__(self, base: Codec, item: tuple[int, Photo]) -> tuple[int, Table]:
        index, photo = item
        return index, self._runner(base, photo)


def _packed(entry: Entry) -> bytes:
    matches = [
        None
        if one is None
        else [one.scores.tolist(), one.hits.astype(int).tolist(), one.misses.astype(int).tolist(), one.instances]
        for one in entry.matches
    ]
    return json.dumps([entry.size, entry.metrics, matches], separators=(",", ":")).encode()


def _entry(packed: Any) -> Entry:
    size, measurements, matches = packed
    return Entry(size, measurements, [None if one is None else _matches(*one) for one in matches])


def _matches(scores: list[float], hits: list[list[int]], misses: list[list[int]], instances: int) -> ClassMatches:
    found, missed = (np.array(part, dtype=bool).reshape(len(part), len(scores)) for part in (hits, misses))
    return ClassMatches(np.array(scores, dtype=float), found, missed, instances)
