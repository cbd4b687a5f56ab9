"""What a kind of training is to the loop, and the settings that all kinds share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from diptych.training.optim import muon_and_adamw
from diptych.training.photos import TrainingPhotos

Precision = Literal["auto", "fp32", "bf16"]


class LoopSettings(BaseModel):
    """The part of a recipe that every stage shares."""

    model_config = ConfigDict(extra="forbid")

    out: Path = Field(description="folder of checkpoints, logs and the exported weights")
    steps: int = Field(gt=0)
    batches: int = Field(default=1, gt=0, description="batches per step, shared out among the processes")
    seed: int = Field(default=0, ge=0)
    lr: float = Field(default=2e-3, gt=0)
    warmup: int = Field(default=50, ge=0, description="steps of linear warm-up")
    decay: float = Field(default=0.4, ge=0, le=1, description="last part of the run in which lr falls to zero")
    clip: float = Field(default=1.0, gt=0, description="largest norm of each network's gradient")
    ema: float = Field(default=0.998, ge=0, lt=1)
    precision: Precision = "auto"
    threads: int = Field(default=0, ge=0, description="0: as many as PyTorch chooses")
    workers: int = Field(default=0, ge=0, description="processes that prepare batches ahead; pays with a GPU")
    keep_photos: Literal["auto", "host", "device"] = Field(
        default="auto", description="where photos lie and crops are cut; auto: on a GPU that holds them all"
    )
    checkpoint_minutes: float = Field(default=3.0, ge=0)
    log_every: int = Field(default=20, gt=0)
    pictures_every: int = Field(default=500, gt=0)
    validate_every: int = Field(default=200, gt=0, description="steps between checkpoints that may be chosen")

    def lr_factor(self, step: int) -> float:
        """Warm-up, plateau, linear decay to zero."""
        rise = (step + 1) / max(self.warmup, 1)
        fall = (self.steps - step) / max(self.decay * self.steps, 1)
        return min(1.0, rise, fall)


class Stage(ABC):
    """What one kind of training brings to the loop."""

    model: nn.Module
    """Everything that must survive a restart; its ``state_dict`` is checkpointed."""

    recipe: Any = None
    """The pydantic model that the run was read as; it is kept with a checkpoint."""

    @abstractmethod
    def networks(self) -> Mapping[str, list[nn.Module]]:
        """What takes turns in learning, and the modules of each. The average (EMA) covers all of them."""

    @abstractmethod
    def batch(self, seed: int, number: int) -> Any:
        """One batch of training data, a pure function of its arguments; torch's generator may be drawn from."""

    @abstractmethod
    def losses(self, network: str, batch: Any, progress: Tensor) -> dict[str, Tensor]:
        """Scalars of one pass: ``loss`` is minimised, the rest is logged. ``progress`` runs from 0 to 1."""

    @abstractmethod
    def export(self, path: Path) -> None:
        """Write the model's current weights as float16 safetensors."""

    @abstractmethod
    def frozen_networks(self) -> Sequence[nn.Module]:
        """What else computes on the device and never learns, such as task networks."""

    def crops(self) -> TrainingPhotos | None:
        """What its pictures are cut from, if that can be done on a device."""
        return None

    def optimizers(self, network: str, lr: float) -> list[torch.optim.Optimizer]:
        """Optimizers of one network."""
        return muon_and_adamw(self.networks()[network], lr)

    def validate(self) -> float | None:
        """How far the current weights are from good on photos that are not trained on, the lower the better.

        The averaged weights with the lowest value become the run's weights; None: the last ones do.
        """
        return None

    def pictures(self) -> dict[str, Tensor]:
        """Sample pictures ``(3, H, W)`` in 0..1 for TensorBoard."""
        return {}
