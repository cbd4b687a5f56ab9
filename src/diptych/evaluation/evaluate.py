"""An evaluation from recipe to results.

    recipe -> photos -> real files of codec and anchors -> pictures -> metrics, detections -> results.json

One photo at a time: its pictures are measured and forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pycocotools.coco import COCO
from pydantic import BaseModel, ConfigDict, Field, field_validator
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from diptych.data.coco import CocoDataset
from diptych.data.photos import Photos
from diptych.errors import RecipeError
from diptych.evaluation import results
from diptych.evaluation.anchors import ANCHORS
from diptych.evaluation.summary import Summary
from diptych.evaluation.survey import Eye, Metric, Survey
from diptych.evaluation.variants import Codec, decoded
from diptych.files import make_folder
from diptych.recipes import read_recipe
from diptych.tasks import Task, load_task

Quality = Annotated[float, Field(ge=0, le=100)]
View = Literal["machine", "human"] | Annotated[float, Field(ge=0, le=1)]


class Evaluation(BaseModel):
    """What to measure. Paths are relative to the folder the command runs in.

    Attributes:
        photos: folder of photos.
        labels: COCO-format JSON of these photos; needed with ``task``.
        model: codec file; the shipped one if not given.
        view: view file of the human view; the one that belongs to ``model`` if not given.
        task: weights of the machine whose detections are scored.
        qualities: of the codec.
        views: of each of its files.
        anchors: settings to run, by name of the anchor.
        matched: anchors to run also at the size of each of the codec's files, photo by photo.
        metrics: measured on every view.
        anchor_metrics: measured on the anchors' pictures.
        bpp_range: where BD-rates are taken.
        limit: use only this many photos; 0 for all.
        resamples: of the photos, behind every interval.
        seed: of the resamples.
        batch: pictures the machine looks at together.
        out: results file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    photos: Path
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
    limit: int = Field(default=0, ge=0)
    resamples: int = Field(default=1000, ge=1)
    seed: int = 0
    batch: int = Field(default=8, ge=1)
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


class Photo(NamedTuple):
    """One photo of the evaluation: pixels uint8 ``(H, W, 3)``."""

    name: str
    image_id: int
    pixels: np.ndarray


def run(recipe: Path, overrides: Sequence[str] = (), codec: Codec | None = None, task: Task | None = None) -> Path:
    """Evaluate by ``recipe``, print a table and write the results.

    Args:
        recipe: YAML file of an :class:`Evaluation`.
        overrides: ``key=value`` strings that replace its entries.
        codec: stands in for the recipe's model.
        task: stands in for the recipe's task.

    Returns:
        The results file.

    Raises:
        DiptychError: if the recipe, the photos or the weights cannot be used.
    """
    settings = read_recipe(recipe, Evaluation, overrides)
    make_folder(settings.out.parent)
    photos, truth = _photos(settings)
    codec = codec or _codec(settings)
    task = task or (load_task(settings.task) if settings.task else None)
    if task is not None and truth is None:
        raise RecipeError(f"the recipe {recipe} names a task but no labels")
    eye = Eye(task, truth, settings.batch) if task is not None else None
    survey = Survey(settings.metrics, settings.anchor_metrics, eye)
    for photo in _progress(photos):
        made = decoded(photo.pixels, codec, settings.qualities, settings.views, settings.anchors, settings.matched)
        survey.add(photo.name, photo.pixels, made, photo.image_id)
    summary = Summary(survey, settings.resamples, settings.seed, settings.bpp_range)
    found = {
        "format": results.FORMAT,
        "provenance": results.provenance(recipe, overrides, _weights(settings)),
        "model_id": codec.model_id.hex(),
        "recipe": settings.model_dump(mode="json"),
        "photos": {"names": survey.names, "pixels": survey.pixels},
        "points": summary.points(),
        "comparisons": summary.comparisons(),
        "bd_rate": summary.bd_rates(),
    }
    results.write(found, settings.out)
    results.show(results.read(settings.out))
    return settings.out


def _photos(settings: Evaluation) -> tuple[list[Photo], COCO | None]:
    if settings.labels is not None:
        dataset = CocoDataset(settings.photos, settings.labels, limit=settings.limit or None)
        _refuse(dataset.problems)
        entries = [Photo(dataset.name(k), dataset.ids[k], dataset.photo(k)) for k in range(len(dataset))]
        return entries, dataset.truth()
    folder = Photos(settings.photos, settings.limit)
    arrays = [folder.pixels(index) for index in range(len(folder.paths))]
    _refuse([f"{name} cannot be read: {reason}" for name, reason in folder.broken.items()])
    return [Photo(p.name, 0, a) for p, a in zip(folder.paths, arrays, strict=True) if a is not None], None


def _refuse(problems: Sequence[str]) -> None:
    """An evaluation on fewer photos than asked for is another evaluation."""
    if problems:
        raise RecipeError(f"{problems[0]} ({len(problems)} such problems in the photos)")


def _codec(settings: Evaluation) -> Codec:
    from diptych.codec import load

    return load(settings.model, settings.view)


def _weights(settings: Evaluation) -> dict[str, Path]:
    """The files behind the evaluation, by role; those that are not there are left out."""
    model = settings.model or Path(str(resources.files("diptych") / "weights" / "codec.safetensors"))
    files = {
        "codec": model,
        "human": settings.view or model.with_suffix(".human.safetensors"),
        "task": settings.task,
    }
    return {role: path for role, path in files.items() if path is not None and path.is_file()}


def _progress(photos: list[Photo]) -> Iterator[Photo]:
    with Progress(
        TextColumn("evaluating"), BarColumn(), MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn()
    ) as progress:
        yield from progress.track(photos)
