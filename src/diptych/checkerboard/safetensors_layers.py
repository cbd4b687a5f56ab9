"""The upsamplers in a file of weights: Diptych's own, any safetensors file's, an ONNX graph's.

An ONNX graph says what its layers are. A safetensors file holds arrays with names, so there a layer is recognized
by its shape (bias as long as the second axis of the weights), guessed by shape and name, or named by the user.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from diptych.checkerboard.polyphase import Finding, check
from diptych.errors import ModelError

Arrays = Mapping[str, NDArray[Any]]

_OWN = {"g_s.stages.eighth.0": 2, "g_s.stages.quarter.0": 2, "g_s.stages.pixel": 4}
"""Strides of the upsamplers of a Diptych codec."""
_KERNEL_STRIDE = {2: 2, 3: 2, 4: 2, 5: 2, 6: 2, 8: 4, 16: 8, 32: 16, 64: 32}
"""The usual stride of a transposed convolution by the side of its kernel."""
_SPEAKS = re.compile(r"(?i)(^|[._])up|deconv|transpose|convt|subpel|shuffle")
"""Names that people give to upsamplers."""
_KINDS = ("transposed", "subpixel")


class Upsampler(NamedTuple):
    """A layer that upsamples by learned kernels.

    Attributes:
        name: of the layer.
        kind: ``transposed`` (a transposed convolution) or ``subpixel`` (a convolution before a pixel shuffle).
        weight: ``(in, out / groups, *kernel)`` of a transposed convolution, ``(out * phases, in, *kernel)`` of a
            sub-pixel one.
        bias: ``(out * phases,)`` of a sub-pixel convolution, or None.
        stride, dilation: per spatial axis.
        depth_first: whether a pixel shuffle finds the phases in the outer part of the channel number (ONNX's
            ``DCR``), not in the inner one (torch).
        known_by: how it was recognized, see :class:`Finding`.
    """

    name: str
    kind: str
    weight: NDArray[Any]
    bias: NDArray[Any] | None
    stride: tuple[int, ...]
    dilation: tuple[int, ...] | None
    depth_first: bool
    known_by: str


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
            f"{path} has no transposed or sub-pixel convolution that can be told by its shape; "
            "name layers with --layer NAME:transposed:STRIDE or NAME:subpixel:STRIDE"
        )
    return [check(upsampler) for upsampler in found]


def read_upsamplers(path: Path, hints: Sequence[Hint] = (), view: Path | None = None) -> list[Upsampler]:
    """The upsamplers of a file; see :func:`lint`."""
    if _is_graph(path):
        if hints or view:
            raise ModelError(f"{path} says what its layers are: --layer and --view are for safetensors files")
        from diptych.checkerboard.onnx_layers import read_graph

        return read_graph(path)
    arrays, metadata = _read_arrays(path)
    if view is not None:
        arrays |= _layers_of_view(view, path, metadata, arrays)
    if metadata.get("format", "").startswith("diptych-codec"):
        own = [_named(arrays, Hint(name, "transposed", stride), "codec") for name, stride in _OWN.items()]
    else:
        own = _recognized(arrays)
    named = [_named(arrays, hint, "hint") for hint in hints]
    return list({layer.name: layer for layer in chain(own, named)}.values())


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
    return _upsampler(arrays, hint.name, hint.kind, weight, hint.stride, known_by)


def _upsampler(arrays: Arrays, name: str, kind: str, weight: NDArray[Any], stride: int, known_by: str) -> Upsampler:
    bias = arrays.get(f"{name}.bias") if kind == "subpixel" else None
    return Upsampler(name, kind, weight, bias, (stride,) * (weight.ndim - 2), None, False, known_by)


def _recognized(arrays: Arrays) -> list[Upsampler]:
    """The layers of a foreign file that their shape, or shape and name, give away."""
    found = []
    for key, weight in arrays.items():
        if not key.endswith(".weight") or weight.ndim != 4 or weight.shape[2] != weight.shape[3]:
            continue
        name, side = key.removesuffix(".weight"), weight.shape[2]
        speaks = bool(_SPEAKS.search(name))
        if side in _KERNEL_STRIDE and (known_by := _transposed(weight, arrays.get(f"{name}.bias"), speaks)):
            found.append(_upsampler(arrays, name, "transposed", weight, _KERNEL_STRIDE[side], known_by))
        elif stride := _shuffled(weight, speaks):
            found.append(_upsampler(arrays, name, "subpixel", weight, stride, "guess"))
    return found


def _transposed(weight: NDArray[Any], bias: NDArray[Any] | None, speaks: bool) -> str:
    """What says that ``weight`` is ``(in, out, k, k)`` and not ``(out, in, k, k)``; empty if nothing does."""
    first, second, side = weight.shape[:3]
    if bias is not None and len(bias) == second != first:
        return "shape"
    either_way = bias is None or first == second or second == 1
    return "guess" if either_way and side % 2 == 0 and (speaks or (side == 2 and first == second)) else ""


def _shuffled(weight: NDArray[Any], speaks: bool) -> int:
    """Stride of the pixel shuffle that may follow a convolution ``(out, in, k, k)``; 0 for none."""
    outputs, inputs, side = weight.shape[:3]
    if side % 2 == 0:
        return 0
    for stride in (2, 3, 4):
        widened = side > 1 and inputs > 3 and outputs == stride**2 * inputs
        if widened or (speaks and outputs in (stride**2, 3 * stride**2)):
            return stride
    return 0
