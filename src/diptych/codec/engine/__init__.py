"""Engines: what runs the float networks, OpenVINO by default, ONNX Runtime or torch.

Floats decide nothing that must be exact: pictures may differ between engines by a level or two of 255, latents of a
file may not, and do not depend on an engine.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec

from diptych.codec.engine.graphs import Engine
from diptych.errors import DiptychError, extra

__all__ = ["Engine", "engine_for"]


def engine_for(device: str) -> Engine:
    """The engine for a device: ``cpu``, where it is the first installed of OpenVINO, ONNX Runtime and torch, or
    ``cuda``, where it is torch.

    Raises:
        DiptychError: if there is no such device, or no engine for it.
    """
    if device == "cuda":
        with extra("train", "a GPU"):
            return _torch("cuda")
    if device != "cpu":
        raise DiptychError(f"there is no device '{device}': use cpu or cuda")
    for package, engine in _ON_CPU.items():
        if find_spec(package):
            return engine()
    raise DiptychError("there is no engine: pip install openvino")


def engine_of_fork() -> Engine:
    """The engine for a process that was forked from one that runs OpenVINO: torch, as a rule, as it is its
    ``DataLoader`` that forks.

    Raises:
        DiptychError: if there is none.
    """
    for package in ("torch", "onnxruntime"):
        if find_spec(package):
            return _ON_CPU[package]()
    raise DiptychError("OpenVINO does not survive a fork: start processes by multiprocessing's method 'spawn'")


def threads() -> int:
    """How many threads an engine may use, by the variable that numerical libraries know; 0 for its own choice."""
    value = os.environ.get("OMP_NUM_THREADS", "")
    return int(value) if value.isdigit() else 0


def _openvino() -> Engine:
    from diptych.codec.engine.openvino import OpenVino

    return OpenVino(threads())


def _onnxruntime() -> Engine:
    from diptych.codec.engine.onnx import OnnxRuntime

    return OnnxRuntime(threads())


def _torch(device: str = "cpu") -> Engine:
    from diptych.codec.engine.torch import Torch

    return Torch(device)


_ON_CPU: dict[str, Callable[[], Engine]] = {"openvino": _openvino, "onnxruntime": _onnxruntime, "torch": _torch}
