"""Codec weights on disk: safetensors with a checked schema.

A codec file holds ``g_a``, ``g_s``, ``h_a`` in float16, the gains in float32, and the entropy path as the
integers that files are coded with. A view file holds the few layers of ``g_s`` that differ from the codec's
own, in float16, and names the entropy path it belongs to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from diptych.bitstream.tables import SymbolTables, gaussian_tables
from diptych.codecs import CODEC_FORMAT, VIEW_FORMAT, id_of
from diptych.errors import ModelError
from diptych.files import make_folder, write_bytes
from diptych.nn.context import check_passes
from diptych.nn.hyperprior import INDEX_GAIN, LEVELS, FrozenHyperprior
from diptych.nn.integer import ACTIVATION_BITS, ONE, WEIGHT_BITS, IntegerLayer
from diptych.nn.model import CodecModel
from diptych.nn.transforms import Widths

_HALF = ("g_a.", "g_s.", "h_a.")
_H_S_LAYERS = 9
_ROUND_LAYERS = 3
_PARTS = ("spatial", "expand", "project")


class FrozenCodec(NamedTuple):
    """A codec ready to code files.

    Attributes:
        model: float transforms; its ``h_s``, ``context`` and ``prior`` equal the integers of ``hyperprior``.
        hyperprior: the exact entropy path.
        tables: symbol tables shared by latents and hyper-latents.
        model_id: first four bytes of the hash of everything that decides ``y_hat``.
        metadata: provenance strings of the file.
    """

    model: CodecModel
    hyperprior: FrozenHyperprior
    tables: SymbolTables
    model_id: bytes
    metadata: dict[str, str]


def save_model(model: CodecModel, path: Path, metadata: Mapping[str, str]) -> None:
    """Freeze ``model`` and write it as a codec file, atomically."""
    frozen = FrozenHyperprior.of(model.prior, model.h_s, model.context)
    tensors = {k: v.half() for k, v in model.state_dict().items() if k.startswith(_HALF)}
    tensors |= {k: v.float() for k, v in model.state_dict().items() if k.startswith("gains.")}
    tensors |= _entropy_tensors(frozen, gaussian_tables())
    header = {"format": CODEC_FORMAT, "widths": json.dumps(model.widths._asdict()), **metadata}
    write_tensors(path, tensors, header)


def load_codec(path: Path) -> FrozenCodec:
    """Read a codec file.

    Raises:
        ModelError: if the file is missing, not a codec, or inconsistent.
    """
    tensors, metadata = read_tensors(path, CODEC_FORMAT)
    try:
        frozen = _frozen(tensors)
        model = CodecModel(Widths(**json.loads(metadata["widths"])), frozen.passes).float()
        tables = SymbolTables.from_arrays({k.removeprefix("tables."): v.numpy() for k, v in tensors.items()})
        floats = {k: v.float() for k, v in tensors.items() if k.startswith((*_HALF, "gains."))}
        model.load_state_dict(floats | _float_hyperprior(frozen))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path} is not a complete codec file: {reason}") from None
    model.eval().requires_grad_(False)
    return FrozenCodec(model, frozen, tables, id_of(tensors, lambda name: tensors[name].numpy()), metadata)


def load_model(path: Path) -> CodecModel:
    """Read a codec file as a trainable model."""
    return load_codec(path).model.train().requires_grad_(True)


def save_view(layers: Mapping[str, Tensor], model_id: bytes, path: Path, metadata: Mapping[str, str]) -> None:
    """Write tuned layers of ``g_s`` (names relative to it) as a view file for the codec ``model_id``."""
    header = {"format": VIEW_FORMAT, "model_id": model_id.hex(), **metadata}
    write_tensors(path, {name: layer.half() for name, layer in layers.items()}, header)


def load_view(path: Path, codec: FrozenCodec) -> dict[str, Tensor]:
    """Read a view file made for ``codec``.

    Returns:
        Float32 tensors by their name inside ``g_s``.

    Raises:
        ModelError: if it was made for another codec or does not fit ``g_s``.
    """
    tensors, metadata = read_tensors(path, VIEW_FORMAT)
    if metadata.get("model_id") != codec.model_id.hex():
        raise ModelError(f"{path} is a view of codec {metadata.get('model_id')}, not of {codec.model_id.hex()}")
    own = codec.model.g_s.state_dict()
    for name, tensor in tensors.items():
        if name not in own or own[name].shape != tensor.shape:
            raise ModelError(f"{path} holds '{name}', which g_s does not have in this shape")
    return {name: tensor.float() for name, tensor in tensors.items()}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, completely or not at all; one that is there is replaced.

    Raises:
        DiptychError: if that is impossible.
    """
    data = save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, dict(metadata))
    make_folder(path.parent)
    write_bytes(data, path, overwrite=True)


