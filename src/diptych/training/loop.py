"""The one training loop: batches by number, steps, logs, checkpoints, and the weights that did best.

Several processes (``accelerate launch -m diptych train ...``) share a step's batches out among them::

    step ─┬─ batch 2 * step     ──process 0── gradients ─┐
          └─ batch 2 * step + 1 ──process 1── gradients ─┴─ mean ── the same update in both

A batch and all that is drawn for it (noise, qualities, a detector's sample of boxes) depend on the seed and the
batch's number alone, so the number of processes changes nothing but the order in which gradients are summed.
"""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.tensorboard import SummaryWriter

from diptych.errors import DiptychError, ModelError
from diptych.io.files import make_folder, reason, refuse_existing
from diptych.io.progress import Advance, progress
from diptych.training.stage import LoopSettings, Stage
from diptych.training.trainer import Trainer, fastest_precision, reseed


class _Batches(Dataset[Any]):
    """Batches of a stage by their numbers, prepared in order by worker processes."""

    def __init__(self, stage: Stage, seed: int, numbers: Sequence[int]) -> None:
        self.stage, self.seed, self.numbers = stage, seed, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Any:
        reseed(self.seed, self.numbers[index])
        return self.stage.batch(self.seed, self.numbers[index])


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
    device_stream = torch.cuda.stream(torch.cuda.Stream()) if torch.cuda.is_available() else nullcontext()
    with device_stream:  # a step can only be recorded on another than the default stream
        return _train(Trainer(stage, settings), resume, overwrite)


def _train(trainer: Trainer, resume: bool, overwrite: bool) -> Path:
    stage, settings = trainer.stage, trainer.settings
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
        with progress(settings.steps, "train", trainer.step) as advance, writer:
            _run(trainer, writer, advance)
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


def _run(trainer: Trainer, writer: SummaryWriter, advance: Advance) -> None:
    settings = trainer.settings
    saved = time.monotonic()
    with _interrupts_held_back(trainer) as asked:
        for batch in batches(trainer.stage, settings, trainer.step, trainer.own):
            logged = trainer.advance(batch)
            advance(_note(logged))
            if logged:
                _log(writer, trainer, logged)
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
    reseed(trainer.settings.seed, 0)
    enabled = trainer.precision == "bf16"
    with torch.no_grad(), torch.autocast(trainer.processes.device.type, torch.bfloat16, enabled=enabled):
        return trainer.stage.validate()


def _note(logged: Mapping[str, float]) -> str:
    return "  ".join(f"{k.split('/')[-1]} {v:.3f}" for k, v in logged.items() if k.endswith("loss"))


def _log(writer: SummaryWriter, trainer: Trainer, logged: Mapping[str, float]) -> None:
    for name, value in logged.items():
        writer.add_scalar(name, value, trainer.step)
    if not sys.stdout.isatty():
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
