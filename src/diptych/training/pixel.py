"""Stage ``pixel``: rate + mean squared error over all qualities, the common start of every codec."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from diptych.codec.architecture import Widths
from diptych.nn.context import SCANS
from diptych.nn.losses import distortion_weight, squared_error
from diptych.nn.model import CodecModel
from diptych.training.losses import balance, draw_qualities
from diptych.training.photos import Crops, Sources, TrainingPhotos
from diptych.training.stage import LoopSettings, Stage


class Batch(NamedTuple):
    """Crops of one step and the quality of each ``(B,)``."""

    crops: Crops
    quality: Tensor


class PixelRecipe(BaseModel):
    """Recipe of the ``pixel`` stage."""

    model_config = ConfigDict(extra="forbid")

    loop: LoopSettings
    photos: Sources
    limit: int = Field(default=0, ge=0, description="use only this many photos of each folder")
    start: Path | None = Field(default=None, description="codec weights to start from")
    scan: Literal["plain", "checkerboard", "quadtree"] = Field(
        default="checkerboard",
        description="how latents are divided into passes, unless there are weights to start from",
    )
    batch: int = Field(default=8, gt=0)
    crop: int = Field(default=256, gt=0, multiple_of=64)
    zoom: tuple[float, float] = Field(
        default=(0.53, 1.0),
        description="photo pixels per pixel of a resampled crop, below 1: as of finer resolution",
    )


class PixelStage(Stage):
    """Rate-distortion training of the whole codec."""

    def __init__(self, recipe: PixelRecipe) -> None:
        from diptych.training.export import load_model

        torch.manual_seed(recipe.loop.seed)
        self.recipe = recipe
        self.photos = TrainingPhotos(recipe.photos, recipe.batch, recipe.crop, recipe.zoom, recipe.limit)
        print(self.photos.summary())
        passes = SCANS[recipe.scan](Widths().latent)
        self.model: CodecModel = load_model(recipe.start) if recipe.start else CodecModel(passes=passes)

    def networks(self) -> Mapping[str, list[nn.Module]]:
        return {"codec": [self.model]}

    def crops(self) -> TrainingPhotos:
        return self.photos

    def frozen_networks(self) -> list[nn.Module]:
        return []

    def batch(self, seed: int, number: int) -> Batch:
        return Batch(self.photos.draw(seed, number)[0], draw_qualities(self.recipe.batch, seed, number))

    def losses(self, network: str, batch: Batch, progress: Tensor) -> dict[str, Tensor]:
        device = next(self.model.parameters()).device
        x, quality = self.photos.pictures(batch.crops, device), batch.quality.to(device)
        coded = self.model(x, quality)
        bpp = coded.bits / x[0, 0].numel()
        mse = squared_error(x, coded.x_hat)
        loss = (balance(quality) * (bpp + distortion_weight(quality) * mse)).mean()
        return {"loss": loss, "bpp": bpp.mean(), "psnr": (10 * torch.log10(255**2 / mse)).mean()}

    def pictures(self) -> dict[str, Tensor]:
        device = next(self.model.parameters()).device
        x = self.photos.pictures(self.photos.draw(0, 0)[0], device)[:2]
        quality = torch.linspace(15, 60, len(x), device=device)
        x_hat = self.model(x, quality).x_hat
        return {"original and decoded": torch.cat([torch.cat([*x], 2), torch.cat([*x_hat], 2)], 1)}

    def export(self, path: Path) -> None:
        from diptych.training.export import save_model

        save_model(self.model, path, {"stage": "pixel"})
