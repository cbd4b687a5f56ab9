"""Stage ``human``: the decoder's first stages finetuned with a PatchGAN, every bitstream unchanged.

::

    x ──frozen encoder──> y_hat ──tuned stages──frozen stages──> x_hat
    └───── the same k random patches of both ─────> MSE + adversarial loss (Le et al., ICIP 2022, section 2)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from diptych.data.photos import Photos
from diptych.errors import RecipeError
from diptych.models import FrozenCodec, load_codec, save_view
from diptych.nn.discriminator import PatchDiscriminator
from diptych.training.loop import LoopSettings, Stage
from diptych.training.losses import draw_qualities
from diptych.training.optim import muon_and_adamw


class HumanRecipe(BaseModel):
    """Recipe of the ``human`` stage. Low impact (LI) is the same recipe with a lower learning rate."""

    model_config = ConfigDict(extra="forbid")

    loop: LoopSettings
    photos: Path
    limit: int = Field(default=0, ge=0, description="use only this many photos")
    codec: Path = Field(description="the base codec whose files get a human view")
    stages: int = Field(default=2, gt=0, description="how many stages of g_s are tuned, from the latents on")
    batch: int = Field(default=8, gt=0)
    crop: int = Field(default=256, gt=0, multiple_of=64)
    patches: int = Field(default=3, gt=0, description="random patches per picture")
    patch: int = Field(default=64, gt=0, multiple_of=8, description="side of a patch, in pixels")
    mse_weight: float = Field(default=1.0, ge=0)
    gan_weight: float = Field(default=0.1, ge=0, description="0 leaves the adversary out")
    discriminator_lr: float = Field(default=2e-4, gt=0)


class Batch(NamedTuple):
    """Latents and original of one step, shared by both players."""

    x: Tensor
    y_hat: Tensor
    quality: Tensor
    corners: Tensor


class TunedDecoder(nn.Module):
    """A frozen codec of which the first stages of ``g_s`` learn, and the discriminator they play against."""

    def __init__(self, frozen: FrozenCodec, stages: int) -> None:
        super().__init__()
        self.codec = frozen.model
        self.discriminator = PatchDiscriminator()
        names = [name for name, _ in self.codec.g_s.stages.named_children()]
        if stages > len(names):
            raise RecipeError(f"g_s has {len(names)} stages, {stages} cannot be tuned")
        self.tuned = names[:stages]
        self.train()

    def train(self, mode: bool = True) -> TunedDecoder:
        """Freezes anew, each time, everything that files and the machine view depend on."""
        super().train(mode)
        self.codec.requires_grad_(False).eval()
        for stage in self.tuned_stages():
            stage.requires_grad_(mode).train(mode)
        return self

    def tuned_stages(self) -> list[nn.Module]:
        return [self.codec.g_s.stages.get_submodule(name) for name in self.tuned]

    def tuned_layers(self) -> dict[str, Tensor]:
        """Tuned tensors by their name inside ``g_s``."""
        return {
            f"stages.{name}.{key}": value
            for name, stage in zip(self.tuned, self.tuned_stages(), strict=True)
            for key, value in stage.state_dict().items()
        }


class HumanStage(Stage):
    """Alternating training of the decoder's first stages and a patch discriminator."""

    def __init__(self, recipe: HumanRecipe) -> None:
        torch.manual_seed(recipe.loop.seed)
        if recipe.patch > recipe.crop:
            raise RecipeError(f"patches of {recipe.patch} pixels do not fit into crops of {recipe.crop}")
        self.recipe = recipe
        self.photos = Photos(recipe.photos, recipe.limit)
        print(self.photos.summary())
        self.frozen = load_codec(recipe.codec)
        self.model: TunedDecoder = TunedDecoder(self.frozen, recipe.stages)

    def players(self) -> Mapping[str, list[nn.Module]]:
        players: dict[str, list[nn.Module]] = {"decoder": self.model.tuned_stages()}
        if self.recipe.gan_weight:
            players["discriminator"] = [self.model.discriminator]
        return players

    def optimizers(self, player: str, lr: float) -> list[torch.optim.Optimizer]:
        if player == "decoder":
            return muon_and_adamw(self.players()[player], lr)
        parameters = self.model.discriminator.parameters()
        return [torch.optim.AdamW(parameters, lr=self.recipe.discriminator_lr, betas=(0.5, 0.9), weight_decay=0.0)]

    def batch(self, seed: int, number: int) -> Batch:
        recipe = self.recipe
        device = next(self.model.parameters()).device
        x = self.photos.crops(seed, number, recipe.batch, recipe.crop)
        x = x.to(device, memory_format=torch.channels_last)
        quality = draw_qualities(len(x), device)
        corners = torch.randint(recipe.crop - recipe.patch + 1, (len(x), recipe.patches, 2))
        with torch.no_grad():
            y_hat = self.model.codec.quantized(x, quality)
        return Batch(x, y_hat, quality, corners)

    def losses(self, player: str, batch: Batch, progress: float) -> dict[str, Tensor]:
        real = self._cut(batch.x, batch.corners)
        if player == "discriminator":
            with torch.no_grad():
                fake = self._cut(self.model.codec.g_s(batch.y_hat, batch.quality).float(), batch.corners)
            return self._judge(real, fake)
        fake = self._cut(self.model.codec.g_s(batch.y_hat, batch.quality).float(), batch.corners)
        mse = (fake - real).square().mean()
        logged = {"psnr": 10 * torch.log10(1 / mse)}
        if not self.recipe.gan_weight:
            return {"loss": self.recipe.mse_weight * mse * 255**2, **logged}
        adversarial = -self.model.discriminator(fake).float().mean()
        weights = {"mse": self.recipe.mse_weight, "gan": self.recipe.gan_weight}
        loss = balanced({"mse": mse, "gan": adversarial}, weights, fake)
        return {"loss": loss, "adversarial": adversarial, **logged}

    def _judge(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Hinge loss of the discriminator (Lim & Ye, 2017)."""
        on_real, on_fake = self.model.discriminator(torch.cat([real, fake])).float().chunk(2)
        loss = torch.relu(1 - on_real).mean() + torch.relu(1 + on_fake).mean()
        return {"loss": loss, "real": on_real.mean(), "fake": on_fake.mean()}

    def _cut(self, pictures: Tensor, corners: Tensor) -> Tensor:
        side = self.recipe.patch
        cut = [
            picture[:, top : top + side, left : left + side]
            for picture, places in zip(pictures, corners.tolist(), strict=True)
            for top, left in places
        ]
        return torch.stack(cut)

    def pictures(self) -> dict[str, Tensor]:
        device = next(self.model.parameters()).device
        x = self.photos.crops(0, 0, 2, self.recipe.crop).to(device)
        quality = torch.tensor([15.0, 50.0], device=device)
        x_hat = self.model.codec.g_s(self.model.codec.quantized(x, quality), quality)
        return {"original and human view": torch.cat([torch.cat([*x], 2), torch.cat([*x_hat.float()], 2)], 1)}

    def export(self, path: Path) -> None:
        save_view(self.model.tuned_layers(), self.frozen.model_id, path, {"stage": "human"})


def balanced(losses: Mapping[str, Tensor], weights: Mapping[str, float], output: Tensor) -> Tensor:
    """A scalar whose gradient at ``output`` mixes the losses' gradients, each of norm one, by ``weights``.

    So the weights mean the same whatever scale the losses have (Defossez et al., EnCodec, section 3.4).

    Args:
        losses: scalars that depend on ``output``.
        weights: share of each.
        output: what the network to be trained produced.
    """
    mixed = torch.zeros_like(output)
    for name, loss in losses.items():
        (gradient,) = torch.autograd.grad(loss, output, retain_graph=True)
        mixed += weights[name] / sum(weights.values()) * gradient / gradient.norm().clamp(min=1e-12)
    return (output * mixed.detach()).sum()
