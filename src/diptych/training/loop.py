"""The one training loop.

A step is a pure function of (seed, step, weights, optimizer state): every random draw is seeded anew for each
batch, so a run that was killed continues exactly where its last checkpoint left it.

Several processes (``accelerate launch -m diptych train ...``) share a step's batches out among them::

    step ─┬─ batch 2 * step     ──process 0── gradients ─┐
          └─ batch 2 * step + 1 ──process 1── gradients ─┴─ mean ── the same update in both

A batch and all that is drawn for it (noise, qualities, a detector's sample of boxes) depend on the seed and the
batch's number alone, so the number of processes changes nothing but the order in which gradients are summed.
"""

from __future__ import annotations

import io
import math
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.tensorboard import SummaryWriter

from diptych.errors import DiptychError, ModelError
from diptych.files import make_folder, reason, refuse_existing, write_bytes
from diptych.nn.transforms import channels_last
from diptych.training.optim import muon_and_adamw
from diptych.training.processes import Processes

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
    clip: float = Field(default=1.0, gt=0, description="largest norm of each player's gradient")
    ema: float = Field(default=0.998, ge=0, lt=1)
    precision: Precision = "auto"
    threads: int = Field(default=0, ge=0, description="0: as many as PyTorch chooses")
    workers: int = Field(default=0, ge=0, description="processes that prepare batches ahead; pays with a GPU")
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

    lr: float

    recipe: Any = None
    """The pydantic model that the run was read as; it is kept with a checkpoint."""

    @abstractmethod
    def players(self) -> Mapping[str, list[nn.Module]]:
        """Who takes turns, and the modules each one trains. The average (EMA) covers all of them."""

    @abstractmethod
    def batch(self, seed: int, number: int) -> Any:
        """One batch of training data, a pure function of its arguments; torch's generator may be drawn from."""

    @abstractmethod
    def losses(self, player: str, batch: Any, progress: float) -> dict[str, Tensor]:
        """Scalars of one pass: ``loss`` is minimised, the rest is logged. ``progress`` runs from 0 to 1."""

    @abstractmethod
    def export(self, path: Path) -> None:
        """Write the model's current weights as float16 safetensors."""

    def optimizers(self, player: str, lr: float) -> list[torch.optim.Optimizer]:
        """Optimizers of one player."""
        return muon_and_adamw(self.players()[player], lr)

    def validate(self) -> float | None:
        """How far the current weights are from good on photos that are not trained on, the lower the better.

        The averaged weights with the lowest value become the run's weights; None: the last ones do.
        """
        return None

    def pictures(self) -> dict[str, Tensor]:
        """Sample pictures ``(3, H, W)`` in 0..1 for TensorBoard."""
        return {}


class _Batches(Dataset[Any]):
    """Batches of a stage by their numbers, prepared in order by worker processes."""

    def __init__(self, stage: Stage, seed: int, numbers: Sequence[int]) -> None:
        self.stage, self.seed, self.numbers = stage, seed, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Any:
        _reseed(self.seed, self.numbers[index])
        return self.stage.batch(self.seed, self.numbers[index])


def _reseed(seed: int, number: int) -> None:
    torch.manual_seed(seed * 1_000_003 + number)


def batches(stage: Stage, settings: LoopSettings, first: int, own: slice) -> Iterator[list[Any]]:
    """For every step from ``first`` to the last, this process's part ``own`` of its batches.

    They are the same ones however many workers prepare them.
    """
    numbers = [
        number
        for step in range(first, settings.steps)
        for number in range(step * settings.batches, (step + 1) * settings.batches)[own]
    ]
    ordered: Any = _Batches(stage, settings.seed, numbers)
    if settings.workers:
        pinned = torch.cuda.is_available()
        ordered = DataLoader(
            ordered, batch_size=None, num_workers=settings.workers, prefetch_factor=4, pin_memory=pinned
        )
    each = iter(ordered) if settings.workers else (ordered[index] for index in range(len(numbers)))
    count = len(range(settings.batches)[own])
    return iter(lambda: list(islice(each, count)), [])


