"""Stage ``task``: the network that the codec will be trained for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from diptych.data.augment import Augmentation, Example, mosaic, paste, training_example
from diptych.data.coco import CocoDataset, repeated
from diptych.data.sampling import Split, sample_order
from diptych.errors import RecipeError
from diptych.tasks import load_task
from diptych.tasks.detector_task import DetectorTask
from diptych.tasks.fcos import FcosSettings, FcosTask
from diptych.tasks.mask_rcnn import MaskRCNNSettings, MaskRCNNTask
from diptych.training.optim import muon_and_adamw
from diptych.training.stage import LoopSettings, Stage

Batch = tuple[Tensor, list[dict[str, Tensor]]]


class TaskRecipe(BaseModel):
    """Recipe of the ``task`` stage."""

    model_config = ConfigDict(extra="forbid")

    loop: LoopSettings
    architecture: Literal["mask_rcnn", "fcos"] = Field(
        default="mask_rcnn", description="instances with masks, or boxes alone by another kind of detector"
    )
    photos: Path
    labels: Path
    split: Split = Field(default="all", description="'train' leaves the validation part of the photos out")
    limit: int = Field(default=0, ge=0, description="use only this many photos")
    batch: int = Field(default=8, gt=0)
    crop: int = Field(default=320, gt=0, multiple_of=32, description="side of the training pictures")
    scale: tuple[float, float] = Field(
        default=(0.7, 1.3), description="long side of the photo, relative to the crop"
    )
    colour: float = Field(default=0.2, ge=0, lt=1)
    balance: float = Field(
        default=0.1, ge=0, description="classes shown by a smaller share of the photos are repeated"
    )
    size: int = Field(default=352, gt=0, description="long side of the pictures in detection")
    imagenet: bool = Field(default=True, description="start the backbone from ImageNet weights")
    mosaic: float = Field(default=0.0, ge=0, le=1, description="share of training pictures made of four photos")
    paste: float = Field(default=0.0, ge=0, le=1, description="share that gets objects of another photo on top")
    start: Path | None = Field(default=None, description="weights of a task network to start from")
    frozen: int = Field(default=2, ge=0, le=7, description="blocks of the backbone left as they are")
    depthwise: bool = Field(
        default=False, description="train the backbone's depthwise kernels too: on CPUs as costly as all the rest"
    )
    backbone_lr: float = Field(default=0.1, ge=0, description="rate of the backbone, relative to lr")


class TaskStage(Stage):
    """Supervised training of a detector on COCO-format labels."""

    model: DetectorTask

    def __init__(self, recipe: TaskRecipe) -> None:
        torch.manual_seed(recipe.loop.seed)
        self.recipe = recipe
        self.data = CocoDataset(recipe.photos, recipe.labels, recipe.split, limit=recipe.limit or None)
        print(self.data.summary())
        self.epoch = repeated(self.data, recipe.balance, recipe.loop.seed)
        self.model = self._network()
        self.model.backbone.freeze(recipe.frozen, recipe.depthwise)

    def networks(self) -> Mapping[str, list[nn.Module]]:
        return {"task": [self.model]}

    def optimizers(self, network: str, lr: float) -> list[torch.optim.Optimizer]:
        body = self.model.backbone.body
        inside = {id(module) for module in body.modules()}
        leaves = [module for module in self.model.modules() if not list(module.children())]
        heads = [module for module in leaves if id(module) not in inside]
        pretrained = [p for p in body.parameters() if p.requires_grad]
        optimizers = muon_and_adamw(heads, lr)
        if pretrained:
            slow = lr * self.recipe.backbone_lr
            optimizers.append(torch.optim.AdamW(pretrained, lr=slow, betas=(0.9, 0.98), weight_decay=0.0))
        return optimizers

    def frozen_networks(self) -> list[nn.Module]:
        return []

    def batch(self, seed: int, number: int) -> Batch:
        random = np.random.default_rng([seed, number])
        order = sample_order(seed, len(self.epoch), number, self.recipe.batch)
        examples = [self._example(place, random) for place in order]
        return torch.stack([picture for picture, _ in examples]), [target for _, target in examples]

    def _example(self, place: int, random: np.random.Generator) -> Example:
        recipe = self.recipe
        if random.random() < recipe.mosaic:
            others = random.integers(len(self.epoch), size=3)
            quarter = Augmentation(recipe.crop // 2, (1.0, 2.0), recipe.colour)
            return mosaic([self._view(int(each), quarter, random) for each in (place, *others)])
        how = Augmentation(recipe.crop, recipe.scale, recipe.colour)
        example = self._view(place, how, random)
        if random.random() < recipe.paste:
            example = paste(example, self._view(int(random.integers(len(self.epoch))), how, random), random)
        return example

    def _view(self, place: int, how: Augmentation, random: np.random.Generator) -> Example:
        return training_example(self.data, int(self.epoch[place]), how, random)

    def _network(self) -> DetectorTask:
        recipe, classes = self.recipe, self.data.classes
        if recipe.start is None:
            network: DetectorTask
            if recipe.architecture == "fcos":
                network = FcosTask(FcosSettings(classes=classes, size=recipe.size))
            else:
                network = MaskRCNNTask(MaskRCNNSettings(classes=classes, size=recipe.size))
            if recipe.imagenet:
                network.backbone.load_imagenet()
            return network
        network = load_task(recipe.start)
        if getattr(network, "KIND", None) != recipe.architecture or network.classes != classes:
            raise RecipeError(f"{recipe.start} is no {recipe.architecture} for the classes of {recipe.labels}")
        network.resize(recipe.size)
        return network.requires_grad_(True)

    def losses(self, network: str, batch: Batch, progress: Tensor) -> dict[str, Tensor]:
        device = next(self.model.parameters()).device
        pictures, targets = batch
        moved = [{name: value.to(device) for name, value in target.items()} for target in targets]
        losses = self.model.loss(pictures.to(device), moved)
        total = torch.stack(list(losses.values())).sum()
        return {"loss": total, **{name.removeprefix("loss_"): value for name, value in losses.items()}}

    def export(self, path: Path) -> None:
        self.model.save(path)
