"""What one training run holds, a step of it, and its checkpoint.

A step is a pure function of (seed, step, weights, optimizer state): every random draw is seeded anew for each
batch, so a run that was killed continues exactly where its last checkpoint left it.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from diptych.errors import ModelError
from diptych.io.files import reason, write_bytes
from diptych.nn.transforms import channels_last
from diptych.training.capture import EAGER_STEPS, CapturedStep, make_capturable, make_eager, recording, set_rate
from diptych.training.distributed import Processes
from diptych.training.optim import Average
from diptych.training.photos import TrainingPhotos
from diptych.training.stage import LoopSettings, Stage


def reseed(seed: int, number: int) -> None:
    """Make what is drawn next depend on a run's seed and a batch's number alone."""
    torch.manual_seed(seed * 1_000_003 + number)


def fastest_precision(device: torch.device) -> Literal["fp32", "bf16"]:
    """Time one second of a typical convolution, forward and backward, in fp32 and bf16."""
    layer = channels_last(nn.Conv2d(128, 128, 3, padding=1).to(device))
    x = torch.randn(4, 128, 32, 32, device=device).contiguous(memory_format=torch.channels_last)

    def rounds(enabled: bool) -> int:
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < 0.5:
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled):
                y = layer(x)
            (gradient,) = torch.autograd.grad(y.float().square().mean(), layer.weight)
            float(gradient.flatten()[0])
            done += 1
        return done

    return "bf16" if rounds(True) > rounds(False) else "fp32"


class Trainer:
    """State of one run: stage, optimizers, average, step.

    Raises:
        RecipeError: if there are processes that a step's batches cannot be shared out to.
    """

    def __init__(self, stage: Stage, settings: LoopSettings) -> None:
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.settings = settings
        self.stage = stage
        self.processes = Processes()
        self.own = self.processes.share(settings.batches)
        channels_last(stage.model.to(self.processes.device))
        for module in stage.frozen_networks():
            module.to(self.processes.device)
        photos = stage.crops()
        if photos is not None and self._keeps(photos):
            photos.keep_on(self.processes.device)
        self.optimizers = {network: stage.optimizers(network, settings.lr) for network in stage.networks()}
        self.base_lr = [
            [[group["lr"] for group in o.param_groups] for o in owned] for owned in self.optimizers.values()
        ]
        trained = [module for modules in stage.networks().values() for module in modules]
        self.average = Average(trained, stage.model, settings.ema)
        self.precision: str = settings.precision
        self.progress = torch.zeros((), device=self.processes.device)
        self.captured: CapturedStep | None = None
        self.recordable = True
        self.step = self.done = 0
        self.best = math.inf

    def _keeps(self, photos: TrainingPhotos) -> bool:
        settings, device = self.settings, self.processes.device
        if settings.keep_photos != "auto":
            return settings.keep_photos == "device"
        alone = device.type == "cuda" and settings.batches == 1 and photos.classes is None
        return alone and photos.fit(torch.cuda.mem_get_info(device)[0] // 3)

    @property
    def checkpoint(self) -> Path:
        return self.settings.out / "checkpoint.pt"

    @property
    def weights(self) -> Path:
        return self.settings.out / "weights.safetensors"

    def save(self) -> None:
        """Replace the checkpoint, completely or not at all.

        Raises:
            DiptychError: if that is impossible; the one before stays.
        """
        state = {
            "step": self.step,
            "recipe": self._recipe(),
            "best": self.best,
            "precision": self.precision,
            "model": self.stage.model.state_dict(),
            "average": self.average.shadow,
            "optimizers": {name: [o.state_dict() for o in owned] for name, owned in self.optimizers.items()},
        }
        data = io.BytesIO()
        torch.save(state, data)
        write_bytes(data.getvalue(), self.checkpoint, overwrite=True)

    def restore(self) -> None:
        """Load the checkpoint, and say what has changed in the recipe since.

        Raises:
            ModelError: if there is none, it is damaged, or it belongs to another recipe.
        """
        state = self._kept()
        try:
            self.stage.model.load_state_dict(state["model"])
            for name, shadow in self.average.shadow.items():
                shadow.copy_(state["average"][name])
            for name, owned in self.optimizers.items():
                for optimizer, saved in zip(owned, state["optimizers"][name], strict=True):
                    optimizer.load_state_dict(saved)
            make_eager(o for owned in self.optimizers.values() for o in owned)
            self.step, self.precision, self.best = int(state["step"]), str(state["precision"]), float(state["best"])
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"{self.checkpoint} does not fit this recipe: {_first_line(error)}") from None
        if self.processes.first:
            for change in _changes(state.get("recipe", {}), self._recipe()):
                print(f"note: the recipe has changed since the checkpoint: {change}")

    def _recipe(self) -> dict[str, Any]:
        recipe = self.stage.recipe
        return recipe.model_dump(mode="json") if isinstance(recipe, BaseModel) else {}

    def _kept(self) -> Any:
        try:
            return torch.load(self.checkpoint, weights_only=True, map_location=self.processes.device)
        except FileNotFoundError:
            raise ModelError(f"nothing to resume: {self.checkpoint} does not exist") from None
        except OSError as error:
            raise ModelError(f"cannot read {self.checkpoint}: {reason(error)}") from None
        except Exception:  # unpickling raises nearly anything
            raise ModelError(
                f"{self.checkpoint} is damaged; remove it, or use --overwrite, to begin anew"
            ) from None

    def advance(self, batches: Sequence[Any]) -> dict[str, float]:
        """One step of every network on this process's batches of the step.

        Returns:
            the scalars to be logged, every ``log_every`` steps; else nothing, so that a GPU need not be waited for.
        """
        settings, step = self.settings, self.step
        factor = settings.lr_factor(step)
        for owned, rates in zip(self.optimizers.values(), self.base_lr, strict=True):
            for optimizer, base in zip(owned, rates, strict=True):
                for group, lr in zip(optimizer.param_groups, base, strict=True):
                    set_rate(group, lr * factor)
        self.progress.fill_(step / settings.steps)
        self.average.weigh(step)
        rows = self._replayed(batches[0]) if self._capturable else self._update(batches)
        self.step += 1
        self.done += 1
        if self.step % settings.log_every:
            return {}
        return self.processes.mean(rows) | {"lr": settings.lr * factor}

    @property
    def _capturable(self) -> bool:
        """Whether steps are replayed: crops are cut on the GPU, and some steps have been run without."""
        photos = self.stage.crops()
        kept = photos is not None and photos.resident and self.processes.device.type == "cuda"
        return kept and self.recordable and self.done >= EAGER_STEPS

    def _replayed(self, batch: Any) -> dict[str, Tensor]:
        if self.captured is None:
            make_capturable([o for owned in self.optimizers.values() for o in owned], self.processes.device)
            try:
                self.captured = CapturedStep(lambda kept: self._update([kept]), batch, self.processes.device)
            except RuntimeError as error:
                print(f"steps are not recorded, which makes them slow: {str(error).splitlines()[0]}")
                self.recordable = False
                return self._update([batch])
        reseed(self.settings.seed, self.step)
        return self.captured(batch)

    def _update(self, batches: Sequence[Any]) -> dict[str, Tensor]:
        """What a step does, all of it on the device; returns the scalars that describe it."""
        rows: dict[str, Tensor] = {}
        for network, owned in self.optimizers.items():
            losses = [self._learn(network, *each) for each in zip(self._numbers(), batches, strict=True)]
            learning = [p for m in self.stage.networks()[network] for p in m.parameters() if p.requires_grad]
            self.processes.add_up(learning)
            gradients = [p.grad for p in learning if p.grad is not None]
            norm = nn.utils.clip_grad_norm_(learning, self.settings.clip)
            for gradient in gradients:
                gradient.masked_fill_(~norm.isfinite(), 0)
            for optimizer in owned:
                optimizer.step()
            self.stage.model.zero_grad(set_to_none=True)
            for name in losses[0]:
                rows[f"{network}/{name}"] = torch.stack([row[name].detach().float() for row in losses]).mean()
            rows[f"{network}/gradient_norm"] = norm
        self.average.update()
        return rows

    def _numbers(self) -> range:
        """Of this process's batches of the step."""
        count = self.settings.batches
        return range(self.step * count, (self.step + 1) * count)[self.own]

    def _learn(self, network: str, number: int, batch: Any) -> dict[str, Tensor]:
        """Add a batch's share of the step's gradients; returns its losses."""
        if not recording():
            reseed(self.settings.seed, number)
        device, enabled = self.processes.device.type, self.precision == "bf16"
        with torch.autocast(device, torch.bfloat16, enabled=enabled, cache_enabled=not recording()):
            losses = self.stage.losses(network, batch, self.progress)
        self.processes.backward(losses["loss"] / self.settings.batches)
        return losses


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _changes(before: Any, now: Any, where: str = "") -> Iterator[str]:
    """What differs between two recipes, in words; nothing if there is no earlier one."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in now if before else ():
            yield from _changes(before.get(key), now[key], f"{where}.{key}" if where else key)
    elif before != now:
        yield f"{where} was {before}, is {now}"
