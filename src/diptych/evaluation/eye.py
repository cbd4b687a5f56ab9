"""The machine that looks at every picture, and a memory of what it saw."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import torch
import torchvision
from pycocotools.coco import COCO

from diptych.errors import RecipeError
from diptych.evaluation import detection
from diptych.evaluation.cache import Cache
from diptych.evaluation.detection import Detection, Overlap, PictureMatches, detections, match
from diptych.evaluation.pixels import Picture, digest, pixels
from diptych.tasks import Task
from diptych.tasks.score import label_map


class Memory:
    """What a machine saw in pictures, kept on disk.

    A machine is known by its file, by its features of one picture, which show the weights that the file may only
    name, and by the code that runs it.

    Args:
        cache: where to keep it.
        task: the machine.
        file: its weights or description.

    Attributes:
        machine: digest of all that.
    """

    def __init__(self, cache: Cache, task: Task, file: Path) -> None:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            levels = task.features(torch.rand(1, 3, 96, 96, generator=generator))
        code = sorted(p for p in Path(str(resources.files("diptych") / "tasks")).iterdir() if p.suffix == ".py")
        known = hashlib.sha256(file.read_bytes())
        for part in (
            *(level.float().cpu().numpy().tobytes() for level in levels.values()),
            *(path.read_bytes() for path in code),
            inspect.getsource(detection).encode(),
            f"torch {torch.__version__}, torchvision {torchvision.__version__}".encode(),
        ):
            known.update(hashlib.sha256(part).digest())
        self._cache, self.machine = cache, known.digest()

    def get(self, picture: bytes) -> list[Detection] | None:
        """What was seen in a picture, named by its digest; None if it was never shown."""
        data = self._cache.get("seen", self.machine, picture)
        return None if data is None else json.loads(data)

    def put(self, picture: bytes, seen: list[Detection]) -> None:
        """Remember it."""
        self._cache.put(json.dumps(seen).encode(), "seen", self.machine, picture)


class Eye:
    """A machine and the labels its detections are held against, classes matched by name.

    Args:
        task: the network.
        truth: labels of the photos, category ids 1..n.
        overlap: what decides whether a detection is right; see :func:`overlap_of`.
        batch: pictures of one photo that are looked at together.
        memory: of earlier looks.

    Raises:
        ModelError: if the labels know none of the machine's classes.
    """

    def __init__(self, task: Task, truth: COCO, overlap: Overlap, batch: int, memory: Memory | None = None) -> None:
        self._task, self._truth, self._batch, self._memory = task, truth, batch, memory
        self.overlap = overlap
        self._labels = label_map(task.classes, [category["name"] for category in truth.dataset["categories"]])

    def look(self, image_id: int, pictures: Sequence[Picture]) -> list[PictureMatches]:
        """Matches in each of the pictures of photo ``image_id``, all of one size; equal ones are looked at
        once."""
        arrays = [pixels(picture) for picture in pictures]
        keys = [digest(array) for array in arrays]
        distinct = dict(zip(keys, arrays, strict=True))
        seen = {key: self._memory.get(key) for key in distinct} if self._memory else {}
        new = [key for key in distinct if seen.get(key) is None]
        for start in range(0, len(new), self._batch):
            some = new[start : start + self._batch]
            for key, found in zip(some, self._predicted([distinct[key] for key in some]), strict=True):
                seen[key] = found
                if self._memory:
                    self._memory.put(key, found)
        matches = {key: self._matches(image_id, found or []) for key, found in seen.items()}
        return [matches[key] for key in keys]

    def _predicted(self, arrays: Sequence[np.ndarray]) -> list[list[Detection]]:
        tensors = [torch.tensor(array).permute(2, 0, 1).float() / 255 for array in arrays]
        return [detections(found) for found in self._task.predict(tensors)]

    def _matches(self, image_id: int, seen: Sequence[Detection]) -> PictureMatches:
        known = [each | {"label": int(self._labels[each["label"]])} for each in seen]
        return match(self._truth, image_id, [each for each in known if each["label"]], self.overlap)


def overlap_of(task: Task) -> Overlap:
    """Whether a machine's detections are compared by masks or, as it has none, by boxes.

    Raises:
        RecipeError: if it does not detect at all.
    """
    if not hasattr(task, "predict"):
        raise RecipeError("the machine only has features, an evaluation needs one that detects")
    found = task.predict([torch.full((3, 96, 96), 0.5)])[0]
    if not {"boxes", "labels", "scores"} <= found.keys():
        raise RecipeError("the machine's outputs are not detections: its description needs a decoder")
    return "segm" if "masks" in found else "bbox"
