"""Stage ``pixel``: rate + mean squared error over all qualities, the common start of every codec."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from diptych.architecture import Widths
from diptych.data.photos import Photos
from diptych.nn.context import SCANS
from diptych.nn.model import CodecModel
from diptych.nn.tradeoff import distortion_weight, squared_error
from diptych.training.loop import LoopSettings, Stage
from diptych.training.losses import balance, draw_qualities

LARGEST_ZOOM = 1.9


class PixelRecipe(BaseModel):
    """Recipe of the ``pixel`` stage."""

    model_config = ConfigDict(extra="forbid")

    loop: LoopSettings
    photos: Path
    limit: int = Field(default=0, ge=0, description="use only this many photos")
    start: Path | None = Field(default=None, description="codec weights to start from")
    scan: Literal["plain", "checkerboard", "quadtree"] = Field(
        default="checkerboard",
        description="how latents are divided into passes, unless there are weights to start from",
    )
    batch: int = Field(default=8, gt=0)
    crop: int = Field(default=256, gt=0, multiple_of=64)
    zoom: float = Field(
        default=0.0, ge=0, le=1, description="share of crops enlarged, as photos of finer resolution"
    )


class PixelStage(Stage):
    """Rate-distortion training of the whole codec."""

    def __init__(self, recipe: PixelRecipe) -> None:
        from diptych.training.export import load_model

        torch.manual_seed(recipe.loop.seed)
        self.recipe = recipe
        self.photos = Photos(recipe.photos, recipe.limit)
        print(self.photos.summary())
        passes = SCANS[recipe.scan](Widths().latent)
        self.model: CodecModel = load_model(recipe.start) if recipe.start else CodecModel(passes=passes)

    def players(self) -> Mapping[str, list[nn.Module]]:
        return {"codec": [self.model]}

    def batch(self, seed: int, number: int) -> Tensor:
        size = self.recipe.crop
        x = self.photos.crops(seed, number, self.recipe.batch, size)
        enlarged = round(self.recipe.batch * self.recipe.zoom)
        if enlarged:
            part = int(size / np.random.default_rng([seed, number, 3]).uniform(1, LARGEST_ZOOM))
            x[:enlarged] = nn.functional.interpolate(x[:enlarged, :, :part, :part], size, mode="bicubic").clamp(
                0, 1
            )
        return x

    def losses(self, player: str, batch: Tensor, progress: float) -> dict[str, Tensor]:
        x = batch.to(next(self.model.parameters()).device)
        quality = draw_qualities(len(x), x.device)
        coded = self.model(x, quality)
        bpp = coded.bits / x[0, 0].numel()
        mse = squared_error(x, coded.x_hat)
        loss = (balance(quality) * (bpp + distortion_weight(quality) * mse)).mean()
        return {"loss": loss, "bpp": bpp.mean(), "psnr": (10 * torch.log10(255**2 / mse)).mean()}

    def pictures(self) -> dict[str, Tensor]:
        x = self.photos.crops(0, 0, 2, self.recipe.crop).to(next(self.model.parameters()).device)
        quality = torch.tensor([15.0, 60.0], device=x.device)
        x_hat = self.model(x, quality).x_hat
        return {"original and decoded": torch.cat([torch.cat([*x], 2), torch.cat([*x_hat], 2)], 1)}

    def export(self, path: Path) -> None:
        from diptych.training.export import save_model

        save_model(self.model, path, {"stage": "pixel"})
