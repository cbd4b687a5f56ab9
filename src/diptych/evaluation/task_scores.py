"""What a task network finds in pictures, kept for the next time, and what it is worth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torchvision
from pycocotools.coco import COCO

from diptych.errors import RecipeError
from diptych.evaluation.average_precision import Detection, Overlap, PictureMatches, detections, found_again, match
from diptych.evaluation.cache import Cache
from diptych.io.pixels import Picture, digest, pixels
from diptych.tasks import PREDICTIONS, Task
from diptych.tasks.agreement import agreement, characters_kept
from diptych.tasks.labels import label_map

Row = dict[str, float]
"""Values by name."""


class PredictionCache:
    """What a task network found in pictures, kept on disk.

    A network is known by its file, by its features of one picture, which show the weights that the file may only
    name, and by the version of the code that runs it, :data:`diptych.tasks.PREDICTIONS`.

    Args:
        cache: where to keep it.
        task: the network.
        file: its weights or description.

    Attributes:
        task: digest of all that.
    """

    def __init__(self, cache: Cache, task: Task, file: Path) -> None:
        with torch.no_grad(), _one_thread():  # the last bits depend on the number of threads
            trial = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
            levels = task.features(trial.to(device_of(task)))
        known = hashlib.sha256(file.read_bytes())
        for part in (
            *(level.float().cpu().numpy().tobytes() for level in levels.values()),
            f"predictions {PREDICTIONS}, torch {torch.__version__}, torchvision {torchvision.__version__}".encode(),
        ):
            known.update(hashlib.sha256(part).digest())
        self._cache, self.task = cache, known.digest()

    def get(self, picture: bytes) -> list[Detection] | None:
        """What was found in a picture, named by its digest; None if the network never saw it."""
        data = self._cache.get("seen", self.task, picture)
        return None if data is None else json.loads(data)

    def put(self, picture: bytes, seen: list[Detection]) -> None:
        """Remember it."""
        self._cache.put(json.dumps(seen).encode(), "seen", self.task, picture)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def device_of(task: Task) -> torch.device:
    """Where a task network computes."""
    weights = task.parameters() if isinstance(task, torch.nn.Module) else ()
    return next((weight.device for weight in weights), torch.device("cpu"))


class Predictor:
    """A task network that is shown every picture once.

    Args:
        task: the network.
        batch: pictures of one photo that it sees together.
        cache: of what it found earlier.
    """

    def __init__(self, task: Task, batch: int, cache: PredictionCache | None = None) -> None:
        self._task, self._batch, self._cache = task, batch, cache

    def __call__(self, pictures: Sequence[Picture]) -> list[list[Detection]]:
        """What is found in each of the pictures, all of one size; equal ones are shown once."""
        arrays = [pixels(picture) for picture in pictures]
        keys = [digest(array) for array in arrays]
        distinct = dict(zip(keys, arrays, strict=True))
        seen = {key: self._cache.get(key) for key in distinct} if self._cache else {}
        new = [key for key in distinct if seen.get(key) is None]
        for start in range(0, len(new), self._batch):
            some = new[start : start + self._batch]
            for key, found in zip(some, self._predicted([distinct[key] for key in some]), strict=True):
                seen[key] = found
                if self._cache:
                    self._cache.put(key, found)
        return [seen[key] or [] for key in keys]

    def _predicted(self, arrays: Sequence[np.ndarray]) -> list[list[Detection]]:
        device = device_of(self._task)
        tensors = [torch.tensor(array, device=device).permute(2, 0, 1).float() / 255 for array in arrays]
        return [detections(found) for found in self._task.predict(tensors)]


class Score(Protocol):
    """What a task network's answers to the pictures of one photo are worth.

    Attributes:
        name: as a table says it.
    """

    name: str

    def __call__(self, image_id: int, pictures: Sequence[Picture]) -> Sequence[PictureMatches | Row]:
        """For each of the pictures, all of one size and the original first: matches against the labels, or a value
        by name."""
        ...


class TaskAccuracy:
    """A task network and the labels its detections are held against, classes matched by name.

    Args:
        task: the network.
        truth: labels of the photos, category ids 1..n.
        overlap: what decides whether a detection is right: masks, or boxes of a network that has none.
        batch, cache: see :class:`Predictor`.

    Raises:
        ModelError: if the labels know none of the network's classes.
    """

    def __init__(
        self, task: Task, truth: COCO, overlap: Overlap, batch: int, cache: PredictionCache | None = None
    ) -> None:
        self._predict, self._truth = Predictor(task, batch, cache), truth
        self.overlap = overlap
        self.name = "mask AP50" if overlap == "segm" else "box AP50"
        self._labels = label_map(task.classes, [category["name"] for category in truth.dataset["categories"]])

    def __call__(self, image_id: int, pictures: Sequence[Picture]) -> list[PictureMatches]:
        """Which detections are right in each of the pictures of photo ``image_id``, all of one size."""
        return [self._matched(image_id, found) for found in self._predict(pictures)]

    def _matched(self, image_id: int, found: Sequence[Detection]) -> PictureMatches:
        known = [each | {"label": int(self._labels[each["label"]])} for each in found]
        return match(self._truth, image_id, [each for each in known if each["label"]], self.overlap)


class TaskAgreement:
    """A task network that is held against what it finds in the original; NaN where that is nothing.

    See :func:`diptych.tasks.agreement.agreement` and, for what one reads where it found lines,
    :func:`diptych.tasks.agreement.characters_kept`.
    """

    def __init__(self, task: Task, reads: bool, batch: int, cache: PredictionCache | None = None) -> None:
        self._predict = Predictor(task, batch, cache)
        self._measures = {"agreement": agreement} | ({"characters": characters_kept} if reads else {})
        self.name = " and ".join(self._measures)

    def __call__(self, image_id: int, pictures: Sequence[Picture]) -> list[Row]:
        found = [found_again(seen) for seen in self._predict(pictures)]
        return [{name: measure(found[0], seen) for name, measure in self._measures.items()} for seen in found]


def score_of(task: Task, truth: COCO | None, batch: int, cache: PredictionCache | None = None) -> Score:
    """How a task network is scored: against labels that know one of its classes, by name; else by agreement.

    Raises:
        RecipeError: if it does not detect anything.
    """
    outputs = _outputs(task)
    overlap: Overlap = "segm" if "masks" in outputs else "bbox"
    if truth is not None and {category["name"] for category in truth.dataset["categories"]} & set(task.classes):
        return TaskAccuracy(task, truth, overlap, batch, cache)
    return TaskAgreement(task, "texts" in outputs, batch, cache)


def _outputs(task: Task) -> set[str]:
    """Names of what a task network gives.

    Raises:
        RecipeError: if it does not detect at all.
    """
    if not hasattr(task, "predict"):
        raise RecipeError("the task network only has features, an evaluation needs one that detects")
    found = set(task.predict([torch.full((3, 96, 96), 0.5, device=device_of(task))])[0])
    if not {"boxes", "labels", "scores"} <= found:
        raise RecipeError("the task network's outputs are not detections: its description needs a decoder")
    return found
