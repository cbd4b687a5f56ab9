"""Several processes that train one model: who does what, and sums over all of them.

Every process holds the whole model and the same optimizers. All make the same update, since they see the same sum
of gradients; so nothing else has to be exchanged.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from diptych.errors import RecipeError


class Processes:
    """This process and those beside it, as ``accelerate launch`` or ``torchrun`` started them; usually one.

    Attributes:
        device: that this process computes on.
        first: whether it is the one that writes files and logs.
        alone: whether there is no other one.
    """

    def __init__(self) -> None:
        several = int(os.environ.get("WORLD_SIZE", "1")) > 1
        self._accelerator = Accelerator(cpu=several and not torch.accelerator.is_available())
        self.device: torch.device = self._accelerator.device
        self.first: bool = self._accelerator.is_main_process
        self.alone: bool = self._accelerator.num_processes == 1

    def share(self, batches: int) -> slice:
        """Which of a step's ``batches`` are this process's.

        Raises:
            RecipeError: if not all processes get as many.
        """
        count: int = self._accelerator.num_processes
        if batches % count:
            raise RecipeError(
                f"{count} processes cannot share a step's {batches} batches evenly: "
                f"set loop.batches to a multiple of {count}"
            )
        return slice(self._accelerator.process_index, None, count)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss`` to those that this process has so far."""
        self._accelerator.backward(loss)

    def add_up(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace the gradients of ``parameters`` by their sums over all processes."""
        if self._accelerator.num_processes == 1:
            return
        gradients = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        total: Tensor = self._accelerator.reduce(torch.cat([g.flatten() for g in gradients]), reduction="sum")
        for gradient, part in zip(gradients, total.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view(gradient.shape))

    def mean(self, row: Mapping[str, Tensor]) -> dict[str, float]:
        """Mean of each scalar over all processes."""
        everywhere: Tensor = self._accelerator.reduce(torch.stack([*row.values()]), reduction="mean")
        return dict(zip(row, everywhere.tolist(), strict=True))

    def agree(self, value: str) -> str:
        """The first process's ``value``."""
        chosen: str = broadcast_object_list([value])[0]
        return chosen

    def wait(self) -> None:
        """Until all processes are here."""
        self._accelerator.wait_for_everyone()
