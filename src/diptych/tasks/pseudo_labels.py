"""Labels by a task network for photos that have none.

    photo -> upright, at most SIDE pixels a side -> task.predict -> boxes and masks as the photo lies in its file
                                                                                      -> labels.json (COCO format)

What was found is noted beside the labels, photo by photo, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diptych.data.coco_format import LabelWriter, annotation
from diptych.data.photo_cache import in_parallel
from diptych.errors import DiptychError, ModelError, PictureError
from diptych.io.files import below, make_folder, read_bytes, reason, refuse_existing
from diptych.io.formats import READS, left_out
from diptych.io.images import read_stored
from diptych.tasks import Task, load_task

SIDE = 2048
"""Larger photos are shown to the network at this long side: it bounds the memory that a hundred masks take."""

_MIRRORED_X, _MIRRORED_Y, _TRANSPOSED = {2, 3, 6, 7}, {3, 4, 7, 8}, {5, 6, 7, 8}
"""EXIF orientations in which an upright picture has to be mirrored, and then transposed, to lie as it is stored."""

Size = tuple[int, int]


class Labelled(NamedTuple):
    """What became of a folder.

    Attributes:
        photos: how many are in the label file.
        instances: found in them.
        problems: one sentence, without a full stop, per photo that was left out.
    """

    photos: int
    instances: int
    problems: list[str]


def label(folder: Path, task: Path, output: Path, min_score: float = 0.5, overwrite: bool = False) -> Labelled:
    """Write what a task network finds in the photos of a folder as COCO-format labels.

    The labels depend on the photos, the task and ``min_score`` alone, as far as the network computes the same each
    time. Photos that cannot be read are left out.

    Args:
        folder: searched with its subfolders; the labels name the photos relative to it.
        task: the network, for :func:`diptych.tasks.load_task`.
        output: the JSON file.
        min_score: 0..1; what is less certain is left out.
        overwrite: whether ``output`` may be replaced.

    Raises:
        DiptychError: there is no photo that can be read, the network cannot be loaded or finds no objects, or the
            file cannot be written.
    """
    refuse_existing(output, overwrite)
    found = below(folder, READS)
    unread = left_out(found.others)
    paths = {path.relative_to(folder).as_posix(): path for path in found.files}
    if not paths:
        raise DiptychError("; ".join([f"there are no photos in {folder}", *unread.pictures]))
    labeller = _Labeller(task, min_score)
    made_by = {"task": task.name, "sha256": hashlib.sha256(read_bytes(task)).hexdigest(), "min_score": min_score}
    problems = [*unread.pictures, *unread.others]
    make_folder(output.parent)
    part = output.with_name(f".diptych-{output.name}.part")
    with _Notes(part, made_by | {"folder": str(folder.resolve())}) as notes:
        missing = [name for name in paths if name not in notes.found]
        views = in_parallel(_view, [paths[name] for name in missing], "labelling")
        for name, view in zip(missing, views, strict=True):
            if isinstance(view, PictureError):
                problems.append(f"{name} was left out: {view}")
            else:
                notes.add(name, view.size, labeller.annotations(view))
    if not notes.found:
        raise DiptychError(f"none of the photos in {folder} can be read: {problems[-1]}")
    writer = LabelWriter(labeller.classes, {"description": "labels by a task network", **made_by})
    for name in paths:
        if name in notes.found:
            writer.add(name, *notes.found[name])
    writer.write(output, overwrite)
    notes.path.unlink()
    return Labelled(writer.photos, writer.instances, problems)


class _View(NamedTuple):
    """A photo for the network: size of its file (width, height), EXIF orientation, and the upright picture."""

    size: Size
    orientation: int
    upright: Image.Image


def _view(path: Path) -> _View | PictureError:
    try:
        stored = read_stored(path)
    except PictureError as error:
        return error
    upright = stored.upright()
    size = stored.image.size
    upright.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC)
    return _View(size, stored.orientation, upright)


class _Labeller:
    """The user's task network, and how its detections become annotations."""

    def __init__(self, path: Path, min_score: float) -> None:
        self._path, self._min_score = path, min_score
        self._task: Task | Any = load_task(path)
        self.classes: Sequence[str] = getattr(self._task, "classes", ())
        if not self.classes or not hasattr(self._task, "predict"):
            raise ModelError(f"{path} finds no objects, so it cannot label photos")
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._task.to(self._device)

    def annotations(self, view: _View) -> list[dict[str, Any]]:
        """Annotations of one photo, in the order in which the network gives them."""
        pixels = torch.from_numpy(np.array(view.upright)).permute(2, 0, 1).float().div(255)
        [found] = self._task.predict([pixels.to(self._device)])
        if not {"boxes", "labels", "scores"} <= found.keys():
            raise ModelError(f"{self._path} finds no boxes, so it cannot label photos")
        certain = {name: value[found["scores"] >= self._min_score].cpu() for name, value in found.items()}
        annotations = []
        for index, number in enumerate(certain["labels"].tolist()):
            if not 1 <= number <= len(self.classes):
                raise ModelError(f"{self._path} finds class {number}, but names only {len(self.classes)} classes")
            box = _stored_box(certain["boxes"][index], view)
            mask = _stored_mask(certain["masks"][index, 0], view) if "masks" in certain else None
            if box[2] - box[0] >= 1 and box[3] - box[1] >= 1 and (mask is None or mask.any()):
                score = float(certain["scores"][index])
                annotations.append(annotation(number, box, mask, score=score))
        return annotations


