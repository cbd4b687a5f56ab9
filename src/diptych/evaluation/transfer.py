"""What one set of files does to many task networks, most of which the codec never saw.

photo -> files of codec and anchors -> pictures -> every network -> score minus that of the originals
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from pydantic import Field
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from diptych.codec.codec import load
from diptych.data.coco import CocoDataset
from diptych.evaluation import results
from diptych.evaluation.anchors import ANCHORS
from diptych.evaluation.average_precision import AveragePrecision, PictureMatches, found_again
from diptych.evaluation.cache import Cache, CachedAnchor
from diptych.evaluation.runner import Evaluation, photos_of
from diptych.evaluation.statistics import Interval, interval, resamples, sampled
from diptych.evaluation.task_accuracy import PredictionCache, Predictor, TaskAccuracy, overlap_of
from diptych.evaluation.variants import CODEC, ORIGINAL, Codec, Decoded, Variant, decoded
from diptych.io.files import make_folder
from diptych.io.progress import progress
from diptych.io.recipes import read_recipe
from diptych.tasks import Task, load_task
from diptych.tasks.agreement import agreement

FORMAT = "diptych-transfer-1"
_ORIGINAL = Variant(ORIGINAL)


class TransferRecipe(Evaluation):
    """What to show to which task networks: an evaluation without metrics, whose ``labels`` may be left out.

    Attributes:
        tasks: weights or descriptions by name, in the order of the table's columns.
    """

    tasks: dict[str, Path] = Field(min_length=1)


class Measure(Protocol):
    """What a task network's detections are worth, variant by variant."""

    name: str

    def add(self, pictures: Sequence[Decoded], image_id: int) -> None:
        """Show the network every picture of one photo."""
        ...

    def values(self, variant: Variant, drawn: np.ndarray) -> np.ndarray:
        """The score over all photos, then over each resample: float64 (1 + draws,)."""
        ...


class Labelled:
    """AP50 against labels: of masks where the network has them, else of boxes."""

    def __init__(self, accuracy: TaskAccuracy) -> None:
        self.name = "mask AP50" if accuracy.overlap == "segm" else "box AP50"
        self._accuracy = accuracy
        self._matches: dict[Variant, list[PictureMatches]] = defaultdict(list)

    def add(self, pictures: Sequence[Decoded], image_id: int) -> None:
        found = self._accuracy.matches(image_id, [one.picture for one in pictures])
        for one, matches in zip(pictures, found, strict=True):
            self._matches[one.variant].append(matches)

    def values(self, variant: Variant, drawn: np.ndarray) -> np.ndarray:
        precision = AveragePrecision(self._matches[variant])
        return np.append(precision.over().ap50, precision.resampled(drawn)[:, 1])


class Unlabelled:
    """F1 against the network's detections in the originals, over the photos in which it found something."""

    name = "agreement"

    def __init__(self, predict: Predictor) -> None:
        self._predict = predict
        self._agreements: dict[Variant, list[float]] = defaultdict(list)

    def add(self, pictures: Sequence[Decoded], image_id: int) -> None:
        found = [found_again(seen) for seen in self._predict([one.picture for one in pictures])]
        in_original = next(f for one, f in zip(pictures, found, strict=True) if one.variant == _ORIGINAL)
        for one, seen in zip(pictures, found, strict=True):
            self._agreements[one.variant].append(agreement(in_original, seen))

    def values(self, variant: Variant, drawn: np.ndarray) -> np.ndarray:
        return sampled(self._agreements[variant], drawn)


class Row(NamedTuple):
    """One task network on one variant: its score, the change from the originals, and the mean bits per pixel."""

    task: str
    measure: str
    variant: Variant
    bpp: float
    score: Interval
    change: Interval


