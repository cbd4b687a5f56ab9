"""Stage ``base``: the codec for machines and people: one encoder, and a decoder for each.

::

    x ──g_a, h_a, h_s, context──> y_hat ─┬─ g_s ───────> machine view: features and losses of frozen task networks
                                         └─ g_s (human) > human view: error, what people see of it, grid

The encoder and the entropy model learn for both decoders. Without the human one this is the method of Le et al.,
ICASSP 2021: rate + scheduled MSE + what a task network says.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from diptych.codec.weights import load_codec
from diptych.data.sampling import Split
from diptych.nn.losses import distortion_weight, squared_error
from diptych.nn.model import CodecModel
from diptych.nn.transforms import Synthesis
from diptych.training.export import load_model, load_view, save_model, save_view
from diptych.training.losses import HumanDistance, HumanError, balance, draw_qualities
from diptych.training.photos import Crops, Sources, Target, TrainingPhotos
from diptych.training.stage import LoopSettings, Stage
from diptych.training.task_loss import TaskNetworks, Teachers


class BaseRecipe(BaseModel):
    """Recipe of the ``base`` stage.

    The distortion that a quality weighs against bits is, for the machine view,
    ``mse_weight * MSE + task_weight * (task losses) + feature_weight * (sum of share * feature distance)``. The
    first weight falls and the other two rise linearly over the ``handover`` part of the run: fidelity first, then
    the task. With ``human``, the distortion of a second decoder is added.
    """

    model_config = ConfigDict(extra="forbid")

    loop: LoopSettings
    photos: Sources
    split: Split = "all"
    limit: int = Field(default=0, ge=0, description="use only this many photos of each folder")
    start: Path = Field(description="codec weights to start from")
    tasks: Teachers = Field(min_length=1, description="the frozen task networks")
    batch: int = Field(default=8, gt=0)
    crop: int = Field(default=256, gt=0, multiple_of=64)
    zoom: tuple[float, float] = Field(default=(0.75, 1.5), description="photo pixels per pixel of a resampled crop")
    mse_weight: tuple[float, float] = Field(default=(1.0, 0.1), description="at the start and after the handover")
    task_weight: float = Field(default=0.0, ge=0, description="of the networks' losses; needs labels")
    feature_weight: float = Field(default=300.0, ge=0, description="of the feature distances, after the handover")
    handover: float = Field(default=0.0, ge=0, le=1)
    human: HumanError | None = Field(default=None, description="train a decoder for people at the same time")
    human_start: Path | None = Field(default=None, description="view that it starts from; by default g_s")
    one_decoder: bool = Field(default=False, description="g_s itself learns for people, too, and is the only view")


class Batch(NamedTuple):
    """Crops of one step, the quality of each ``(B,)``, and what is in them where there are labels."""

    crops: Crops
    quality: Tensor
    targets: list[Target]


class TwoDecoders(nn.Module):
    """A codec and, if there is one, the ``g_s`` of its human view, which shares the embedding of the quality."""

    def __init__(self, codec: CodecModel, human: Synthesis | None) -> None:
        super().__init__()
        self.codec, self.human = codec, human
        if human is not None:
            human.quality = codec.g_s.quality  # a view file holds stages alone

    def view(self) -> dict[str, Tensor]:
        """The human view's layers by their name inside ``g_s``."""
        assert self.human is not None
        return {name: value for name, value in self.human.state_dict().items() if name.startswith("stages.")}


