"""Stage ``human``: the decoder's first stages, or all, finetuned with a PatchGAN, every bitstream unchanged.

::

    x ──frozen encoder──> y_hat ──tuned stages──frozen stages──> x_hat
    │                                                             │
    ├───── k random patches of both ──> discriminator ────────────┤    Le et al., ICIP 2022, section 2
    ├───── error, what people see of it, grid ────────────────────┤
    └───── features and losses of frozen task networks ───────────┘    so that they lose nothing

As in ``base``, the sum of the distances is weighted by what the quality says an error is worth in bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from diptych.codec.weights import FrozenCodec, load_codec
from diptych.data.sampling import Split
from diptych.errors import RecipeError
from diptych.nn.discriminator import PatchDiscriminator
from diptych.nn.losses import distortion_weight, squared_error
from diptych.training.export import load_view, save_view, trainable
from diptych.training.losses import HumanDistance, HumanError, balance, draw_qualities
from diptych.training.optim import muon_and_adamw
from diptych.training.photos import Crops, Sources, Target, TrainingPhotos
from diptych.training.stage import LoopSettings, Stage
from diptych.training.task_loss import TaskNetworks, Teachers

VALIDATION = 64
"""Most pictures that decide between checkpoints."""
JUDGED = (10.0, 60.0)
"""Range of the qualities at which they do."""


class HumanRecipe(HumanError):
    """Recipe of the ``human`` stage. With the defaults: the published method, but for its learning rate.

    Low impact (LI) is the same recipe with a lower learning rate. The weighted squared error, SSIMULACRA sum and
    grid (:class:`HumanError`), ``feature_weight`` x (sum of share x feature distance) and ``task_weight`` x (the
    networks' losses) are the fidelity; the adversary's gradient is scaled to ``gan_weight`` times the error's norm.
    """

    loop: LoopSettings
    photos: Sources
    split: Split = Field(default="all", description="'train' leaves photos out and chooses the checkpoint by them")
    limit: int = Field(default=0, ge=0, description="use only this many photos of each folder")
    codec: Path = Field(description="the base codec whose files get a human view")
    start: Path | None = Field(default=None, description="view to go on from; by default the machine view")
    tasks: Teachers = Field(default=[], description="frozen task networks whose features are compared")
    stages: int = Field(default=2, gt=0, description="how many stages of g_s are tuned, from the latents on")
    batch: int = Field(default=8, gt=0)
    crop: int = Field(default=256, gt=0, multiple_of=64)
    zoom: tuple[float, float] = Field(default=(0.75, 1.5), description="photo pixels per pixel of a resampled crop")
    patches: int = Field(default=3, gt=0, description="random patches per picture")
    patch: int = Field(default=64, gt=0, multiple_of=8, description="side of a patch, in pixels")
    mse_over: Literal["patches", "crop"] = Field(default="patches", description="where the error is taken")
    feature_weight: float = Field(default=0.0, ge=0, description="of the feature distances; needs tasks")
    task_weight: float = Field(default=0.0, ge=0, description="of the networks' losses; needs labels")
    gan_weight: float = Field(default=0.1, ge=0, description="0 leaves the adversary out")
    discriminator_lr: float = Field(default=2e-4, gt=0)


class Batch(NamedTuple):
    """What both networks are given: crops, qualities ``(B,)``, corners ``(B, k, 2)`` of the patches, targets."""

    crops: Crops
    quality: Tensor
    corners: Tensor
    targets: list[Target]


class Coded(NamedTuple):
    """A batch on the device, coded by the frozen encoder."""

    x: Tensor
    y_hat: Tensor
    quality: Tensor
    corners: Tensor
    targets: list[Target]


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
        if bool(recipe.feature_weight) != bool(recipe.tasks):
            raise RecipeError("'feature_weight' and 'tasks' go together: one of them is missing")
        self.recipe = recipe
        self.photos = self._photos(recipe.batch, recipe.limit, recipe.split)
        print(self.photos.summary())
        self.kept_back = self._photos(recipe.batch, VALIDATION, "validation") if recipe.split == "train" else None
        self.frozen = load_codec(recipe.codec)
        self.model: TunedDecoder = TunedDecoder(self.frozen, recipe.stages)
        if recipe.start:
            self.model.start_from(load_view(recipe.start, self.frozen))
        self.distance = HumanDistance(recipe)
        self.tasks = TaskNetworks(recipe.tasks, self.photos.classes)
        if recipe.task_weight:
            self.tasks.require_losses()

    def networks(self) -> Mapping[str, list[nn.Module]]:
        networks: dict[str, list[nn.Module]] = {"decoder": self.model.tuned_stages()}
        if self.recipe.gan_weight:
            networks["discriminator"] = [self.model.discriminator]
        return networks

    def optimizers(self, network: str, lr: float) -> list[torch.optim.Optimizer]:
        if network == "decoder":
            return muon_and_adamw(self.networks()[network], lr)
        parameters = self.model.discriminator.parameters()
        return [torch.optim.AdamW(parameters, lr=self.recipe.discriminator_lr, betas=(0.5, 0.9), weight_decay=0.0)]

    def batch(self, seed: int, number: int) -> Batch:
        recipe = self.recipe
        crops, targets = self.photos.draw(seed, number)
        random = np.random.default_rng([seed, number, 5])
        corners = random.integers(recipe.crop - recipe.patch + 1, size=(recipe.batch, recipe.patches, 2))
        return Batch(crops, draw_qualities(recipe.batch, seed, number), torch.from_numpy(corners), targets)

    def losses(self, network: str, batch: Batch, progress: Tensor) -> dict[str, Tensor]:
        coded = self._coded(batch)
        if network == "discriminator":
            with torch.no_grad():
                fake = self._cut(self._decode(coded), coded.corners)
            return self._judge(self._cut(coded.x, coded.corners), fake)
        x_hat = self._decode(coded)
        terms = self._terms(coded, x_hat)
        fidelity = torch.stack([*terms.values()]).sum()
        logged = {name: term.detach().mean() for name, term in terms.items()}
        if not self.recipe.gan_weight:
            return {"loss": fidelity, **logged}
        adversarial = -self.model.discriminator(self._cut(x_hat, coded.corners)).float().mean()
        loss = balanced(fidelity, terms["mse"].sum(), adversarial, self.recipe.gan_weight, x_hat)
        return {"loss": loss, "adversarial": adversarial, **logged}

    def validate(self) -> float | None:
        """Mean fidelity on crops of the photos that were left out, see :data:`JUDGED`."""
        if self.kept_back is None:
            return None
        sums = []
        for number in range(max(1, min(VALIDATION, len(self.kept_back)) // self.recipe.batch)):
            crops, targets = self.kept_back.draw(0, number)
            quality = torch.linspace(*JUDGED, self.recipe.batch)
            corners = torch.zeros(self.recipe.batch, self.recipe.patches, 2, dtype=torch.long)
            coded = self._coded(Batch(crops, quality, corners, targets), self.kept_back)
            sums.append(torch.stack([*self._terms(coded, self._decode(coded)).values()]).sum(0).mean())
        return float(torch.stack(sums).mean())

    def _photos(self, batch: int, limit: int, split: Split) -> TrainingPhotos:
        return TrainingPhotos(self.recipe.photos, batch, self.recipe.crop, self.recipe.zoom, limit, split)

    def _coded(self, batch: Batch, photos: TrainingPhotos | None = None) -> Coded:
        device = next(self.model.parameters()).device
        x, quality = (photos or self.photos).pictures(batch.crops, device), batch.quality.to(device)
        with torch.no_grad():
            y_hat = self.model.codec.quantized(x, quality)
        targets = [{name: value.to(device) for name, value in target.items()} for target in batch.targets]
        return Coded(x, y_hat, quality, batch.corners.to(device), targets)

    def _decode(self, coded: Coded) -> Tensor:
        return self.model.codec.g_s(coded.y_hat, coded.quality).float()

    def _terms(self, coded: Coded, x_hat: Tensor) -> dict[str, Tensor]:
        """Weighted distances by name, each ``(B,)``; only those that have a weight."""
        recipe, x, quality = self.recipe, coded.x, coded.quality
        terms = self.distance(x, x_hat, quality)
        if recipe.mse_over == "patches":
            errors = squared_error(self._cut(x, coded.corners), self._cut(x_hat, coded.corners))
            terms["mse"] = self.distance.mse_weight(quality) * errors.unflatten(0, (len(x), -1)).mean(1)
        if recipe.feature_weight or recipe.task_weight:
            features, task = self.tasks.compare(x, x_hat, coded.targets if recipe.task_weight else None)
            terms["features"] = recipe.feature_weight * features
            if recipe.task_weight:
                terms["task"] = recipe.task_weight * task.expand(len(x))
        weight = balance(quality) * distortion_weight(quality)
        return {name: weight * term for name, term in terms.items()}

    def _judge(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Hinge loss of the discriminator (Lim & Ye, 2017)."""
        on_real, on_fake = self.model.discriminator(torch.cat([real, fake])).float().chunk(2)
        loss = torch.relu(1 - on_real).mean() + torch.relu(1 + on_fake).mean()
        return {"loss": loss, "real": on_real.mean(), "fake": on_fake.mean()}

    def _cut(self, pictures: Tensor, corners: Tensor) -> Tensor:
        """Patches ``(B k, 3, p, p)``, those of a picture one after the other."""
        steps = torch.arange(self.recipe.patch, device=pictures.device)
        rows, columns = (corners[..., axis, None] + steps for axis in (0, 1))
        whose = torch.arange(len(pictures), device=pictures.device)[:, None, None, None]
        return (
            pictures.permute(0, 2, 3, 1)[whose, rows[..., :, None], columns[..., None, :]]
            .permute(0, 1, 4, 2, 3)
            .flatten(0, 1)
        )

    def crops(self) -> TrainingPhotos:
        return self.photos

    def frozen_networks(self) -> list[nn.Module]:
        return [*self.tasks.tasks, self.distance]

    def pictures(self) -> dict[str, Tensor]:
        coded = self._coded(self.batch(0, 0))
        x_hat = self._decode(coded)
        return {"original and human view": torch.cat([torch.cat([*p[:2]], 2) for p in (coded.x, x_hat)], 1)}

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
