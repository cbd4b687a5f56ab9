"""PyTorch: for GPUs, and for those who have nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d

from diptych.codec.engine.graphs import Arrays, Function, Graph
from diptych.errors import DiptychError


class Torch:
    """Runs graphs in float32 on the CPU, in float16 on a GPU.

    Args:
        device: ``cpu`` or ``cuda``.

    Raises:
        DiptychError: if there is no such device.
    """

    batch = 16
    name = f"torch {torch.__version__}"

    def __init__(self, device: str = "cpu") -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise DiptychError("there is no GPU that PyTorch can use on this machine")
        self._device = torch.device(device)
        self._kind = torch.float32 if device == "cpu" else torch.float16

    def compile(self, graph: Graph, weights: Arrays) -> Function:
        constants = {name: self._tensor(array) for name, array in weights.items()}

        @torch.inference_mode()
        def run(*inputs: NDArray[Any]) -> list[NDArray[np.float32]]:
            with torch.autocast(self._device.type, enabled=False):  # whatever the program around has chosen
                found = graph.apply(_Operations(), constants, *map(self._tensor, inputs))
            return [output.float().cpu().numpy() for output in found]

        return run

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(array).to(self._device, self._kind)
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


class _Operations:
    def floats(self, cells: Tensor) -> Tensor:
        return cells.permute(0, 3, 1, 2) / 255 - 0.5

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        return conv2d(x, weight, bias, stride, padding)

    def depthwise(self, x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1) -> Tensor:
        return conv2d(x, weight, bias, stride, weight.shape[-1] // 2, groups=len(weight))

    def upsample(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return conv_transpose2d(x, weight, bias, 2, weight.shape[-1] // 2 - 1)

    def relu(self, x: Tensor) -> Tensor:
        return x.relu_()

    def relu6(self, x: Tensor) -> Tensor:
        return x.clamp_(0, 6)

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b

    def cells(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)
