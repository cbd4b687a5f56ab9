"""What the networks cost: parameters, and multiply-accumulates per pixel."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from diptych.nn.model import ALIGNMENT, CodecModel
from diptych.nn.transforms import STRIDE

NETWORKS = ("g_a", "g_s", "h_a", "h_s", "context")


def complexity(model: CodecModel) -> dict[str, float]:
    """Cost of each network.

    Returns:
        ``<network> parameters`` (a count) and ``<network> kMAC/pixel`` (counted by PyTorch on a large picture)
        for ``g_a``, ``g_s``, ``h_a``, ``h_s`` and ``context``.
    """
    side = 4 * ALIGNMENT
    x, quality = torch.zeros(1, 3, side, side), torch.zeros(1)
    y = torch.zeros(1, model.widths.latent, side // STRIDE, side // STRIDE)
    z = torch.zeros(1, model.widths.hyper_latent, side // ALIGNMENT, side // ALIGNMENT)
    hyper = y.new_zeros(1, model.widths.hyper, *y.shape[2:]), torch.cat([y, y], 1)
    inputs: dict[str, tuple[Any, ...]] = {
        "g_a": (x, quality),
        "g_s": (y, quality),
        "h_a": (y,),
        "h_s": (z,),
        "context": (y, *hyper, torch.round),
    }
    cost: dict[str, float] = {}
    for name in NETWORKS:
        network = model.get_submodule(name)
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            network(*inputs[name])
        cost[f"{name} parameters"] = sum(p.numel() for p in network.parameters())
        cost[f"{name} kMAC/pixel"] = counter.get_total_flops() / 2 / side**2 / 1000
    return cost
