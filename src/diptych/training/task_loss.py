"""The frozen task networks that a stage trains for: how far their features go, and what their losses say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from torch import Tensor, nn

from diptych.errors import RecipeError
from diptych.nn.losses import feature_distance
from diptych.tasks import load_task
from diptych.tasks.labels import label_map, relabelled


class Teacher(BaseModel):
    """A task network in a recipe; a path alone stands for ``{network: path}``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: Path = Field(description="weights, or a YAML description")
    share: float = Field(default=1.0, gt=0, description="factor of its feature distance")
    pictures: int = Field(
        default=0, ge=0, description="it looks at the first so many pictures of a batch, 0: at all; for slow ones"
    )


def _path_alone(value: Any) -> Any:
    return {"network": value} if isinstance(value, str | Path) else value


Teachers = list[Annotated[Teacher, BeforeValidator(_path_alone)]]


class TaskNetworks:
    """Several task networks that look at the same pictures. They never learn, and no checkpoint holds them.

    Args:
        teachers: which, as the recipe says.
        classes: of the labels that are trained with; None if there are none.
    """

    def __init__(self, teachers: Sequence[Teacher], classes: Sequence[str] | None) -> None:
        self.teachers = list(teachers)
        self.tasks: list[Any] = [load_task(teacher.network) for teacher in teachers]
        self._labels = [_shared(classes, task) for task in self.tasks]

    def __len__(self) -> int:
        return len(self.tasks)

    def require_losses(self) -> None:
        """Raise RecipeError unless one of them has classes that the labels know, and so may have losses."""
        if all(labels is None for labels in self._labels):
            raise RecipeError("'task_weight' needs labels, and a task network with losses and classes of theirs")

    def compare(
        self, x: Tensor, x_hat: Tensor, targets: Sequence[dict[str, Tensor]] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Compare what they see.

        A network that looks at a part of the batch counts as if the rest were as far, so that a share means the
        same whatever the part.

        Args:
            x, x_hat: originals and decoded pictures (B, 3, H, W) in 0..1; gradients flow to ``x_hat``.
            targets: per picture, in its pixels and on its device; see ``TaskNetwork.loss``. None: no losses.

        Returns:
            the sum over the networks of share x relative squared distance of features ``(B,)``, and the mean over
            those that have losses of their sum, 0 if none has any.
        """
        total, losses = torch.zeros_like(x[:, 0, 0, 0], dtype=torch.float32), []
        for teacher, task, labels in zip(self.teachers, self.tasks, self._labels, strict=True):
            count = min(teacher.pictures or len(x), len(x))
            with torch.no_grad():
                wanted = task.features(x[:count])
            seen = task.features(x_hat[:count])
            distance = feature_distance(wanted, seen) * (len(x) / count)
            total = total + teacher.share * nn.functional.pad(distance, (0, len(x) - count))
            if targets is not None and labels is not None:
                there = [relabelled(target, labels) for target in targets]
                terms = task.loss(x_hat, there, seen if count == len(x) else None)
                losses += [torch.stack([*terms.values()]).sum()] if terms else []
        return total, torch.stack(losses).mean() if losses else total.new_zeros(())


def _shared(classes: Sequence[str] | None, task: Any) -> Tensor | None:
    """From the labels' classes to the network's, if they have any in common."""
    own = getattr(task, "classes", ())
    return label_map(classes, own) if classes is not None and set(classes) & set(own) else None
