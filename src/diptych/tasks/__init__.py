"""The task networks a codec is trained for and measured with, behind one protocol.

load_task("task.safetensors")  one of the package's own: Mask R-CNN or FCOS
load_task("mine.yaml")         somebody's: kind torchvision, onnx, features, classifier or reader

What has to be trained against, or is somebody else's, runs on PyTorch. The detector that ships with the package
predicts without: see :mod:`diptych.tasks.detector`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from safetensors import SafetensorError, safe_open

from diptych.codec import defaults
from diptych.errors import ModelError, extra
from diptych.tasks.descriptions import (
    AnyDescription,
    ClassifierDescription,
    OnnxDescription,
    ReaderDescription,
    TorchvisionDescription,
    read_description,
)

if TYPE_CHECKING:
    from torch import Tensor

    from diptych.tasks.detector_task import DetectorTask

PREDICTIONS = 1
"""Version of what the package's task networks predict from equal weights. Raise it with every change that alters a
detection, so that evaluations forget what was seen before."""


class TaskNetwork(Protocol):
    """A frozen network that looks at pictures: all that training needs of it."""

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """What the network sees before it decides, per level, for ``images`` (float (B, 3, H, W) in [0, 1]).

        Tensors of any shape whose first axis is B, differentiable; see :func:`diptych.nn.losses.feature_distance`.
        """
        ...

    def loss(
        self,
        images: Tensor,
        targets: Sequence[dict[str, Tensor]],
        features: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Training losses, differentiable with respect to ``images`` (float (B, 3, H, W) in [0, 1]).

        Empty where the network has none: then its features alone count. ``targets`` are labelled with the
        network's own :attr:`Task.classes`, -1 for what is to be ignored. ``features`` of the same images may be
        passed in to save their computation.
        """
        ...


class Task(TaskNetwork, Protocol):
    """A task network that answers; only these can be evaluated."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; label ``k`` (1-based) is ``classes[k - 1]``."""
        ...

    def predict(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """What the network finds in each picture (float (3, H, W) in [0, 1]): boxes, labels, scores, and masks if
        it segments; see :mod:`diptych.tasks.agreement`."""
        ...


def load_task(path: str | Path) -> Any:
    """The frozen network that ``path`` stores (``.safetensors``) or describes (``.yaml``, ``.yml`` or ``.json``).

    Returns:
        A :class:`TaskNetwork`; a :class:`Task`, too, unless it only has features.

    Raises:
        ModelError: a file is unreadable, of an unknown kind, or its weights do not fit its description.
        RecipeError: the description is malformed.
        DiptychError: the extra ``train``, or ``onnx`` for a description, is not installed.
    """
    if Path(path).suffix.lower() in (".yaml", ".yml", ".json"):
        with extra("train,onnx", str(path)):
            return _build(read_description(Path(path)))
    return _load_detector(Path(path))


@cache
def shipped_task() -> Task:
    """The task network that ships with the package, whose features can be differentiated; loaded once.

    Raises:
        ModelError: its weights are missing or unreadable.
        DiptychError: the extra ``train`` is not installed.
    """
    task: Task = load_task(defaults.TASK)
    return task


def _build(description: AnyDescription) -> Any:
    if isinstance(description, TorchvisionDescription):
        from diptych.tasks.torchvision_task import TorchvisionTask

        return TorchvisionTask.restore(description)
    if isinstance(description, OnnxDescription):
        from diptych.tasks.onnx_task import OnnxTask

        return OnnxTask(description)
    if isinstance(description, ReaderDescription):
        from diptych.tasks.reader import ReaderTask

        return ReaderTask(description)
    if isinstance(description, ClassifierDescription):
        from diptych.tasks.classifier import ClassifierTask

        return ClassifierTask(description)
    from diptych.tasks.backbone_features import FeaturesTask

    return FeaturesTask(description)


def _load_detector(path: Path) -> Any:
    with extra("train", str(path)):
        from diptych.tasks.fcos import FcosTask
        from diptych.tasks.mask_rcnn import MaskRCNNTask

    kinds: dict[str, type[DetectorTask]] = {kind.KIND: kind for kind in (MaskRCNNTask, FcosTask)}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        kind = kinds.get(metadata.get("kind", ""))
        settings = json.loads(metadata.get("settings", "null"))
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(f"The task network {path} cannot be read: {error}.") from error
    if kind is None:
        raise ModelError(f"{path} holds no task network this version knows.")
    try:
        return kind.restore(settings, weights)
    except ModelError as error:
        raise ModelError(f"The task network {path} cannot be used: {error}") from error