def _stored_box(box: Tensor, view: _View) -> list[float]:
    """A box in the upright picture as x0, y0, x1, y1 in the file's pixels, inside the photo."""
    width, height = _upright_size(view)
    scale = torch.tensor([width / view.upright.width, height / view.upright.height] * 2)
    x0, y0, x1, y1 = torch.minimum((box.float() * scale).clamp(min=0), torch.tensor([width, height] * 2)).tolist()
    if view.orientation in _MIRRORED_X:
        x0, x1 = width - x1, width - x0
    if view.orientation in _MIRRORED_Y:
        y0, y1 = height - y1, height - y0
    return [y0, x0, y1, x1] if view.orientation in _TRANSPOSED else [x0, y0, x1, y1]


def _stored_mask(mask: Tensor, view: _View) -> np.ndarray:
    """A mask (height, width), 0..1, of the upright picture as bool at the file's size and orientation."""
    values = mask.numpy()
    if view.upright.size != _upright_size(view):
        enlarged = Image.fromarray(values.astype(np.float32)).resize(_upright_size(view), Image.Resampling.BILINEAR)
        values = np.asarray(enlarged)
    inside = values > 0.5
    inside = inside[:, ::-1] if view.orientation in _MIRRORED_X else inside
    inside = inside[::-1] if view.orientation in _MIRRORED_Y else inside
    return inside.T if view.orientation in _TRANSPOSED else inside


def _upright_size(view: _View) -> Size:
    return view.size[::-1] if view.orientation in _TRANSPOSED else view.size


class _Notes:
    """What was found so far, by name of the photo: in memory, and in a file with a line about the run and then one
    per photo."""

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path = path
        self.found: dict[str, tuple[Size, list[dict[str, Any]]]] = {}
        self._about = dict(about)

    def __enter__(self) -> _Notes:
        kept = self._kept()
        try:
            self._file = open(self.path, "ab")
            self._file.truncate(kept)
        except (OSError, ValueError) as error:
            raise DiptychError(f"cannot write {self.path}: {reason(error)}") from None
        if not kept:
            self._write(self._about)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if not self.found:
            self.path.unlink()

    def add(self, name: str, size: Size, annotations: list[dict[str, Any]]) -> None:
        self.found[name] = size, annotations
        self._write([name, size, annotations])

    def _kept(self) -> int:
        """Take over the notes of an earlier run of the same kind; returns how many bytes of them hold."""
        with suppress(OSError, ValueError, TypeError):
            data = self.path.read_bytes()
            data = data[: data.rfind(b"\n") + 1]  # the last line may have been cut off
            about, *lines = map(json.loads, data.splitlines())
            if about == self._about:
                self.found = {name: ((width, height), found) for name, (width, height), found in lines}
                return len(data)
        return 0

    def _write(self, line: object) -> None:
        try:
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise DiptychError(f"cannot write {self.path}: {reason(error)}") from None
