"""The upsamplers in a file of weights: Diptych's own, any safetensors file's, an ONNX graph's.

An ONNX graph says what its layers are. A safetensors file holds arrays with names, so there the user names the
layers, unless it is a codec of Diptych.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from diptych.checkerboard.onnx_layers import read_graph
from diptych.checkerboard.polyphase import Finding, check
from diptych.checkerboard.upsampler import Upsampler
from diptych.errors import ModelError

Arrays = Mapping[str, NDArray[Any]]

_OWN = {"g_s.stages.eighth.0": 2, "g_s.stages.quarter.0": 2, "g_s.stages.pixel": 4}
"""Strides of the upsamplers of a Diptych codec."""
_KINDS = ("transposed", "subpixel")


class Hint(NamedTuple):
    """What a user says about a layer of a safetensors file."""

    name: str
    kind: str
    stride: int

    @classmethod
    def parse(cls, text: str) -> Hint:
        """Read ``NAME:transposed:STRIDE`` or ``NAME:subpixel:STRIDE``.

        Raises:
            ModelError: if it is neither.
        """
        name, _, rest = text.partition(":")
        kind, _, stride = rest.partition(":")
        if not name or kind not in _KINDS or not stride.isdigit() or int(stride) < 2:
            raise ModelError(f"'{text}' is not NAME:transposed:STRIDE or NAME:subpixel:STRIDE")
        return cls(name, kind, int(stride))


def lint(path: Path, hints: Sequence[Hint] = (), view: Path | None = None) -> list[Finding]:
    """Check all upsamplers of a file.

    Args:
        path: ``.safetensors`` or ``.onnx``.
        hints: layers that do not say themselves what they are.
        view: a Diptych view file, whose layers take the place of the codec's own.

    Raises:
        ModelError: if a file cannot be read, the view does not belong to the codec, a hint does not fit, or there
            is nothing to check.
    """
    found = read_upsamplers(path, hints, view)
    if not found and _is_graph(path):
        raise ModelError(f"{path} has no transposed or sub-pixel convolution")
    if not found:
        raise ModelError(
            f"{path} does not say which of its layers upsample: name them with --layer NAME:transposed:STRIDE or "
            "--layer NAME:subpixel:STRIDE"
        )
    return [check(upsampler) for upsampler in found]


def read_upsamplers(path: Path, hints: Sequence[Hint] = (), view: Path | None = None) -> list[Upsampler]:
    """The upsamplers of a file; see :func:`lint`."""
    if _is_graph(path):
        if hints or view:
            raise ModelError(f"{path} says what its layers are: --layer and --view are for safetensors files")
        return read_graph(path)
    arrays, metadata = _read_arrays(path)
    if view is not None:
        arrays |= _layers_of_view(view, path, metadata, arrays)
    own = _OWN if metadata.get("format", "").startswith("diptych-codec") else {}
    layers = {name: _named(arrays, Hint(name, "transposed", stride), "codec") for name, stride in own.items()}
    layers |= {hint.name: _named(arrays, hint, "hint") for hint in hints}
    return list(layers.values())


def _is_graph(path: Path) -> bool:
    return path.suffix.lower() == ".onnx"


def _read_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """What may belong to convolutions: arrays of three axes and more, biases; float32 or wider. And metadata."""
    if not path.is_file():
        raise ModelError(f"there is no weights file {path}")
    try:
        with safe_open(path, framework="np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            kinds = {
                name: part.get_dtype()
                for name, part in slices.items()
                if len(part.get_shape()) > 2 or name.endswith(".bias")
            }
            read = {name: _READERS[kind](file, path, name) for name, kind in kinds.items() if kind in _READERS}
            return read, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a readable safetensors file: {error}") from None


def _plain(file: Any, path: Path, name: str) -> NDArray[Any]:
    array: NDArray[Any] = file.get_tensor(name)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _bfloat16(file: Any, path: Path, name: str) -> NDArray[Any]:
    """NumPy has no bfloat16; torch, which has, is imported for such files alone."""
    with safe_open(path, framework="pt") as torch_file:
        array: NDArray[Any] = torch_file.get_tensor(name).float().numpy()
        return array


_READERS: dict[str, Callable[[Any, Path, str], NDArray[Any]]] = {
    "F16": _plain,
    "F32": _plain,
    "F64": _plain,
    "BF16": _bfloat16,
}


def _layers_of_view(view: Path, path: Path, metadata: Mapping[str, str], arrays: Arrays) -> dict[str, NDArray[Any]]:
    if not metadata.get("format", "").startswith("diptych-codec"):
        raise ModelError(f"{path} is not a Diptych codec, so it has no views")
    tuned, described = _read_arrays(view)
    if not described.get("format", "").startswith("diptych-view"):
        raise ModelError(f"{view} is not a Diptych view")
    layers = {f"g_s.{name}": layer for name, layer in tuned.items()}
    for name, layer in layers.items():
        if name not in arrays or arrays[name].shape != layer.shape:
            raise ModelError(f"{view} is not a view of {path}: '{name}' does not fit")
    return layers


def _named(arrays: Arrays, hint: Hint, known_by: str) -> Upsampler:
    weight = arrays.get(f"{hint.name}.weight", arrays.get(hint.name))
    if weight is None or weight.ndim < 3:
        raise ModelError(f"there is no layer '{hint.name}' with the weights of a convolution")
    axes = weight.ndim - 2
    if hint.kind == "subpixel" and len(weight) % hint.stride**axes:
        raise ModelError(f"'{hint.name}' has {len(weight)} outputs, which is not a multiple of {hint.stride**axes}")
    bias = arrays.get(f"{hint.name}.bias") if hint.kind == "subpixel" else None
    return Upsampler(hint.name, hint.kind, weight, bias, (hint.stride,) * axes, None, False, known_by)
