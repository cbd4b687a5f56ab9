"""Stage ``human``: the decoder's first stages, or all, finetuned with a PatchGAN, every bitstream unchanged.

::

    x ──frozen encoder──> y_hat ──tuned stages──frozen stages──> x_hat
    │                                                             │
    ├───── k random patches of both ──> discriminator ────────────┤    Le et al., ICIP 2022, section 2
    ├───── error, structure, grid ────────────────────────────────┤
    └───── features and losses of frozen machines ────────────────┘    so that machines lose nothing

Every loss but the adversary's enters as the logarithm of a distance per picture: what counts is by how many per
cent it falls, whatever the quality (a codec per rate, as in the paper, has no need for that).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from diptych.data.augment import Augmentation, training_example
from diptych.data.coco import CocoDataset
from diptych.data.order import sample_order
from diptych.data.photos import Photos
from diptych.data.split import Split
from diptych.errors import RecipeError
from diptych.models import FrozenCodec, load_codec
from diptych.nn.discriminator import PatchDiscriminator
from diptych.nn.tradeoff import squared_error
from diptych.training.distances import dissimilarity, grid_excess
from diptych.training.export import load_view, save_view, trainable
from diptych.training.loop import LoopSettings, Stage
from diptych.training.losses import draw_qualities
from diptych.training.machines import Machines
from diptych.training.optim import muon_and_adamw

VALIDATION = 64
"""Most pictures that decide between checkpoints."""
SMALLEST = 1e-6
"""Distances below it are as good as none; their logarithms would run away."""


class HumanRecipe(BaseModel):
    """Recipe of the ``human`` stage. With the defaults: the published method, but for its learning rate.

    Low impact (LI) is the same recipe with a lower learning rate. ``mse_weight`` x ln MSE + ``ssim_weight`` x
    ln(1 - SSIM) + ``feature_weight`` x (mean over the machines of ln(feature distance)) + ``task_weight`` x
    ln(mean of the machines' losses) + ``grid_weight`` x (logarithmic excess of the grid), summed over the pictures,
    is the fidelity; the adversary's gradient is scaled to ``gan_weight`` times the norm of the MSE's.
    """

    model_config = ConfigDict(extra="forbid")

    loop: LoopSettings
    photos: Path
    labels: Path | None = Field(default=None, description="COCO labels, for the machines' losses")
    split: Split = Field(default="all", description="'train' leaves photos out and chooses the checkpoint by them")
    limit: int = Field(default=0, ge=0, description="use only this many photos")
    codec: Path = Field(description="the base codec whose files get a human view")
    start: Path | None = Field(default=None, description="view to go on from; by default the machine view")
    machines: list[Path] = Field(default=[], description="whose features are compared: weights or descriptions")
    stages: int = Field(default=2, gt=0, description="how many stages of g_s are tuned, from the latents on")
    batch: int = Field(default=8, gt=0)
    crop: int = Field(default=256, gt=0, multiple_of=64)
    scale: tuple[float, float] = Field(
        default=(1.3, 1.6), description="labelled photos' long side relative to the crop; others are not scaled"
    )
    patches: int = Field(default=3, gt=0, description="random patches per picture")
    patch: int = Field(default=64, gt=0, multiple_of=8, description="side of a patch, in pixels")
    mse_over: Literal["patches", "crop"] = Field(default="patches", description="where the MSE is taken")
    mse_weight: float = Field(default=1.0, gt=0)
    ssim_weight: float = Field(default=0.0, ge=0)
    feature_weight: float = Field(default=0.0, ge=0, description="of the machines' mean; needs machines")
    task_weight: float = Field(default=0.0, ge=0, description="of the machines' losses; needs labels")
    grid_weight: float = Field(default=0.0, ge=0)
    gan_weight: float = Field(default=0.1, ge=0, description="0 leaves the adversary out")
    discriminator_lr: float = Field(default=2e-4, gt=0)


class Batch(NamedTuple):
    """Latents and original of one step, shared by both players; ``targets`` is empty without labels."""

    x: Tensor
    targets: list[dict[str, Tensor]]
    y_hat: Tensor
    quality: Tensor
    corners: Tensor


class TunedDecoder(nn.Module):
    """A frozen codec of which the first stages of ``g_s`` learn, and the discriminator they play against."""

    def __init__(self, frozen: FrozenCodec, stages: int) -> None:
        super().__init__()
        self.codec = trainable(frozen)
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

    def start_from(self, view: Mapping[str, Tensor]) -> None:
        """Take the weights of a view.

        Raises:
            RecipeError: it has a stage that is not tuned.
        """
        own = dict(self.codec.g_s.named_parameters())
        beyond = sorted(view.keys() - self.tuned_layers().keys())
        if beyond:
            raise RecipeError(f"the view to start from has '{beyond[0]}', which is not tuned: set 'stages' higher")
        for name, value in view.items():
            own[name].data.copy_(value)

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
        if bool(recipe.feature_weight) != bool(recipe.machines):
            raise RecipeError("'feature_weight' and 'machines' go together: one of them is missing")
        if bool(recipe.task_weight) != bool(recipe.labels):
            raise RecipeError("'task_weight' and 'labels' go together: one of them is missing")
        self.recipe = recipe
        self.data = self._photos(recipe.split, recipe.limit)
        print(self.data.summary())
        self.kept_back = self._photos("validation", VALIDATION) if recipe.split == "train" else None
        self.frozen = load_codec(recipe.codec)
        self.model: TunedDecoder = TunedDecoder(self.frozen, recipe.stages)
        if recipe.start:
            self.model.start_from(load_view(recipe.start, self.frozen))
        self.machines = Machines(recipe.machines, self.data)
        if recipe.task_weight and not self.machines.learn:
            raise RecipeError("'task_weight' needs a machine that detects: these only have features")

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
        x, targets = self._drawn(self.data, seed, number, self.recipe.batch)
        return self._coded(x, targets, draw_qualities(len(x), x.device))

    def losses(self, player: str, batch: Batch, progress: float) -> dict[str, Tensor]:
        if player == "discriminator":
            with torch.no_grad():
                fake = self._cut(self._decode(batch), batch.corners)
            return self._judge(self._cut(batch.x, batch.corners), fake)
        x_hat = self._decode(batch)
        distances = self._distances(batch, x_hat)
        fidelity, error = self._fidelity(distances).sum(), self._fidelity({"mse": distances["mse"]}).sum()
        logged = {name: distance.detach().mean() for name, distance in distances.items()}
        if not self.recipe.gan_weight:
            return {"loss": fidelity, **logged}
        adversarial = -self.model.discriminator(self._cut(x_hat, batch.corners)).float().mean()
        loss = balanced(fidelity, error, adversarial, self.recipe.gan_weight, x_hat)
        return {"loss": loss, "adversarial": adversarial, **logged}

    def validate(self) -> float | None:
        """Mean fidelity on crops of the photos that were left out, at qualities 10 to 60."""
        if self.kept_back is None:
            return None
        total, count = 0.0, len(self.kept_back)
        for first in range(0, count, 8):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(first)
                x, targets = self._drawn(self.kept_back, 0, first // 8, min(8, count - first))
                batch = self._coded(x, targets, torch.linspace(10, 60, len(x)))
                total += float(self._fidelity(self._distances(batch, self._decode(batch))).sum())
        return total / count

    def _photos(self, split: Split, limit: int) -> Photos | CocoDataset:
        recipe = self.recipe
        if recipe.labels:
            return CocoDataset(recipe.photos, recipe.labels, split, limit=limit or None)
        return Photos(recipe.photos, limit, split)

    def _drawn(
        self, data: Photos | CocoDataset, seed: int, number: int, count: int
    ) -> tuple[Tensor, list[dict[str, Tensor]]]:
        """Crops ``(count, 3, S, S)`` and their targets, if there are labels."""
        if isinstance(data, Photos):
            return data.crops(seed, number, count, self.recipe.crop), []
        how = Augmentation(size=self.recipe.crop, scale=self.recipe.scale, colour=0.0)
        random = np.random.default_rng([seed, number, 3])
        order = sample_order(seed, len(data), number, count)
        pictures, targets = zip(*(training_example(data, index, how, random) for index in order), strict=True)
        return torch.stack(pictures), list(targets)

    def _coded(self, x: Tensor, targets: list[dict[str, Tensor]], quality: Tensor) -> Batch:
        recipe, device = self.recipe, next(self.model.parameters()).device
        x = x.to(device, memory_format=torch.channels_last)
        corners = torch.randint(recipe.crop - recipe.patch + 1, (len(x), recipe.patches, 2))
        with torch.no_grad():
            y_hat = self.model.codec.quantized(x, quality.to(device))
        targets = [{name: value.to(device) for name, value in target.items()} for target in targets]
        return Batch(x, targets, y_hat, quality.to(device), corners)

    def _decode(self, batch: Batch) -> Tensor:
        return self.model.codec.g_s(batch.y_hat, batch.quality).float()

    def _distances(self, batch: Batch, x_hat: Tensor) -> dict[str, Tensor]:
        """Those that have a weight, each ``(B,)``."""
        recipe, x = self.recipe, batch.x
        if recipe.mse_over == "crop":
            found = {"mse": squared_error(x, x_hat)}
        else:
            errors = squared_error(self._cut(x, batch.corners), self._cut(x_hat, batch.corners))
            found = {"mse": errors.unflatten(0, (len(x), -1)).mean(1)}
        if recipe.ssim_weight:
            found["ssim"] = dissimilarity(x, x_hat)
        if self.machines:
            found |= self._machine_distances(batch, x_hat)
        if recipe.grid_weight:
            found["grid"] = grid_excess(x, x_hat)
        return found

    def _machine_distances(self, batch: Batch, x_hat: Tensor) -> dict[str, Tensor]:
        """Geometric mean of the machines' feature distances; mean of their losses, the same for all pictures."""
        distances, losses = self.machines.look(batch.x, x_hat, batch.targets)
        found = {"feature": distances.clamp(min=SMALLEST).log().mean(0).exp()}
        return found if losses is None else found | {"task": losses.expand(len(x_hat))}

    def _fidelity(self, distances: Mapping[str, Tensor]) -> Tensor:
        """Weighted sum of logarithms ``(B,)``; the grid's distance is one already."""
        terms = [
            getattr(self.recipe, f"{name}_weight") * (value if name == "grid" else value.clamp(min=SMALLEST).log())
            for name, value in distances.items()
        ]
        return torch.stack(terms).sum(0)

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
        x = self._drawn(self.data, 0, 0, 2)[0].to(device)
        quality = torch.tensor([15.0, 50.0], device=device)
        x_hat = self.model.codec.g_s(self.model.codec.quantized(x, quality), quality)
        return {"original and human view": torch.cat([torch.cat([*x], 2), torch.cat([*x_hat.float()], 2)], 1)}

    def export(self, path: Path) -> None:
        save_view(self.model.tuned_layers(), self.frozen.model_id, path, {"stage": "human"})


def balanced(fidelity: Tensor, error: Tensor, adversarial: Tensor, weight: float, output: Tensor) -> Tensor:
    """A scalar whose gradient at ``output`` is that of ``fidelity`` plus the adversary's, scaled to ``weight``
    times the norm of the error's.

    So the weight means the same at every rate and however sure of itself the discriminator is (as Defossez et
    al., EnCodec, section 3.4, balance theirs). The error is the yardstick, not the whole fidelity: a network's
    features have gradients so large and so noisy that a small share of them would drown the error.

    Args:
        fidelity, error, adversarial: scalars that depend on ``output``.
        weight: norm of the adversary's gradient relative to the error's.
        output: what the network to be trained produced.
    """
    wanted, yardstick, pulled = (
        torch.autograd.grad(loss, output, retain_graph=True)[0] for loss in (fidelity, error, adversarial)
    )
    mixed = wanted + weight * yardstick.norm() / pulled.norm().clamp(min=1e-12) * pulled
    return (output * mixed.detach()).sum()