def read_tensors(path: Path, expected: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file whose ``format`` is ``expected``.

    Raises:
        ModelError: if it cannot be read or is of another kind.
    """
    if not path.is_file():
        raise ModelError(f"there is no weights file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a readable safetensors file: {error}") from None
    if metadata.get("format") != expected:
        raise ModelError(f"{path} holds '{metadata.get('format', 'unknown')}' weights, not '{expected}'")
    return tensors, metadata


def _entropy_tensors(frozen: FrozenHyperprior, tables: SymbolTables) -> dict[str, Tensor]:
    """Everything that decides ``y_hat`` but the gains."""
    named: dict[str, Tensor] = {"prior.mean": frozen.prior_mean, "prior.index": frozen.prior_index}
    named["passes"] = frozen.passes
    for name, layer in _named_layers(frozen):
        named[f"{name}.weight"] = layer.weight.short()
        named[f"{name}.bias"] = layer.bias
    named |= {f"tables.{k}": torch.from_numpy(np.array(v)) for k, v in tables.to_arrays().items()}
    return named


def _named_layers(frozen: FrozenHyperprior) -> Iterator[tuple[str, IntegerLayer]]:
    for number, layer in enumerate(frozen.layers):
        yield f"h_s.{number}", layer
    for number, layer in enumerate(layer for layers in frozen.context for layer in layers):
        yield f"context.{number}", layer


def _frozen(tensors: Mapping[str, Tensor]) -> FrozenHyperprior:
    mean, index, passes = tensors["prior.mean"], tensors["prior.index"], tensors["passes"]
    if mean.dtype != torch.int32 or index.dtype != torch.uint8 or mean.shape != index.shape:
        raise ValueError("the prior of the hyper-latents has the wrong type or shape")
    if int(index.max()) >= LEVELS:
        raise ValueError(f"the prior of the hyper-latents names a table beyond {LEVELS - 1}")
    check_passes(passes, len(passes))
    h_s = [_layer(tensors, f"h_s.{number}") for number in range(_H_S_LAYERS)]
    context = [
        [_layer(tensors, f"context.{_ROUND_LAYERS * round_ + part}") for part in range(_ROUND_LAYERS)]
        for round_ in range(int(passes.max()))
    ]
    frozen = FrozenHyperprior(h_s, context, passes, mean, index)
    frozen.check()
    return frozen


def _layer(tensors: Mapping[str, Tensor], name: str) -> IntegerLayer:
    weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    if weight.dtype != torch.int16 or bias.dtype != torch.int32 or weight.shape[:1] != bias.shape:
        raise ValueError(f"layer {name} has the wrong type or shape")
    return IntegerLayer(weight.int(), bias)


def _float_hyperprior(frozen: FrozenHyperprior) -> dict[str, Tensor]:
    """State of ``h_s``, ``context`` and ``prior`` that freezes to exactly these integers."""
    state = {
        "prior.mean": frozen.prior_mean.float() / ONE,
        "prior.index": frozen.prior_index.float() / INDEX_GAIN,
    }
    for number, layer in enumerate(frozen.layers):
        state |= _float_layer(f"h_s.{_PARTS[number % 3]}.{number // 3}", layer)
    for round_, layers in enumerate(frozen.context):
        for part, layer in zip(_PARTS, layers, strict=True):
            state |= _float_layer(f"context.rounds.{round_}.{part}", layer)
    return state


def _float_layer(name: str, layer: IntegerLayer) -> dict[str, Tensor]:
    return {
        f"{name}.weight": layer.weight.float() / (1 << WEIGHT_BITS),
        f"{name}.bias": layer.bias.float() / (1 << (WEIGHT_BITS + ACTIVATION_BITS)),
    }
