"""One photo through everything an evaluation asks for, in this process or in several.

photo -> real files of codec and anchors -> pictures -> metrics, detections -> Measured
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pycocotools.coco import COCO
from pydantic import BaseModel, ConfigDict, Field, field_validator

from diptych.codec.codec import load
from diptych.codec.processes import in_processes
from diptych.data.coco import CocoDataset
from diptych.data.photos import Photos
from diptych.errors import RecipeError
from diptych.evaluation.anchors import ANCHORS, Anchor
from diptych.evaluation.cache import Cache, CachedAnchor
from diptych.evaluation.measurements import Measured, Metric, Photo, measure
from diptych.evaluation.people import MADE_WITH
from diptych.evaluation.task_accuracy import PredictionCache, TaskAccuracy, overlap_of
from diptych.evaluation.variants import Codec, decoded
from diptych.io.progress import progress
from diptych.tasks import Task, load_task

Quality = Annotated[float, Field(ge=0, le=100)]
View = Literal["machine", "human"] | Annotated[float, Field(ge=0, le=1)]


class Sampling(BaseModel):
    """How many photos are measured, by how many processes, and how sure the figures are.

    Attributes:
        limit: use only this many photos; 0 for all.
        resamples: of the photos, behind every interval.
        seed: of the resamples.
        batch: pictures the task network sees together.
        workers: processes that share the photos, each with its part of the cores.
        cache: folder that keeps what took long (anchors' files, what people and task networks see) for later.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(default=0, ge=0)
    resamples: int = Field(default=1000, ge=1)
    seed: int = 0
    batch: int = Field(default=8, ge=1)
    workers: int = Field(default=1, ge=1)
    cache: Path = Path(".diptych-cache")


class Evaluation(Sampling):
    """What to measure. Paths are relative to the folder the command runs in.

    Attributes:
        photos: folder of photos.
        names: use only these of its files, relative to it; all if empty.
        labels: COCO-format JSON of these photos; needed with ``task``.
        model: codec file; the shipped one if not given.
        view: view file of the human view; the one that belongs to ``model`` if not given.
        task: weights or description of the task network whose detections are scored.
        qualities: of the codec.
        views: of each of its files.
        anchors: settings to run, by name of the anchor.
        matched: anchors to run also at the size of each of the codec's files, photo by photo.
        metrics: measured on every view.
        anchor_metrics: measured on the anchors' pictures.
        bpp_range: where BD-rates are taken.
        out: results file; curves are drawn beside it.
    """

    photos: Path
    names: list[str] = []
    labels: Path | None = None
    model: Path | None = None
    view: Path | None = None
    task: Path | None = None
    qualities: list[Quality] = Field(min_length=1)
    views: list[View] = Field(default=["machine", "human"], min_length=1)
    anchors: dict[str, list[int]] = {}
    matched: list[str] = []
    metrics: list[Metric] = ["psnr", "ssim", "ms_ssim", "sharpness", "grid", "spectral"]
    anchor_metrics: list[Metric] = ["psnr", "ssim", "ms_ssim"]
    bpp_range: tuple[float, float] = (0.1, 0.8)
    out: Path

    @field_validator("anchors", "matched")
    @classmethod
    def _known(cls, anchors: dict[str, list[int]] | list[str]) -> dict[str, list[int]] | list[str]:
        for name in anchors:
            if name not in ANCHORS:
                raise ValueError(f"there is no anchor '{name}'; choose from {', '.join(ANCHORS)}")
            allowed = ANCHORS[name].settings
            for setting in anchors[name] if isinstance(anchors, dict) else ():
                if setting not in allowed:
                    raise ValueError(f"{name} has no setting {setting}, only {allowed[0]} to {allowed[-1]}")
        return anchors


def photos_of(settings: Evaluation) -> tuple[list[Photo], CocoDataset | None]:
    """The photos of a recipe, and their labels if it names some.

    Raises:
        RecipeError: if one is not there or cannot be read: fewer photos would be another evaluation.
    """
    dataset: CocoDataset | None = None
    if settings.labels is not None:
        dataset = CocoDataset(settings.photos, settings.labels, limit=_first(settings) or None)
        found = {dataset.name(k): k for k in range(len(dataset))}
        photos = [Photo(name, dataset.ids[k], dataset.photo(k)) for name, k in _named(settings, found)]
        problems = dataset.problems
    else:
        folder = Photos(settings.photos, _first(settings))
        found = {path.relative_to(settings.photos).as_posix(): k for k, path in enumerate(folder.paths)}
        arrays = {name: folder.pixels(k) for name, k in _named(settings, found)}
        photos = [Photo(name, 0, pixels) for name, pixels in arrays.items() if pixels is not None]
        problems = [f"{name} cannot be read: {reason}" for name, reason in folder.broken.items()]
    if problems:
        raise RecipeError(f"{problems[0]} ({len(problems)} such problems in the photos)")
    return photos, dataset


def _first(settings: Evaluation) -> int:
    return 0 if settings.names else settings.limit


def _named(settings: Evaluation, found: dict[str, int]) -> list[tuple[str, int]]:
    """The wanted ones of all photos and their numbers."""
    unknown = [name for name in settings.names if name not in found]
    if unknown:
        raise RecipeError(f"there is no photo {unknown[0]} in {settings.photos}")
    wanted = settings.names or list(found)
    return [(name, found[name]) for name in wanted[: settings.limit or None]]


class Runner:
    """Measures photo after photo; to be pickled before its first.

    Args:
        settings: the recipe.
        truth: labels of the photos, if they are needed.
        task: stands in for the recipe's task network.
    """

    def __init__(self, settings: Evaluation, truth: COCO | None, task: Task | None = None) -> None:
        self._settings, self._truth, self._task = settings, truth, task

    def __call__(self, codec: Codec, photo: Photo) -> Measured:
        """All variants of a photo, measured."""
        wanted = self._settings
        made = decoded(
            photo.pixels, codec, wanted.qualities, wanted.views, wanted.anchors, wanted.matched, self.anchors
        )
        return measure(photo, made, wanted.metrics, wanted.anchor_metrics, self.accuracy, self._cache)

    @cached_property
    def anchors(self) -> dict[str, Anchor]:
        """Those that the recipe names."""
        names = dict.fromkeys([*self._settings.anchors, *self._settings.matched])
        return {name: CachedAnchor(ANCHORS[name], self._cache) for name in names}

    @property
    def metrics(self) -> dict[str, str]:
        """What computes those metrics of the recipe that are not computed here.

        Raises:
            DiptychError: if it is not installed.
        """
        wanted = dict.fromkeys([*self._settings.metrics, *self._settings.anchor_metrics])
        return {name: MADE_WITH[name]() for name in wanted if name in MADE_WITH}

    @cached_property
    def accuracy(self) -> TaskAccuracy | None:
        """Of the recipe's task network, if it names one.

        Raises:
            DiptychError: if the network, or the labels, cannot be used.
        """
        file = self._settings.task
        task = self._task or (load_task(file) if file else None)
        if task is None:
            return None
        if self._truth is None:
            raise RecipeError("the recipe names a task but no labels")
        cache = PredictionCache(self._cache, task, file) if file and task is not self._task else None
        return TaskAccuracy(task, self._truth, overlap_of(task), self._settings.batch, cache)

    @cached_property
    def _cache(self) -> Cache:
        return Cache(self._settings.cache)


def measure_all(runner: Runner, photos: Sequence[Photo], codec: Codec) -> list[Measured]:
    """Measure all photos in this process."""
    measured = []
    with progress(len(photos), "evaluated", every=60) as advance:
        for photo in photos:
            measured.append(runner(codec, photo))
            advance()
    return measured


def measure_in_processes(settings: Evaluation, truth: COCO | None, photos: Sequence[Photo]) -> list[Measured]:
    """Measure all photos in as many processes as the recipe says, each with its own codec and task network.

    Raises:
        DiptychError: if a process dies.
    """
    measured: dict[int, Measured] = {}
    with progress(len(photos), "evaluated", every=60) as advance:

        def keep(found: tuple[int, Measured]) -> None:
            measured.update([found])
            advance()

        model = str(settings.model) if settings.model else None
        in_processes(list(enumerate(photos)), _Work(settings, truth), model, settings.workers, keep)
    return [measured[index] for index in range(len(photos))]


class _Work:
    """A runner of numbered photos, for processes that were given the recipe's codec without its view."""

    def __init__(self, settings: Evaluation, truth: COCO | None) -> None:
        self._settings, self._runner = settings, Runner(settings, truth)

    def __call__(self, codec: Codec, item: tuple[int, Photo]) -> tuple[int, Measured]:
        index, photo = item
        return index, self._runner(self._viewed or codec, photo)

    @cached_property
    def _viewed(self) -> Codec | None:
        return load(self._settings.model, self._settings.view) if self._settings.view else None
