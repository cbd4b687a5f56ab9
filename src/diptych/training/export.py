"""What was trained to codec and view files, and back to modules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from diptych.codec import weights
from diptych.codec.entropy import EntropyModel
from diptych.codec.weights import FrozenCodec
from diptych.nn.arrays import arrays_of, model_of
from diptych.nn.model import CodecModel


def save_model(model: CodecModel, path: Path, metadata: Mapping[str, str]) -> None:
    """Freeze ``model`` and write it as a codec file, atomically.

    Raises:
        ModelError: if its entropy path cannot be exact.
    """
    arrays = arrays_of(model)
    EntropyModel(arrays)
    weights.save_codec(arrays, model.widths, path, metadata)


def load_model(path: Path) -> CodecModel:
    """Read a codec file as a trainable model.

    Raises:
        ModelError: if it cannot be read.
    """
    return trainable(weights.load_codec(path))


def trainable(frozen: FrozenCodec) -> CodecModel:
    """A codec's networks as a trainable model."""
    return model_of(frozen.arrays, frozen.widths)


def save_view(layers: Mapping[str, Tensor], model_id: bytes, path: Path, metadata: Mapping[str, str]) -> None:
    """Write tuned layers of ``g_s`` (names relative to it) as a view file for the codec ``model_id``."""
    arrays = {name: layer.detach().cpu().float().numpy() for name, layer in layers.items()}
    weights.save_view(arrays, model_id, path, metadata)


def load_view(path: Path, frozen: FrozenCodec) -> dict[str, Tensor]:
    """Read a view file made for a codec: float32 tensors by their name inside ``g_s``.

    Raises:
        ModelError: as :func:`diptych.codec.weights.load_view`.
    """
    return {name: torch.from_numpy(array) for name, array in weights.load_view(path, frozen).items()}
