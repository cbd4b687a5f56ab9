"""The machines a codec is trained for, behind one protocol, and the files their weights live in."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError, safe_open
from torch import Tensor

from diptych.data.coco import CocoDataset
from diptych.errors import ModelError


class Task(Protocol):
    """A network that looks at pictures, and the measure of how well it sees."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; label ``k`` (1-based) is ``classes[k - 1]``."""
        ...

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """What the network sees before it decides: float (B, channels, h, w) per level, differentiable."""
        ...

    def loss(
        self,
        images: Tensor,
        targets: Sequence[dict[str, Tensor]],
        features: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Training losses, differentiable with respect to ``images`` (float (B, 3, H, W) in [0, 1]).

        ``features`` of the same images may be passed in to save their computation.
        """
        ...

    def predict(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """What the network finds in each picture (float (3, H, W) in [0, 1])."""
        ...

    def score(self, predictions: Iterable[dict[str, Tensor]], dataset: CocoDataset) -> dict[str, float]:
        """Accuracy of ``predictions``, one per photo of ``dataset`` in its order."""
        ...


def load_task(path: str | Path) -> Any:
    """The task network stored at ``path``, frozen and in evaluation mode.

    Raises:
        ModelError: the file is unreadable, of an unknown kind, or its weights do not fit its description.
    """
    from diptych.tasks.mask_rcnn import MaskRCNNTask

    kinds = {MaskRCNNTask.KIND: MaskRCNNTask}
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
