"""Where training and coding meet: a trained model to the arrays of a codec file, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diptych.bitstream import gaussian_tables
from diptych.codec.architecture import PARTS, Widths
from diptych.codec.entropy import ACTIVATION_BITS, INDEX_GAIN, LEVELS, ONE, WEIGHT_BITS, WEIGHT_LIMIT
from diptych.nn.model import CodecModel

_FLOATS = ("g_a.", "g_s.", "h_a.", "gains.")
Arrays = dict[str, NDArray[Any]]


def arrays_of(model: CodecModel) -> Arrays:
    """Freeze a trained model: floats, and the integers that files are coded with."""
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    arrays = {name: tensor.half().numpy() for name, tensor in state.items() if name.startswith(_FLOATS[:3])}
    arrays |= {name: tensor.float().numpy() for name, tensor in state.items() if name.startswith("gains.")}
    arrays["passes"] = model.context.passes.cpu().numpy()
    arrays["prior.mean"] = _rounded(state["prior.mean"], ONE).astype(np.int32)
    arrays["prior.index"] = _rounded(state["prior.index"], INDEX_GAIN).clip(0, LEVELS - 1).astype(np.uint8)
    for name, layer in _integer_layers(model):
        weight = _rounded(layer.weight, 1 << WEIGHT_BITS).clip(-WEIGHT_LIMIT, WEIGHT_LIMIT)
        bias = _rounded(layer.bias, 1 << (WEIGHT_BITS + ACTIVATION_BITS)).clip(-(2**30), 2**30)
        arrays[f"{name}.weight"], arrays[f"{name}.bias"] = weight.astype(np.int16), bias.astype(np.int32)
    return arrays | {f"tables.{name}": table for name, table in gaussian_tables().to_arrays().items()}


def model_of(arrays: Mapping[str, NDArray[Any]], widths: Widths) -> CodecModel:
    """A model in training mode whose integers, frozen again, are those of a codec file."""
    model = CodecModel(widths, torch.from_numpy(arrays["passes"].copy()))
    state = {name: _float(array) for name, array in arrays.items() if name.startswith(_FLOATS)}
    state["prior.mean"] = _float(arrays["prior.mean"]) / ONE
    state["prior.index"] = _float(arrays["prior.index"]) / INDEX_GAIN
    model.load_state_dict(model.state_dict() | state)
    with torch.no_grad():
        for name, layer in _integer_layers(model):
            layer.weight.copy_(_float(arrays[f"{name}.weight"]) / (1 << WEIGHT_BITS))
            layer.bias.copy_(_float(arrays[f"{name}.bias"]) / (1 << (WEIGHT_BITS + ACTIVATION_BITS)))
    return model


def _integer_layers(model: CodecModel) -> Iterator[tuple[str, Any]]:
    """Layers of ``h_s`` and of the context in the order of execution, with their names in a file."""
    h_s, rounds = model.h_s, cast("list[nn.Module]", list(model.context.rounds))
    layers = [parts for round_ in zip(h_s.spatial, h_s.expand, h_s.project, strict=True) for parts in round_]
    yield from ((f"h_s.{number}", layer) for number, layer in enumerate(layers))
    layers = [getattr(round_, part) for round_ in rounds for part in PARTS]
    yield from ((f"context.{number}", layer) for number, layer in enumerate(layers))


def _rounded(tensor: Tensor, scale: int) -> NDArray[np.float64]:
    found: NDArray[np.float64] = torch.round(tensor.detach().cpu().double() * scale).numpy()
    return found


def _float(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))
