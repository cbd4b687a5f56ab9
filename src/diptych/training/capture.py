"""A whole training step as one CUDA graph.

A step launches some thousand small kernels; recorded once and replayed, they no longer wait for Python. What
changes from step to step lives in tensors on the device: the batch, the progress, the learning rates. Random
numbers follow the generator's seed, set anew before every replay: a resumed run goes on as it would have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

EAGER_STEPS = 3
"""Steps before the recording, in which libraries choose their kernels and allocate."""


class CapturedStep:
    """``step`` recorded on the current stream.

    Args:
        step: runs on the device alone: no copies from the host, no reading of values.
        batch: an example of its argument, nested tuples of tensors.
        device: a CUDA device.
    """

    def __init__(self, step: Callable[[Any], dict[str, Tensor]], batch: Any, device: torch.device) -> None:
        self._batch = on_device(batch, device)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=torch.cuda.current_stream()):
            self._logged = step(self._batch)

    def __call__(self, batch: Any) -> dict[str, Tensor]:
        """Replay the step; what is returned is overwritten by the next call."""
        copy_into(self._batch, batch)
        self._graph.replay()
        return self._logged


def on_device(batch: Any, device: torch.device) -> Any:
    """A copy of nested tuples and lists of tensors."""
    if isinstance(batch, Tensor):
        return batch.to(device, copy=True)
    parts = [on_device(part, device) for part in batch]
    return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)


def copy_into(kept: Any, batch: Any) -> None:
    """Overwrite the tensors of ``kept`` by those of ``batch``, through pinned memory."""
    if isinstance(kept, Tensor):
        kept.copy_(batch.pin_memory() if kept.is_cuda and not batch.is_cuda else batch, non_blocking=True)
        return
    for inner, part in zip(kept, batch, strict=True):
        copy_into(inner, part)


def recording() -> bool:
    """Whether what runs now is being recorded."""
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()


def make_capturable(optimizers: Iterable[torch.optim.Optimizer], device: torch.device) -> None:
    """Let optimizers read their learning rates and count their steps on the device."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32, device=device)
            if "capturable" in group:
                group["capturable"] = True
        for state in optimizer.state.values():
            if "step" in state:
                state["step"] = state["step"].to(device)


def make_eager(optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """Undo :func:`make_capturable` in what a checkpoint brought back, for a device that may have no graphs."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = float(group["lr"])
            if "capturable" in group:
                group["capturable"] = False


def set_rate(group: dict[str, Any], lr: float) -> None:
    """A group's learning rate, where a recorded step may read it."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(lr)
    else:
        group["lr"] = lr
