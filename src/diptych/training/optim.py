"""Muon for kernels, AdamW for everything else: learns in a third of AdamW's steps on this codec."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95


class KernelMuon(torch.optim.Optimizer):
    """Muon (Jordan et al., 2024) over dense kernels of any rank, flattened to ``out x (in * k * k)``.

    Kernels of one shape move together, in batched products, and a learning rate may be a tensor, so that a CUDA
    graph can hold a step; ``torch.optim.Muon`` can do neither.
    """

    def __init__(self, kernels: Iterable[nn.Parameter], lr: float) -> None:
        shapes: dict[tuple[int, int], list[nn.Parameter]] = {}
        for kernel in kernels:
            shapes.setdefault((len(kernel), kernel[0].numel()), []).append(kernel)
        super().__init__([{"params": same} for same in shapes.values()], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            moved = [kernel for kernel in group["params"] if kernel.grad is not None]
            if not moved:
                continue
            gradient = torch.stack([kernel.grad.flatten(1) for kernel in moved])
            momentum = self.state[moved[0]].setdefault("momentum", torch.zeros_like(gradient))
            momentum.lerp_(gradient, 1 - MOMENTUM)
            update = orthogonal(gradient.lerp(momentum, MOMENTUM)) * (0.2 * max(gradient.shape[1:]) ** 0.5)
            for kernel, change in zip(moved, update * group["lr"], strict=True):
                kernel.sub_(change.view(kernel.shape))


def orthogonal(matrices: Tensor) -> Tensor:
    """Nearly orthogonal matrices ``(n, out, in)`` with the same singular vectors: five Newton-Schulz iterations."""
    x = matrices.bfloat16()
    wide = x.shape[1] < x.shape[2]
    x = x if wide else x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    first, third, fifth = 3.4445, -4.7750, 2.0315
    for _ in range(5):
        square = x @ x.mT
        x = first * x + (third * square + fifth * square @ square) @ x
    return (x if wide else x.mT).float()


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


class Average:
    """Exponential moving average of the trained parameters."""

    def __init__(self, trained: Iterable[nn.Module], model: nn.Module, decay: float) -> None:
        self.decay = decay
        known = {id(p) for module in trained for p in module.parameters() if p.requires_grad}
        self.live = {name: p for name, p in model.named_parameters() if id(p) in known}
        self.shadow = {name: p.detach().clone() for name, p in self.live.items()}
        self.part = torch.zeros((), device=next(iter(self.live.values())).device)

    def weigh(self, step: int) -> None:
        """Set how much the weights of a step count."""
        self.part.fill_(1 - min(self.decay, (step + 1) / (step + 10)))

    @torch.no_grad()
    def update(self) -> None:
        for shadow, live in zip(self.shadow.values(), self.live.values(), strict=True):
            shadow.lerp_(live, self.part)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange live and averaged weights; call again to undo."""
        for name, parameter in self.live.items():
            kept = parameter.detach().clone()
            parameter.copy_(self.shadow[name])
            self.shadow[name].copy_(kept)
