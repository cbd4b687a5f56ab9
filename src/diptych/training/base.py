"""Stage ``base``: the codec for machines: rate + scheduled MSE + the loss of a frozen task network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from diptych.data.augment import Augmentation, training_example
from diptych.data.coco import CocoDataset
from diptych.data.order import sample_order
from diptych.data.photos import Photos
from diptych.data.split import Split
from diptych.nn.model import CodecModel
from diptych.nn.tradeoff import distortion_weight, squared_error
from diptych.training.export import load_model, save_model
from diptych.training.loop import LoopSettings, Stage
from diptych.training.losses import balance, draw_qualities
from diptych.training.machines import Machines

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
    labels: Path | None = Field(default=None, description="COCO labels; without them only features are compared")
    split: Split = "all"
    limit: int = Field(default=0, ge=0, description="use only this many photos")
    start: Path = Field(description="codec weights to start from")
    tasks: list[Path] = Field(min_length=1, description="the frozen machines: weights, or YAML descriptions")
    batch: int = Field(default=8, gt=0)
    crop: int = Field(default=256, gt=0, multiple_of=64)
    scale: tuple[float, float] = Field(default=(1.1, 1.6), description="photo's long side relative to the crop")
    resize: tuple[float, float] = Field(
        default=(0.65, 1.0), description="range of the size at which machines see pictures, relative to the codec"
    )
    mse_weight: tuple[float, float] = Field(default=(1.0, 0.1), description="at the start and after the handover")
    task_weight: float = Field(default=100.0, ge=0, description="of the machine's losses, after the handover")
    feature_weight: float = Field(default=300.0, ge=0, description="of the feature distance, after the handover")
    handover: float = Field(default=0.3, ge=0, le=1)


class BaseStage(Stage):
    """End-to-end training of a codec for a frozen machine (Le et al., ICASSP 2021)."""

    def __init__(self, recipe: BaseRecipe) -> None:
        torch.manual_seed(recipe.loop.seed)
        self.recipe = recipe
        self.data: CocoDataset | Photos
        if recipe.labels:
            self.data = CocoDataset(recipe.photos, recipe.labels, recipe.split, limit=recipe.limit or None)
        else:
            self.data = Photos(recipe.photos, recipe.limit)
        print(self.data.summary())
        self.model: CodecModel = load_model(recipe.start)
        self.machines = Machines(recipe.tasks, self.data)

    def players(self) -> Mapping[str, list[nn.Module]]:
        return {"codec": [self.model]}

    def batch(self, seed: int, number: int) -> Batch:
        recipe = self.recipe
        how = Augmentation(size=recipe.crop, scale=recipe.scale, colour=0.0)
        random = np.random.default_rng([seed, number, 2])
        order = sample_order(seed, len(self.data), number, recipe.batch)
        examples = [training_example(self.data, index, how, random) for index in order]
        return torch.stack([picture for picture, _ in examples]), [target for _, target in examples]

    def losses(self, player: str, batch: Batch, progress: float) -> dict[str, Tensor]:
        recipe, device = self.recipe, next(self.model.parameters()).device
        x = batch[0].to(device, memory_format=torch.channels_last)
        quality = draw_qualities(len(x), device)
        coded = self.model(x, quality)
        bpp = coded.bits / x[0, 0].numel()
        mse = squared_error(x, coded.x_hat)
        features, task = self._machine_losses(x, coded.x_hat, batch[1])
        share = min(1.0, progress / recipe.handover) if recipe.handover else 1.0
        first, last = recipe.mse_weight
        weight = distortion_weight(quality)
        distortion = (first + share * (last - first)) * mse + share * recipe.feature_weight * features
        loss = (balance(quality) * (bpp + weight * distortion)).mean()
        loss = loss + share * recipe.task_weight * (balance(quality) * weight).mean() * task
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
        """Relative squared distance of the machines' features ``(B,)``, and the mean of their summed losses."""
        side = self._side_seen()
        original, decoded = seen_at(x, side), seen_at(x_hat, side)
        there = [target_at(target, x.shape[-1], side, x.device) for target in targets]
        distances, losses = self.machines.look(original, decoded, there)
        return distances.mean(0), x.new_zeros(()) if losses is None else losses

    def _side_seen(self) -> int:
        """Side of the pictures that machines get this time, a multiple of 32."""
        low, high = self.recipe.resize
        factor = low + (high - low) * float(torch.rand(()))
        return max(32, round(self.recipe.crop * factor / 32) * 32)

    def pictures(self) -> dict[str, Tensor]:
        x = self.batch(0, 0)[0][:2].to(next(self.model.parameters()).device)
        x_hat = self.model(x, x.new_tensor([15.0, 50.0])[: len(x)]).x_hat
        return {"original and machine view": torch.cat([torch.cat([*x], 2), torch.cat([*x_hat], 2)], 1)}

    def export(self, path: Path) -> None:
        save_model(self.model, path, {"stage": "base"})


def seen_at(pictures: Tensor, side: int) -> Tensor:
    """Square pictures ``(B, 3, S, S)`` at another side, interpolated as torchvision's detectors do it."""
    if side == pictures.shape[-1]:
        return pictures
    return nn.functional.interpolate(pictures.float(), (side, side), mode="bilinear", align_corners=False)


def target_at(target: Mapping[str, Tensor], before: int, side: int, device: torch.device) -> dict[str, Tensor]:
    """A training target of a picture of side ``before`` for the same picture of another side."""
    boxes, labels, masks = (target[name].to(device) for name in ("boxes", "labels", "masks"))
    if side != before:
        boxes = boxes * (side / before)
        masks = (
            nn.functional.interpolate(masks[None], (side, side), mode="nearest")[0]
            if len(masks)
            else masks.new_zeros(0, side, side)
        )
    return {"boxes": boxes, "labels": labels, "masks": masks}
