"""The package's Mask R-CNN without PyTorch: an engine runs its convolutions, NumPy does the rest.

::

    picture ──resize──> body, pyramid, RPN
                          │            └──anchors, suppression──> proposals, up to 200
                          │                                          │
                          ├──levels──RoI align 7x7──> box head <─────┘
                          │                              └──suppression──> boxes, labels, scores, up to 50
                          │                                                  │
                          └──levels──RoI align 14x14──> mask head <──────────┘
                                                           └──paste──> masks in the picture

It reads the file that training writes (:class:`diptych.tasks.mask_rcnn.MaskRCNNTask`) and finds what the trained
network finds, but for the last digits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from diptych.codec import defaults
from diptych.codec.engine import Engine, engine_for
from diptych.codec.engine.graphs import Arrays
from diptych.errors import ModelError
from diptych.tasks.graphs import mask_head, pyramid
from diptych.tasks.regions import Floats, anchors, best_apart, inside, moved, pasted, pooled, resized, wide
from diptych.tasks.settings import ASPECTS, DETECTIONS, IMAGENET_MEAN, IMAGENET_STD, MaskRCNNSettings

STRIDES = (8, 16, 32)
"""Of the levels that boxes are pooled from; a fourth one, of every second place, only makes proposals."""
MULTIPLE = 32
"""Pictures are filled up to sides that are multiples of this."""
BINS, MASK_BINS = 7, 14
SAME_PROPOSAL, SAME_OBJECT = 0.7, 0.5
"""Overlap above which the worse of two proposals, or of two boxes of a class, is dropped."""
UNLIKELY = 0.05
"""Boxes with no higher score are dropped."""
SMALLEST_PROPOSAL, SMALLEST_BOX = 1e-3, 1e-2
"""Sides in pixels."""

Found = dict[str, NDArray[Any]]


class _Candidates(NamedTuple):
    boxes: Floats
    scores: Floats
    groups: NDArray[np.int64]

    def chosen(self, which: NDArray[Any]) -> _Candidates:
        return _Candidates(*(part[which] for part in self))

    def best(self, limit: float, most: int) -> _Candidates:
        """Those left by non-maximum suppression inside each group, the best first."""
        return self.chosen(best_apart(*self, limit, most))


class Detector:
    """Finds objects, their classes and masks in pictures.

    Args:
        settings: shape of the network.
        weights: by the names that training gives them.
        engine: runs the convolutions; None for the CPU's.

    Raises:
        ModelError: if the weights do not fit the settings.
    """

    def __init__(self, settings: MaskRCNNSettings, weights: Arrays, engine: Engine | None = None) -> None:
        self.settings, engine = settings, engine or engine_for("cpu")
        weights = {name: array.astype(np.float32) for name, array in weights.items()}
        try:
            self._pyramid = engine.compile(*pyramid(weights, settings.channels))
            masks = mask_head(weights, len(settings.mask_layers), settings.channels, MASK_BINS)
            self._mask_head = engine.compile(*masks)
            self._dense = [_dense(weights, f"net.roi_heads.{name}") for name in _DENSE]
            first = self._dense[0][0].reshape(settings.channels, BINS, BINS, settings.hidden)
            self._dense[0] = first.transpose(1, 2, 0, 3).reshape(-1, settings.hidden), self._dense[0][1]
        except (KeyError, ValueError, RuntimeError) as error:
            raise ModelError(f"its weights do not fit its description ({str(error).splitlines()[0]}).") from error

    @classmethod
    def load(cls, path: str | Path, engine: Engine | None = None) -> Self:
        """The detector of a weights file.

        Raises:
            ModelError: it cannot be read, or holds no Mask R-CNN.
        """
        try:
            with safe_open(path, framework="np") as file:
                metadata = file.metadata() or {}
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            settings = json.loads(metadata.get("settings", "null"))
        except (OSError, SafetensorError, ValueError, TypeError) as error:
            raise ModelError(f"The task network {path} cannot be read: {error}.") from error
        if metadata.get("kind") != "mask_rcnn":
            raise ModelError(f"{path} holds no Mask R-CNN.")
        try:
            return cls(MaskRCNNSettings.model_validate(settings), weights, engine)
        except (ValidationError, ModelError) as error:
            raise ModelError(f"The task network {path} cannot be used: {str(error).splitlines()[0]}") from error

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; label ``k`` (1-based) is ``classes[k - 1]``."""
        return self.settings.classes

    def predict(self, images: Sequence[Floats]) -> list[Found]:
        """Detections in each picture (float32 (3, H, W) in [0, 1]), best first.

        In a picture so thin that nothing of its short side would be left at the network's size, nothing is found.

        Returns:
            Per picture boxes float32 (n, 4) in its pixels, labels int64 (n,), scores float32 (n,) in [0, 1], and
            masks float32 (n, 1, H, W) in [0, 1].
        """
        return [self._found(np.asarray(image, np.float32)) for image in images]

    def _found(self, image: Floats) -> Found:
        height, width = image.shape[1:]
        scale = self.settings.size / max(height, width)
        size = math.floor(height * scale), math.floor(width * scale)
        if height != width and max(height, width) >= self.settings.size * min(height, width):
            return _described(_NOTHING, np.zeros((0, height, width), np.float32))
        outputs = [output[0] for output in self._pyramid(_canvas(image, size))]
        levels, proposed = outputs[: len(STRIDES)], outputs[len(STRIDES) :]
        found = self._classified(levels, self._proposals(proposed, size), size)
        masks = self._masks(levels, found)
        in_picture = found.boxes * np.array([width / size[1], height / size[0]] * 2, np.float32)
        return _described(found._replace(boxes=in_picture), pasted(masks, in_picture, (height, width)))

    def _proposals(self, levels: Sequence[Floats], size: tuple[int, int]) -> Floats:
        """Boxes ``(n, 4)`` that may hold an object, from the log-odds and deltas of all anchors."""
        canvas = [side * STRIDES[0] for side in levels[0].shape[:2]]
        candidates = []
        for group, (level, side) in enumerate(zip(levels, self.settings.anchors, strict=True)):
            rows, columns, _ = level.shape
            odds, deltas = level[..., : len(ASPECTS)].ravel(), level[..., len(ASPECTS) :].reshape(-1, 4)
            best = np.argsort(-odds, kind="stable")[: 2 * self.settings.proposals]
            around = anchors((rows, columns), (canvas[0] // rows, canvas[1] // columns), side, ASPECTS)
            boxes = inside(moved(around[best], deltas[best]), size)
            candidates.append(_Candidates(boxes, odds[best], np.full(len(best), group)))
        together = _Candidates(*map(np.concatenate, zip(*candidates, strict=True)))
        proposals = together.chosen(wide(together.boxes, SMALLEST_PROPOSAL))
        return proposals.best(SAME_PROPOSAL, self.settings.proposals).boxes

    def _classified(self, levels: Sequence[Floats], proposals: Floats, size: tuple[int, int]) -> _Candidates:
        """Boxes with the probabilities and labels of their classes, as the box head corrects proposals."""
        (first, second, classes, corrections) = self._dense
        x = pooled(levels, proposals, STRIDES, BINS).reshape(len(proposals), -1)
        for weight, bias in (first, second):
            x = np.maximum(x @ weight + bias, 0)
        odds = x @ classes[0] + classes[1]
        chances = np.exp(odds - odds.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        rows, labels = np.nonzero(chances > UNLIKELY)
        rows, labels = rows[labels > 0], labels[labels > 0]  # 0 is the background
        deltas = (x @ corrections[0] + corrections[1]).reshape(len(x), -1, 4)[rows, labels] / _CORRECTIONS
        boxes = inside(moved(proposals[rows], deltas), size)
        found = _Candidates(boxes, chances[rows, labels], labels)
        return found.chosen(wide(boxes, SMALLEST_BOX)).best(SAME_OBJECT, DETECTIONS)

    def _masks(self, levels: Sequence[Floats], found: _Candidates) -> Floats:
        """A mask ``(n, m, m)`` in 0..1 for each box."""
        if not len(found.boxes):
            return np.zeros((0, 2 * MASK_BINS, 2 * MASK_BINS), np.float32)
        features = pooled(levels, found.boxes, STRIDES, MASK_BINS).transpose(0, 3, 1, 2)
        [odds] = self._mask_head(np.ascontiguousarray(features))
        return np.tanh(odds[np.arange(len(odds)), :, :, found.groups] / 2) / 2 + 0.5


@cache
def shipped_detector() -> Detector:
    """The detector that ships with the package, loaded once.

    Raises:
        ModelError: if its weights are missing or unreadable.
    """
    return Detector.load(defaults.TASK)


_DENSE = ("box_head.fc6", "box_head.fc7", "box_predictor.cls_score", "box_predictor.bbox_pred")
_CORRECTIONS = np.array([10, 10, 5, 5], np.float32)
"""What the box head's deltas are divided by."""
_NOTHING = _Candidates(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


def _dense(weights: Arrays, name: str) -> tuple[Floats, Floats]:
    """Weight ``(in, out)`` and bias ``(out,)``."""
    return weights[f"{name}.weight"].T, weights[f"{name}.bias"]


def _canvas(image: Floats, size: tuple[int, int]) -> Floats:
    """The picture ``(1, 3, H, W)`` at a size, as networks trained on ImageNet expect it, filled up with zeros."""
    mean, std = (np.array(three, np.float32)[:, None, None] for three in (IMAGENET_MEAN, IMAGENET_STD))
    scaled = (resized(image, size) - mean) / std
    return np.pad(scaled, ((0, 0), *((0, -side % MULTIPLE) for side in size)))[None]


def _described(found: _Candidates, masks: Floats) -> Found:
    return {"boxes": found.boxes, "labels": found.groups, "scores": found.scores, "masks": masks[:, None]}
