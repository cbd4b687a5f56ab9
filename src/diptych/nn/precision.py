"""Transforms at inference: in bfloat16 where the processor has instructions for it, else in float32.

The pictures that two machines decode from one file then differ by a level or two of 255 in single pixels, and in
the third decimal of their PSNR. Nothing here touches the entropy path, whose integers are the same everywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor

WORTHWHILE = 0.75
"""Share of float32's time below which bfloat16 is used: with own instructions it takes half, without twice."""


@contextmanager
def unaffected() -> Iterator[None]:
    """The CPU and the precisions that are asked for, whatever device and autocast the program around has chosen."""
    with torch.autocast("cpu", enabled=False), torch.device("cpu"):
        yield


def infer(network: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """``network(*inputs)`` on the CPU in the precision that is fastest there; the result is float32."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_pays() and not _thin(inputs)):
        return network(*inputs).float()


def _thin(inputs: Any) -> bool:
    """Whether a picture or its latents are one latent wide: bfloat16 kernels read beyond such planes."""
    if isinstance(inputs, tuple):
        return any(_thin(each) for each in inputs)
    return inputs.ndim == 4 and min(inputs.shape[2:]) <= (16 if inputs.shape[1] == 3 else 1)


@cache
def bfloat16_pays() -> bool:
    """Whether convolutions are clearly faster in bfloat16: measured once, in some hundredths of a second."""
    x = torch.ones(1, 128, 32, 32).contiguous(memory_format=torch.channels_last)
    kernel = torch.ones(128, 128, 3, 3)

    def seconds(kind: torch.dtype) -> float:
        signal, weight = x.to(kind), kernel.to(kind)
        start = time.perf_counter()
        torch.nn.functional.conv2d(signal, weight, padding=1)
        return time.perf_counter() - start

    tries = [(seconds(torch.float32), seconds(torch.bfloat16)) for _ in range(4)]
    single, half = (min(times) for times in zip(*tries, strict=True))
    return half < WORTHWHILE * single
