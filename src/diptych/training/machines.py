"""The frozen machines that a stage trains for: how far their features go, and what their losses say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from diptych.data.coco import CocoDataset
from diptych.data.photos import Photos
from diptych.tasks import feature_distance, load_task
from diptych.tasks.score import label_map, relabelled


class Machines:
    """Several machines that look at the same pictures.

    Args:
        paths: weights or descriptions.
        data: what is trained on; without labels, features alone are compared.

    Raises:
        ModelError: a machine cannot be loaded, or shares no class with the labels.
    """

    def __init__(self, paths: Sequence[Path], data: Photos | CocoDataset) -> None:
        self.tasks = [load_task(path) for path in paths]
        known = None if isinstance(data, Photos) else data.classes
        self._labels = [
            label_map(known, task.classes) if known is not None and hasattr(task, "classes") else None
            for task in self.tasks
        ]

    def __len__(self) -> int:
        return len(self.tasks)

    @property
    def learn(self) -> bool:
        """Whether one of them has classes that the labels know, and so may have losses."""
        return any(labels is not None for labels in self._labels)

    def look(
        self, original: Tensor, decoded: Tensor, targets: Sequence[dict[str, Tensor]]
    ) -> tuple[Tensor, Tensor | None]:
        """Compare what they see.

        Args:
            original, decoded: pictures (B, 3, H, W) in 0..1; gradients flow to ``decoded``.
            targets: per picture, in its pixels and on its device; see ``Machine.loss``.

        Returns:
            relative squared distances of features (machines, B), and the mean over the machines of their summed
            losses, None if none has any.
        """
        distances, losses = [], []
        for task, labels in zip(self.tasks, self._labels, strict=True):
            task.to(original.device)
            with torch.no_grad():
                wanted = task.features(original)
            seen = task.features(decoded)
            distances.append(feature_distance(wanted, seen))
            if labels is not None:
                terms = task.loss(decoded, [relabelled(target, labels) for target in targets], seen)
                losses += [torch.stack([*terms.values()]).sum()] if terms else []
        return torch.stack(distances), torch.stack(losses).mean() if losses else None
