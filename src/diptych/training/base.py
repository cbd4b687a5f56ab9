"""Stage ``base``: the codec for machines: rate + scheduled MSE + the loss of a frozen task network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from diptych.data.augment import Augmentation, training_example
from diptych.data.coco import CocoDataset, Split
from diptych.data.order import sample_order
from diptych.models import load_model, save_model
from diptych.nn.model import CodecModel
from diptych.tasks import load_task
from diptych.training.loop import LoopSettings, Stage
from diptych.training.losses import balance, distortion_weight, draw_qualities, squared_error

Batch = tuple[Tensor, list[dict[str, Tensor]]]


class BaseRecipe(BaseModel):
    """Recipe of the ``base`` stage.

    The distortion that a quality weighs against bits is
    ``mse_weight * MSE + task_weight * (task losses) + feature_weight * (feature distance)``. The first weight
    falls and the other two rise linearly over the ``handover`` part of the run: fidelity first, then the task.
    """

    model_config = ConfigDict(extra="forbid")

    loop: LoopSettings
    photos: Path
    labels: Path
    split: Split = "all"
    limit: int = Field(default=0, ge=0, description="use only this many photos")
    start: Path = Field(description="codec weights to start from")
    task: Path = Field(description="weights of the frozen machine")
    batch: int = Field(default=8, gt=0)
    crop: int = Field(default=256, gt=0, multiple_of=64)
    scale: tuple[float, float] = Field(default=(1.1, 1.6), description="photo's long side relative to the crop")
    mse_weight: tuple[float, float] = Field(default=(1.0, 0.1), description="at the start and after the handover")
    task_weight: float = Field(default=100.0, ge=0, description="of the machine's losses, after the handover")
    feature_weight: float = Field(default=300.0, ge=0, description="of the feature distance, after the handover")
    handover: float = Field(default=0.3, ge=0, le=1)


class BaseStage(Stage):
    """End-to-end training of a codec for a frozen machine (Le et al., ICASSP 2021)."""

    def __init__(self, recipe: BaseRecipe) -> None:
        torch.manual_seed(recipe.loop.seed)
        self.recipe = recipe
        self.data = CocoDataset(recipe.photos, recipe.labels, recipe.split, limit=recipe.limit or None)
        for problem in self.data.problems:
            print(problem)
        self.model: CodecModel = load_model(recipe.start)
        self.task = load_task(recipe.task)

    def players(self) -> Mapping[str, list[nn.Module]]:
        return {"codec": [self.model]}

    def batch(self, seed: int, step: int) -> Batch:
        recipe = self.recipe
        how = Augmentation(size=recipe.crop, scale=recipe.scale, colour=0.0)
        random = np.random.default_rng([seed, step, 2])
        order = sample_order(seed, len(self.data), step, recipe.batch)
        examples = [training_example(self.data, index, how, random) for index in order]
        return torch.stack([picture for picture, _ in examples]), [target for _, target in examples]

    def losses(self, player: str, batch: Batch, progress: float) -> dict[str, Tensor]:
        device = next(self.model.parameters()).device
        self.task.to(device)
        x = batch[0].to(device, memory_format=torch.channels_last)
        targets = [{name: value.to(device) for name, value in target.items()} for target in batch[1]]
        quality = draw_qualities(len(x), device)
        coded = self.model(x, quality)
        bpp = coded.bits / x[0, 0].numel()
        mse = squared_error(x, coded.x_hat)
        features, task = self._machine_losses(x, coded.x_hat, targets)
        share = min(1.0, progress / self.recipe.handover) if self.recipe.handover else 1.0
        first, last = self.recipe.mse_weight
        weight = distortion_weight(quality)
        distortion = (first + share * (last - first)) * mse + share * self.recipe.feature_weight * features
        loss = (balance(quality) * (bpp + weight * distortion)).mean()
        loss = loss + share * self.recipe.task_weight * float((balance(quality) * weight).mean()) * task
        return {
            "loss": loss,
            "bpp": bpp.mean(),
            "psnr": (10 * torch.log10(255**2 / mse)).mean(),
            "features": features.mean(),
            "task": task,
        }

    def _machine_losses(
        self, x: Tensor, x_hat: Tensor, targets: Sequence[dict[str, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Relative squared distance of the machine's features ``(B,)``, and the sum of its losses."""
        with torch.no_grad():
            wanted = self.task.features(x)
        seen = self.task.features(x_hat)
        losses = self.task.loss(x_hat, targets, seen)
        distances = [_relative_distance(wanted[level], seen[level]) for level in wanted]
        return torch.stack(distances).mean(0), torch.stack(list(losses.values())).sum()

    def pictures(self) -> dict[str, Tensor]:
        x = self.batch(0, 0)[0][:2].to(next(self.model.parameters()).device)
        x_hat = self.model(x, x.new_tensor([15.0, 50.0])[: len(x)]).x_hat
        return {"original and machine view": torch.cat([torch.cat([*x], 2), torch.cat([*x_hat], 2)], 1)}

    def export(self, path: Path) -> None:
        save_model(self.model, path, {"stage": "base"})


def _relative_distance(wanted: Tensor, seen: Tensor) -> Tensor:
    return (wanted - seen).square().flatten(1).sum(1) / wanted.square().flatten(1).sum(1)