class Average:
    """Exponential moving average of the trained parameters."""

    def __init__(self, stage: Stage, decay: float) -> None:
        self.decay = decay
        trained = {id(p) for modules in stage.players().values() for m in modules for p in m.parameters()}
        self.live = {name: p for name, p in stage.model.named_parameters() if id(p) in trained and p.requires_grad}
        self.shadow = {name: p.detach().clone() for name, p in self.live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (step + 1) / (step + 10))
        torch._foreach_lerp_(list(self.shadow.values()), [p.data for p in self.live.values()], 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange live and averaged weights; call again to undo."""
        for name, parameter in self.live.items():
            kept = parameter.detach().clone()
            parameter.copy_(self.shadow[name])
            self.shadow[name].copy_(kept)


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
        self.optimizers = {player: stage.optimizers(player, settings.lr) for player in stage.players()}
        self.base_lr = [
            [[group["lr"] for group in o.param_groups] for o in owned] for owned in self.optimizers.values()
        ]
        self.average = Average(stage, settings.ema)
        self.precision: str = settings.precision
        self.step = 0
        self.best = math.inf

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
        """One step of every player on this process's batches of the step; returns the logged scalars."""
        settings, step = self.settings, self.step
        factor = settings.lr_factor(step)
        logged: dict[str, float] = {}
        for (player, owned), rates in zip(self.optimizers.items(), self.base_lr, strict=True):
            for optimizer, base in zip(owned, rates, strict=True):
                for group, lr in zip(optimizer.param_groups, base, strict=True):
                    group["lr"] = lr * factor
            losses = [self._learn(player, *each) for each in zip(self._numbers(), batches, strict=True)]
            learning = [p for m in self.stage.players()[player] for p in m.parameters() if p.requires_grad]
            self.processes.add_up(learning)
            trained = [p for p in learning if p.grad is not None]
            norm = nn.utils.clip_grad_norm_(trained, settings.clip)
            if bool(torch.isfinite(norm)):
                for optimizer in owned:
                    optimizer.step()
            self.stage.model.zero_grad(set_to_none=True)
            logged |= {f"{player}/{name}": value for name, value in self.processes.mean(losses).items()}
            logged[f"{player}/gradient_norm"] = float(norm)
        self.average.update(step)
        self.step += 1
        return logged | {"lr": settings.lr * factor}

    def _numbers(self) -> range:
        """Of this process's batches of the step."""
        count = self.settings.batches
        return range(self.step * count, (self.step + 1) * count)[self.own]

    def _learn(self, player: str, number: int, batch: Any) -> dict[str, Tensor]:
        """Add a batch's share of the step's gradients; returns its losses."""
        settings = self.settings
        _reseed(settings.seed, number)
        with torch.autocast(self.processes.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            losses = self.stage.losses(player, batch, self.step / settings.steps)
        self.processes.backward(losses["loss"] / settings.batches)
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


def train(stage: Stage, settings: LoopSettings, resume: bool = False, overwrite: bool = False) -> Path:
    """Run ``stage`` to its last step, then export the averaged weights.

    With several processes every one of them calls this; the first one writes.

    Args:
        resume: continue from the checkpoint.
        overwrite: begin anew, and replace a checkpoint and weights that are there.

    Returns:
        ``<out>/weights.safetensors``.

    Raises:
        ModelError: if there is a checkpoint or there are weights that nobody said to continue or to replace, or the
            checkpoint cannot be used.
        DiptychError: if a file cannot be written.
    """
    trainer = Trainer(stage, settings)
    if resume:
        trainer.restore()
    elif not overwrite:
        if trainer.checkpoint.exists():
            raise ModelError(
                f"{trainer.checkpoint} exists: pass --resume to continue it, --overwrite to begin anew, "
                "or choose another folder"
            )
        refuse_existing(trainer.weights, overwrite=False)
    processes = trainer.processes
    if trainer.precision == "auto":
        trainer.precision = processes.agree(fastest_precision(processes.device))
    if processes.first:
        _run_and_write(trainer, resume)
    else:
        for batch in batches(stage, settings, trainer.step, trainer.own):
            trainer.advance(batch)
    processes.wait()
    return trainer.weights


def _run_and_write(trainer: Trainer, resume: bool) -> None:
    settings = trainer.settings
    make_folder(settings.out)
    try:
        writer = SummaryWriter(settings.out, purge_step=trainer.step if resume else None)
        print(f"training in {trainer.precision} on {trainer.processes.device}, logs in {settings.out}")
        with _progress() as progress, writer:
            _run(trainer, writer, progress)
        _choose(trainer, writer)
        trainer.save()
    except OSError as error:  # of the logs: other files name themselves
        raise DiptychError(f"cannot write the logs in {settings.out}: {reason(error)}") from None


@contextmanager
def _interrupts_held_back(trainer: Trainer) -> Iterator[threading.Event]:
    """Ctrl-C sets what is yielded, so that the step can be finished; a second one interrupts at once.

    Of several processes all get the signal, and none could finish a step without the others: there it interrupts.
    """
    asked = threading.Event()
    if not trainer.processes.alone or threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(*_: Any) -> None:
        signal.signal(signal.SIGINT, before)
        asked.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _run(trainer: Trainer, writer: SummaryWriter, progress: Progress) -> None:
    settings = trainer.settings
    bar = progress.add_task("train", total=settings.steps, completed=trainer.step, note="")
    saved = time.monotonic()
    with _interrupts_held_back(trainer) as asked:
        for batch in batches(trainer.stage, settings, trainer.step, trainer.own):
            logged = trainer.advance(batch)
            progress.update(bar, completed=trainer.step, note=_note(logged))
            if trainer.step % settings.log_every == 0:
                _log(writer, progress, trainer, logged)
            if trainer.step % settings.pictures_every == 0:
                _draw(writer, trainer)
            if trainer.step % settings.validate_every == 0:
                _choose(trainer, writer)
            if asked.is_set():
                trainer.save()
                print(f"interrupted after step {trainer.step}: --resume goes on from there", flush=True)
                raise KeyboardInterrupt
            if time.monotonic() - saved > 60 * settings.checkpoint_minutes:
                trainer.save()
                saved = time.monotonic()


def _choose(trainer: Trainer, writer: SummaryWriter) -> None:
    """Write the averaged weights as the stage's safetensors file, unless earlier ones did better in validation."""
    trainer.average.swap()
    try:
        score = _validated(trainer)
        if score is not None:
            writer.add_scalar("validation", score, trainer.step)
            print(f"{time.strftime('%H:%M:%S')} step {trainer.step}  validation {score:.4f}", flush=True)
        if score is None or score < trainer.best:
            trainer.best = math.inf if score is None else score
            trainer.stage.export(trainer.weights)
    finally:
        trainer.average.swap()


def _validated(trainer: Trainer) -> float | None:
    _reseed(trainer.settings.seed, 0)
    enabled = trainer.precision == "bf16"
    with torch.no_grad(), torch.autocast(trainer.processes.device.type, torch.bfloat16, enabled=enabled):
        return trainer.stage.validate()


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        speed_estimate_period=600,
    )


def _note(logged: Mapping[str, float]) -> str:
    return "  ".join(f"{k.split('/')[-1]} {v:.3f}" for k, v in logged.items() if k.endswith("loss"))


def _log(writer: SummaryWriter, progress: Progress, trainer: Trainer, logged: Mapping[str, float]) -> None:
    for name, value in logged.items():
        writer.add_scalar(name, value, trainer.step)
    if not progress.console.is_terminal:
        scalars = "  ".join(f"{name} {value:.4g}" for name, value in logged.items())
        print(f"{time.strftime('%H:%M:%S')} step {trainer.step}  {scalars}", flush=True)


def _draw(writer: SummaryWriter, trainer: Trainer) -> None:
    trainer.average.swap()
    try:
        with torch.no_grad():
            for name, picture in trainer.stage.pictures().items():
                writer.add_image(name, picture.float().clamp(0, 1).cpu(), trainer.step)
    finally:
        trainer.average.swap()
