"""An evaluation from recipe to results.

::

    recipe -> photos -> codecs, anchors -> real files -> pictures -> metrics, task networks -> Measured
    all photos -> summary -> results.json, tables, curves

One photo at a time, in this process, in several, or on a cluster. Photos that are done are kept in the cache until
a file, a version or the code that measures changes, so that a run that was stopped goes on.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO

from diptych.checkerboard.baseline import FEW_TILES, STRIDES, natural
from diptych.cluster import on_cluster
from diptych.codec.processes import in_processes
from diptych.data.coco import CocoDataset
from diptych.data.photos import Photos
from diptych.errors import DiptychError, RecipeError
from diptych.evaluation import codecs, results, tables
from diptych.evaluation.aggregate import Summary
from diptych.evaluation.anchors import ANCHORS, Anchor
from diptych.evaluation.average_precision import ClassMatches, PictureMatches
from diptych.evaluation.cache import Cache, CachedAnchor
from diptych.evaluation.codecs import Codec, Shown, decoded
from diptych.evaluation.measurements import Measured, Measurements, Photo, measure
from diptych.evaluation.people import MADE_WITH
from diptych.evaluation.plot import plot_all
from diptych.evaluation.recipe import Evaluation
from diptych.evaluation.results import Results, Variant
from diptych.evaluation.task_scores import PredictionCache, Score, TaskAccuracy, score_of
from diptych.io.files import make_folder, read_bytes
from diptych.io.pixels import digest
from diptych.io.progress import progress
from diptych.tasks import Task, load_task

_OTHER_PARTS = ("cli", "cluster.py", "export", "page", "report", "serve", "training")
_AFTERWARDS = ("aggregate", "plot", "statistics", "tables")
"""Modules of this part that see what was measured of all photos."""


def evaluate(
    recipe: Evaluation,
    command: Sequence[str],
    given_codecs: Mapping[str, Codec] | None = None,
    given_tasks: Mapping[str, Task] | None = None,
    cluster: str | None = None,
) -> Results:
    """Measure what a recipe says, print the tables, write the results and draw the curves.

    Args:
        recipe: what to measure.
        command: that is recorded, as words.
        given_codecs: stand in for those of the recipe, by name; all work is then done in this process.
        given_tasks: the same for task networks.
        cluster: address of a Ray cluster that shares the photos, see :func:`diptych.cluster.on_cluster`; its nodes
            need the recipe's files under the same names, and what its anchors and metrics need.

    Raises:
        DiptychError: if the photos, a codec, a task network, an anchor or a metric cannot be used, before any work
            here; or on a node.
    """
    make_folder(recipe.out.parent)
    photos, dataset = photos_of(recipe)
    runner = Runner(recipe, dataset.truth() if dataset else None, given_codecs, given_tasks)
    made_with = {name: anchor.made_with for name, anchor in runner.anchors.items()}
    meters = _made_with(recipe)
    scored = {name: score.name for name, score in runner.scores.items()}
    shown = runner.codecs
    if cluster or (recipe.workers > 1 and not (given_codecs or given_tasks)):
        runner = Runner(recipe, runner.truth)  # what is loaded cannot be pickled
        measurements = Measurements(_elsewhere(runner, photos, recipe.workers, cluster))
    else:
        measurements = Measurements(_in_this_process(runner, photos))
    writers = {name: one.writer for name, one in shown.items()}
    summary = Summary(measurements, writers, recipe.resamples, recipe.seed, recipe.bpp_range)
    found = Results(
        provenance=results.provenance(command, _files(recipe)),
        models={name: one.codec.model_id.hex() for name, one in shown.items()},
        recipe=recipe.model_dump(mode="json"),
        anchors=made_with,
        tasks=scored,
        metrics=meters,
        photos=results.Photos(names=measurements.names, pixels=measurements.pixels),
        natural={f"grid_{stride}": natural("phase", stride, 95, FEW_TILES) for stride in STRIDES},
        points=summary.points(),
        comparisons=summary.comparisons(),
        bd_rate=list(summary.bd_rates()),
        needed=list(summary.needed()),
    )
    results.write(found, recipe.out)
    tables.show(found)
    plot_all(found, recipe.out)
    return found


def photos_of(recipe: Evaluation) -> tuple[list[Photo], CocoDataset | None]:
    """The photos of a recipe, and their labels if it names some.

    Raises:
        RecipeError: if one is not there or cannot be read: fewer photos would be another evaluation.
    """
    dataset: CocoDataset | None = None
    first = 0 if recipe.names else recipe.limit
    if recipe.labels is not None:
        dataset = CocoDataset(recipe.photos, recipe.labels, limit=first or None)
        found = {dataset.name(k): k for k in range(len(dataset))}
        photos = [Photo(name, dataset.ids[k], dataset.photo(k)) for name, k in _named(recipe, found)]
        problems = dataset.problems
    else:
        folder = Photos(recipe.photos, first)
        found = {path.relative_to(recipe.photos).as_posix(): k for k, path in enumerate(folder.paths)}
        arrays = {name: folder.pixels(k) for name, k in _named(recipe, found)}
        photos = [Photo(name, 0, pixels) for name, pixels in arrays.items() if pixels is not None]
        problems = [f"{name} cannot be read: {reason}" for name, reason in folder.broken.items()]
    if problems:
        raise RecipeError(f"{problems[0]} ({len(problems)} such problems in the photos)")
    return photos, dataset


def _named(recipe: Evaluation, found: dict[str, int]) -> list[tuple[str, int]]:
    """The wanted ones of all photos and their numbers."""
    unknown = [name for name in recipe.names if name not in found]
    if unknown:
        raise RecipeError(f"there is no photo {unknown[0]} in {recipe.photos}")
    wanted = recipe.names or list(found)
    return [(name, found[name]) for name in wanted[: recipe.limit or None]]


class Runner:
    """Measures photo after photo; to be pickled before its first.

    Args:
        recipe: what to measure.
        truth: labels of the photos, if there are any.
        given_codecs, given_tasks: see :func:`evaluate`.
    """

    def __init__(
        self,
        recipe: Evaluation,
        truth: COCO | None,
        given_codecs: Mapping[str, Codec] | None = None,
        given_tasks: Mapping[str, Task] | None = None,
    ) -> None:
        self._recipe, self.truth = recipe, truth
        self._given_codecs, self._given_tasks = given_codecs, given_tasks

    def __call__(self, photo: Photo) -> Measured:
        """All variants of a photo, measured now or before."""
        if self._given_codecs or self._given_tasks:
            return self._measured(photo)
        parts = ("measured", self._known_by, digest(photo.pixels), str(photo.image_id))
        known = self._cache.get(*parts)
        if known is None:
            known = _packed(self._measured(photo))
            self._cache.put(known, *parts)
        return _unpacked(known)._replace(name=photo.name)

    @cached_property
    def codecs(self) -> dict[str, Shown]:
        """Those of the recipe, by name.

        Raises:
            DiptychError: here and below, if one cannot be used.
        """
        return codecs.opened(self._recipe, self._given_codecs)

    @cached_property
    def anchors(self) -> dict[str, Anchor]:
        """Those that the recipe names."""
        names = dict.fromkeys([*self._recipe.anchors, *self._recipe.matched])
        return {name: CachedAnchor(ANCHORS[name], self._cache) for name in names}

    @cached_property
    def scores(self) -> dict[str, Score]:
        """How each task network is scored, by its name."""
        found = {
            name: score_of(task, self.truth, self._recipe.batch, self._predictions.get(name))
            for name, task in self._tasks.items()
        }
        if self.truth is not None and not any(isinstance(score, TaskAccuracy) for score in found.values()):
            raise RecipeError("the labels know no class of any of the recipe's task networks: leave them out")
        return found

    def _measured(self, photo: Photo) -> Measured:
        recipe = self._recipe
        made = decoded(photo.pixels, self.codecs, recipe.qualities, recipe.anchors, recipe.matched, self.anchors)
        return measure(photo, made, recipe.metrics, self._tasks, self.scores, self._cache)

    @cached_property
    def _tasks(self) -> dict[str, Task]:
        if self._given_tasks:
            return dict(self._given_tasks)
        return {name: load_task(path).to(self._recipe.device) for name, path in self._recipe.tasks.items()}

    @cached_property
    def _predictions(self) -> dict[str, PredictionCache]:
        files = {} if self._given_tasks else self._recipe.tasks
        return {name: PredictionCache(self._cache, self._tasks[name], path) for name, path in files.items()}

    @cached_property
    def _known_by(self) -> bytes:
        """Digest of all that a photo's measurements depend on but the photo."""
        recipe = self._recipe
        described = recipe.model_dump(
            mode="json", include={"codecs", "views", "qualities", "anchors", "matched", "metrics", "device"}
        )
        files = [path for codec in recipe.codecs.values() for path in codecs.files_of(codec).values()]
        files += [recipe.labels] if recipe.labels else []
        parts = [
            json.dumps([described, list(recipe.tasks)]).encode(),
            json.dumps(results.versions()).encode(),
            json.dumps({name: anchor.made_with for name, anchor in self.anchors.items()}).encode(),
            json.dumps(_made_with(recipe)).encode(),
            *(predictions.task for predictions in self._predictions.values()),
            *(read_bytes(path) for path in files),
            *(path.read_bytes() for path in _measuring_code()),
        ]
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()

    @cached_property
    def _cache(self) -> Cache:
        return Cache(self._recipe.cache)


