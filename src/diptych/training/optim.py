"""Muon for kernels, AdamW for everything else: learns in a third of AdamW's steps on this codec."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


def as_matrix(kernel: Tensor) -> Tensor:
    """A 2-D view of a kernel that shares its memory: first dimension by everything else.

    The order of columns follows the memory layout (channels-last kernels keep theirs); Muon's update does
    not depend on it.
    """
    if kernel.is_contiguous():
        return kernel.flatten(1)
    return kernel.permute(0, 2, 3, 1).flatten(1)


class KernelMuon(torch.optim.Muon):
    """``torch.optim.Muon`` over dense kernels of any rank, flattened to ``out x (in * k * k)``."""

    def __init__(self, kernels: Iterable[nn.Parameter], lr: float) -> None:
        self.kernels = list(kernels)
        views = [as_matrix(kernel.data) for kernel in self.kernels]
        super().__init__(views, lr=lr, weight_decay=0.0, momentum=0.95, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        views = self.param_groups[0]["params"]
        for view, kernel in zip(views, self.kernels, strict=True):
            if kernel.grad is not None:
                layout = torch.channels_last if not kernel.is_contiguous() else torch.contiguous_format
                view.grad = as_matrix(kernel.grad.contiguous(memory_format=layout))
        return super().step(closure)


def muon_and_adamw(modules: Iterable[nn.Module], lr: float) -> list[torch.optim.Optimizer]:
    """Optimizers for the trainable parameters of ``modules``: dense kernels to Muon, the rest to AdamW."""
    kernels: dict[int, nn.Parameter] = {}
    rest: dict[int, nn.Parameter] = {}
    for module in modules:
        for part in module.modules():
            for name, parameter in part.named_parameters(recurse=False):
                if parameter.requires_grad:
                    (kernels if _is_kernel(part, name) else rest)[id(parameter)] = parameter
    optimizers: list[torch.optim.Optimizer] = []
    if kernels:
        optimizers.append(KernelMuon(kernels.values(), lr))
    if rest:
        optimizers.append(torch.optim.AdamW(rest.values(), lr=lr, betas=(0.9, 0.98), weight_decay=0.0))
    return optimizers


def _is_kernel(module: nn.Module, name: str) -> bool:
    dense = isinstance(module, nn.Linear) or (
        isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.groups == 1
    )
    return dense and name == "weight"