class BaseStage(Stage):
    """End-to-end training of a codec for frozen task networks and for people."""

    def __init__(self, recipe: BaseRecipe) -> None:
        torch.manual_seed(recipe.loop.seed)
        self.recipe = recipe
        self.photos = TrainingPhotos(
            recipe.photos, recipe.batch, recipe.crop, recipe.zoom, recipe.limit, recipe.split
        )
        print(self.photos.summary())
        codec = load_model(recipe.start)
        self.model: TwoDecoders = TwoDecoders(codec, self._human(codec))
        self.tasks = TaskNetworks(recipe.tasks, self.photos.classes)
        if recipe.task_weight:
            self.tasks.require_losses()
        self.human_distance = HumanDistance(recipe.human) if recipe.human else None

    def networks(self) -> Mapping[str, list[nn.Module]]:
        return {"codec": [self.model]}

    def batch(self, seed: int, number: int) -> Batch:
        crops, targets = self.photos.draw(seed, number)
        return Batch(crops, draw_qualities(self.recipe.batch, seed, number), targets)

    def losses(self, network: str, batch: Batch, progress: Tensor) -> dict[str, Tensor]:
        device = next(self.model.parameters()).device
        x, quality = self.photos.pictures(batch.crops, device), batch.quality.to(device)
        coded = self.model.codec(x, quality)
        bpp = coded.bits / (x.shape[2] * x.shape[3])
        weight = balance(quality) * distortion_weight(quality)
        task, logged = self._task_loss(x, coded.x_hat, batch.targets, weight, progress)
        loss = (balance(quality) * bpp).mean() + task
        if self.human_distance is not None:
            human = self.model.human
            seen = coded.x_hat if human is None else human(coded.y_hat, quality).float()
            terms = self.human_distance(x, seen, quality)
            loss = loss + (weight * torch.stack([*terms.values()]).sum(0)).mean()
            logged |= {"human psnr": _psnr(x, seen)} | {
                f"human {k}": v.mean() for k, v in terms.items() if k != "mse"
            }
        return {"loss": loss, "bpp": bpp.mean(), **logged}

    def _task_loss(
        self, x: Tensor, x_hat: Tensor, targets: list[Target], weight: Tensor, progress: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The machine view's weighted distortion, averaged over the batch, and what of it is logged."""
        recipe = self.recipe
        share = torch.as_tensor(progress, device=x.device)
        share = (share / recipe.handover).clamp(max=1) if recipe.handover else torch.ones_like(share)
        first, last = recipe.mse_weight
        there = [{name: value.to(x.device) for name, value in target.items()} for target in targets]
        features, task = self.tasks.compare(x, x_hat, there if recipe.task_weight else None)
        mse = squared_error(x, x_hat)
        distortion = (first + share * (last - first)) * mse + share * recipe.feature_weight * features
        loss = (weight * distortion).mean() + share * recipe.task_weight * weight.mean() * task
        return loss, {"psnr": _psnr(x, x_hat), "features": features.mean(), "task": task}

    def _human(self, codec: CodecModel) -> Synthesis | None:
        if self.recipe.human is None or self.recipe.one_decoder:
            return None
        human = copy.deepcopy(codec.g_s)
        if self.recipe.human_start:
            own = dict(human.named_parameters())
            for name, value in load_view(self.recipe.human_start, load_codec(self.recipe.start)).items():
                own[name].data.copy_(value)
        return human

    def crops(self) -> TrainingPhotos:
        return self.photos

    def frozen_networks(self) -> list[nn.Module]:
        return [*self.tasks.tasks, *([self.human_distance] if self.human_distance else [])]

    def pictures(self) -> dict[str, Tensor]:
        device = next(self.model.parameters()).device
        x = self.photos.pictures(self.photos.draw(0, 0)[0], device)[:2]
        coded = self.model.codec(x, torch.linspace(15, 50, len(x), device=device))
        views = [x, coded.x_hat]
        if self.model.human is not None:
            views.append(self.model.human(coded.y_hat, torch.linspace(15, 50, len(x), device=device)).float())
        return {"original and views": torch.cat([torch.cat([*view], 2) for view in views], 1)}

    def export(self, path: Path) -> None:
        """The codec, and beside it the human view, where :func:`diptych.load` finds it."""
        seen_by = ", ".join(teacher.network.stem for teacher in self.recipe.tasks)
        purpose = f"machines ({seen_by})" + (" and people" if self.human_distance else "")
        save_model(self.model.codec, path, {"stage": "base", "purpose": purpose})
        if self.model.human is not None:
            view = path.with_suffix(".human.safetensors")
            save_view(self.model.view(), load_codec(path).model_id, view, {"stage": "base"})


def _psnr(x: Tensor, x_hat: Tensor) -> Tensor:
    return (10 * torch.log10(255**2 / squared_error(x, x_hat).clamp(min=1e-3))).mean()