class Transfer:
    """Scores of several task networks on the same pictures, grown photo by photo.

    A network is scored against the labels if they know one of its classes, by name; otherwise by how far it agrees
    with itself.

    Args:
        tasks: the networks by name.
        dataset: the labelled photos; None if they have no labels.
        batch: pictures a network sees together.
        caches: of what they found earlier, by name.

    Raises:
        RecipeError: a network does not detect anything.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task],
        dataset: CocoDataset | None,
        batch: int = 8,
        caches: Mapping[str, PredictionCache] | None = None,
    ) -> None:
        known = caches or {}
        self._measures = {name: measure_of(task, dataset, batch, known.get(name)) for name, task in tasks.items()}
        self._bpp: dict[Variant, list[float]] = defaultdict(list)

    def add(self, pictures: Sequence[Decoded], image_id: int = 0) -> None:
        """Show all networks every picture of one photo; the original must be among them."""
        for one in pictures:
            self._bpp[one.variant].append(8 * one.size / (one.picture.width * one.picture.height))
        for measure in self._measures.values():
            measure.add(pictures, image_id)

    def table(self, draws: int = 1000, seed: int = 0) -> TransferTable:
        """All scores with paired 95 % bootstrap intervals over the photos."""
        drawn = resamples(len(self._bpp[_ORIGINAL]), draws, seed)
        bpp = {variant: float(np.mean(values)) for variant, values in self._bpp.items()}
        scores = {
            name: {variant: measure.values(variant, drawn) for variant in self._bpp}
            for name, measure in self._measures.items()
        }
        return TransferTable({name: measure.name for name, measure in self._measures.items()}, bpp, scores)


class TransferTable:
    """The result of a :class:`Transfer`.

    Args:
        measures: name of each network's score.
        bpp: mean of each variant.
        scores: per network and variant, over all photos and over each resample.
    """

    def __init__(
        self,
        measures: Mapping[str, str],
        bpp: Mapping[Variant, float],
        scores: Mapping[str, Mapping[Variant, np.ndarray]],
    ) -> None:
        self._measures, self._bpp, self._scores = measures, bpp, scores

    def rows(self) -> Iterator[Row]:
        """Every network on every variant."""
        for name, scores in self._scores.items():
            for variant, values in scores.items():
                change = _interval(values - scores[_ORIGINAL])
                yield Row(name, self._measures[name], variant, self._bpp[variant], _interval(values), change)

    def points(self) -> list[dict[str, Any]]:
        """The rows for a results file."""
        return [
            {
                "task": row.task,
                "measure": row.measure,
                "codec": row.variant.codec,
                "setting": row.variant.setting,
                "view": row.variant.view,
                "matched": row.variant.matched,
                "bpp": row.bpp,
                "score": row.score._asdict(),
                "change": row.change._asdict(),
            }
            for row in self.rows()
        ]

    def comparisons(self) -> list[dict[str, Any]]:
        """Every view minus the anchors in the same bytes, network by network."""
        return [
            {
                "task": name,
                "measure": self._measures[name],
                "tested": str(tested),
                "reference": str(reference),
                "difference": _interval(scores[tested] - scores[reference])._asdict(),
            }
            for name, scores in self._scores.items()
            for tested in scores
            for reference in scores
            if tested.codec == CODEC and reference.matched and reference.setting == tested.setting
        ]

    def show(self, console: Console | None = None) -> None:
        """Print the change of every network's score on every variant."""
        title = "Score of each task network on the originals, and its change (95 % intervals)"
        table = Table(title=title, title_justify="left", box=SIMPLE)
        for column in ("", "bpp", *(f"{name}, {measure}" for name, measure in self._measures.items())):
            table.add_column(column, justify="right" if column else "left", no_wrap=True)
        cells: dict[Variant, list[str]] = defaultdict(list)
        for row in self.rows():
            cells[row.variant].append(_cell(row))
        for variant, line in cells.items():
            table.add_row(str(variant), f"{self._bpp[variant]:.3f}" if self._bpp[variant] else "", *line)
        console = console or Console()
        console.width = max(console.width, 40 + 32 * len(self._measures))
        console.print(table)


def run(recipe: Path, overrides: Sequence[str] = (), codec: Codec | None = None) -> Path:
    """Make the table that ``recipe`` describes, print it and write it down.

    Args:
        recipe: YAML file of a :class:`TransferRecipe`.
        overrides: ``key=value`` strings that replace its entries.
        codec: stands in for the recipe's model.

    Returns:
        The results file.

    Raises:
        DiptychError: if the recipe, the photos, the codec or a task network cannot be used.
    """
    settings = read_recipe(recipe, TransferRecipe, overrides)
    make_folder(settings.out.parent)
    cache = Cache(settings.cache)
    tasks = {name: load_task(path) for name, path in settings.tasks.items()}
    caches = {name: PredictionCache(cache, tasks[name], path) for name, path in settings.tasks.items()}
    anchors = {name: CachedAnchor(ANCHORS[name], cache) for name in [*settings.anchors, *settings.matched]}
    codec = codec or load(settings.model, settings.view)
    photos, dataset = photos_of(settings)
    transfer = Transfer(tasks, dataset, settings.batch, caches)
    how = (settings.qualities, settings.views, settings.anchors, settings.matched, anchors)
    with progress(len(photos), "evaluated", every=60) as advance:
        for photo in photos:
            transfer.add(list(decoded(photo.pixels, codec, *how)), photo.image_id)
            advance()
    table = transfer.table(settings.resamples, settings.seed)
    found = {
        "format": FORMAT,
        "provenance": results.provenance(recipe, overrides, settings.tasks),
        "model_id": codec.model_id.hex(),
        "recipe": settings.model_dump(mode="json"),
        "photos": len(photos),
        "points": table.points(),
        "comparisons": table.comparisons(),
    }
    results.write(found, settings.out)
    table.show()
    return settings.out


def measure_of(task: Task, dataset: CocoDataset | None, batch: int, cache: PredictionCache | None) -> Measure:
    """AP50 against labels that know one of the network's classes, by name; else agreement with itself.

    Raises:
        RecipeError: the network does not detect anything.
    """
    overlap = overlap_of(task)
    if dataset is not None and set(task.classes) & set(dataset.classes):
        return Labelled(TaskAccuracy(task, dataset.truth(), overlap, batch, cache))
    return Unlabelled(Predictor(task, batch, cache))


def _interval(values: np.ndarray) -> Interval:
    return interval(float(values[0]), values[1:])


def _cell(row: Row) -> str:
    if row.variant == _ORIGINAL:
        return f"{row.score.value:.3f}"
    return f"{row.change.value:+.3f} ({row.change.low:+.3f} .. {row.change.high:+.3f})"