def _in_this_process(runner: Runner, photos: Sequence[Photo]) -> Iterator[Measured]:
    with progress(len(photos), "evaluated", every=60) as advance:
        for photo in photos:
            yield runner(photo)
            advance()


def _elsewhere(runner: Runner, photos: Sequence[Photo], workers: int, cluster: str | None) -> list[Measured]:
    """All photos, in their order, measured by several processes here or by those of a cluster.

    Raises:
        DiptychError: if a process dies, or a photo cannot be measured on a node.
    """
    measured: dict[int, Measured] = {}
    numbered = list(enumerate(photos))
    with progress(len(photos), "evaluated", every=60) as advance:

        def keep(found: tuple[int, Measured]) -> None:
            measured.update([found])
            advance()

        if cluster:
            on_cluster(numbered, _Work(runner), _lost, None, cluster, keep)
        else:
            in_processes(numbered, _Work(runner), None, workers, keep)
    return [measured[index] for index in range(len(photos))]


_one_at_a_time = threading.Lock()
"""Held while a photo is measured: a worker of a cluster has several threads, and one processor."""


class _Work:
    """A runner of numbered photos, for processes that bring a codec of which it has no need."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def __call__(self, _: Codec, item: tuple[int, Photo]) -> tuple[int, Measured]:
        index, photo = item
        with _one_at_a_time:
            return index, self._runner(photo)


def _lost(item: tuple[int, Photo]) -> tuple[int, Measured]:
    raise DiptychError(f"the workers that measure {item[1].name} die, perhaps for want of memory")


def _measuring_code() -> list[Path]:
    """The source files that what is measured of a photo may depend on."""
    package = Path(str(resources.files("diptych")))
    return [
        path
        for path in sorted(package.rglob("*.py"))
        if path.relative_to(package).parts[0] not in _OTHER_PARTS and path.stem not in _AFTERWARDS
    ]


def _made_with(recipe: Evaluation) -> dict[str, str]:
    """What computes those metrics that are not computed here."""
    return {str(name): MADE_WITH[name]() for name in recipe.metrics if name in MADE_WITH}


def _files(recipe: Evaluation) -> dict[str, Path]:
    """The files behind an evaluation, by role."""
    found = {
        name if role == "model" else f"{name}, {role}": path
        for name, codec in recipe.codecs.items()
        for role, path in codecs.files_of(codec).items()
    }
    return found | {name: path for name, path in recipe.tasks.items() if path.is_file()}


def _packed(measured: Measured) -> bytes:
    variants = {variant: variant.model_dump_json() for variant in measured.rows}
    rows = {variants[variant]: row for variant, row in measured.rows.items()}
    matches = {
        task: {variants[variant]: [_class_packed(one) for one in matches] for variant, matches in found.items()}
        for task, found in measured.matches.items()
    }
    return json.dumps([measured.pixels, rows, matches], separators=(",", ":")).encode()


def _unpacked(packed: bytes) -> Measured:
    pixels, rows, matches = json.loads(packed)
    variants = {text: Variant.model_validate_json(text) for text in rows}
    unpacked: dict[str, dict[Variant, PictureMatches]] = {
        task: {variants[text]: [_class_unpacked(one) for one in matches] for text, matches in found.items()}
        for task, found in matches.items()
    }
    return Measured("", pixels, {variants[text]: row for text, row in rows.items()}, unpacked)


def _class_packed(one: ClassMatches | None) -> Any:
    if one is None:
        return None
    return [one.scores.tolist(), one.hits.astype(int).tolist(), one.misses.astype(int).tolist(), one.instances]


def _class_unpacked(packed: Any) -> ClassMatches | None:
    if packed is None:
        return None
    scores, hits, misses, instances = packed
    found, missed = (np.array(part, dtype=bool).reshape(len(part), len(scores)) for part in (hits, misses))
    return ClassMatches(np.array(scores, dtype=float), found, missed, instances)
