"""Codec weights on disk: safetensors with a checked schema.

A codec file holds ``g_a``, ``g_s``, ``h_a`` in float16, the gains in float32, and the entropy path as the
integers that files are coded with. A view file holds the few layers of ``g_s`` that differ from the codec's
own, in float16, and names the entropy path it belongs to. The networks are built by the package: a file is data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from diptych.codec.architecture import PARTS, QUALITY_KNOTS, ROUNDS, Widths
from diptych.codec.entropy import EntropyModel, count_passes
from diptych.errors import ModelError
from diptych.io.files import make_folder, write_bytes

CODEC_FORMAT, VIEW_FORMAT = "diptych-codec-1", "diptych-view-1"
_DECIDES_LATENTS = ("context.", "gains.log_inverse", "h_s.", "passes", "prior.", "tables.")
"""Tensors, by the start of their names, that a model id is the hash of."""
HALF = ("g_a.", "g_s.", "h_a.")
"""Networks, by the start of their tensors' names, that are kept in float16."""

Arrays = dict[str, NDArray[Any]]
Shapes = dict[str, tuple[int, ...]]


class FrozenCodec(NamedTuple):
    """A codec ready to code files.

    Attributes:
        arrays: all tensors as the file holds them.
        widths: channel counts.
        entropy: the exact entropy path.
        model_id: first four bytes of the hash of everything that decides ``y_hat``.
        metadata: provenance strings of the file.
    """

    arrays: Arrays
    widths: Widths
    entropy: EntropyModel
    model_id: bytes
    metadata: dict[str, str]

    def network(self, name: str) -> Arrays:
        """Float32 weights of ``g_a``, ``g_s``, ``h_a`` or ``gains`` by their names inside it."""
        start = f"{name}."
        return {
            key.removeprefix(start): array.astype(np.float32)
            for key, array in self.arrays.items()
            if key.startswith(start)
        }


def save_codec(arrays: Mapping[str, NDArray[Any]], widths: Widths, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a codec file, atomically."""
    header = {"format": CODEC_FORMAT, "widths": json.dumps(widths._asdict()), **metadata}
    write_arrays(path, arrays, header)


def load_codec(path: Path) -> FrozenCodec:
    """Read a codec file.

    Raises:
        ModelError: if the file is missing, not a codec, or inconsistent.
    """
    arrays, metadata = read_arrays(path, CODEC_FORMAT)
    try:
        widths = Widths(**json.loads(metadata["widths"]))
        _check(arrays, widths)
        return FrozenCodec(arrays, widths, EntropyModel(arrays), id_of(arrays, arrays.__getitem__), metadata)
    except KeyError as error:
        raise ModelError(f"{path} is not a complete codec file: it has no {error}") from None
    except (TypeError, ValueError, ModelError) as error:
        raise ModelError(f"{path} is not a complete codec file: {str(error).splitlines()[0]}") from None


def human_beside(path: Path) -> Path:
    """Where the human view of a codec's file lies, if it has one."""
    return path.with_suffix(".human.safetensors")


def id_of(names: Iterable[str], read: Callable[[str], NDArray[Any]]) -> bytes:
    """The model id: the first four bytes of the hash of what decides ``y_hat``, in alphabetical order of the names.

    Args:
        names: of a codec's tensors.
        read: gives a tensor by its name.
    """
    digest = hashlib.sha256()
    for name in sorted(name for name in names if name.startswith(_DECIDES_LATENTS)):
        array = read(name)
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.digest()[:4]


def save_view(layers: Mapping[str, NDArray[Any]], model_id: bytes, path: Path, metadata: Mapping[str, str]) -> None:
    """Write tuned layers of ``g_s`` (names relative to it) as a view file for the codec ``model_id``."""
    header = {"format": VIEW_FORMAT, "model_id": model_id.hex(), **metadata}
    write_arrays(path, {name: layer.astype(np.float16) for name, layer in layers.items()}, header)


def load_view(path: Path, codec: FrozenCodec) -> Arrays:
    """Read a view file made for ``codec``.

    Returns:
        Float32 arrays by their name inside ``g_s``.

    Raises:
        ModelError: if it was made for another codec or does not fit ``g_s``.
    """
    arrays, metadata = read_arrays(path, VIEW_FORMAT)
    if metadata.get("model_id") != codec.model_id.hex():
        raise ModelError(f"{path} is a view of codec {metadata.get('model_id')}, not of {codec.model_id.hex()}")
    shapes = float_shapes(codec.widths)
    for name, array in arrays.items():
        if shapes.get(f"g_s.{name}") != array.shape:
            raise ModelError(f"{path} holds '{name}', which g_s does not have in this shape")
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, completely or not at all; one that is there is replaced.

    Raises:
        DiptychError: if that is impossible.
    """
    data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, dict(metadata))
    make_folder(path.parent)
    write_bytes(data, path, overwrite=True)


def read_arrays(path: Path, expected: str) -> tuple[Arrays, dict[str, str]]:
    """Arrays and metadata of a safetensors file whose ``format`` is ``expected``.

    Raises:
        ModelError: if it cannot be read or is of another kind.
    """
    if not path.is_file():
        raise ModelError(f"there is no weights file {path}")
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError) as error:  # NumPy lacks some of the format's types
        raise ModelError(f"{path} is not a readable safetensors file: {error}") from None
    if metadata.get("format") != expected:
        raise ModelError(f"{path} holds '{metadata.get('format', 'unknown')}' weights, not '{expected}'")
    return arrays, metadata


def _check(arrays: Arrays, widths: Widths) -> None:
    """Raise ValueError unless the file holds all tensors of the right type and shape, and no others; ModelError for
    impossible passes."""
    passes = arrays["passes"]
    if passes.dtype != np.uint8 or passes.shape != (widths.latent, 2, 2):
        raise ValueError(f"the passes are not {widths.latent} x 2 x 2 bytes")
    integers = integer_shapes(widths, count_passes(passes) - 1)
    shapes: Shapes = float_shapes(widths) | integers
    tables = {"tables.half_width", "tables.frequencies"}
    if set(arrays) != set(shapes) | tables:
        odd = sorted(set(arrays) ^ (set(shapes) | tables))
        raise ValueError(f"'{odd[0]}' is missing or not part of a codec")
    for name, shape in shapes.items():
        kind = _kind(name, name in integers)
        if arrays[name].shape != shape or arrays[name].dtype != kind:
            raise ValueError(f"'{name}' is not {np.dtype(kind)} {' x '.join(map(str, shape))}")


def _kind(name: str, integer: bool) -> type:
    if not integer:
        return np.float16 if name.startswith(HALF) else np.float32
    if name in ("passes", "prior.index"):
        return np.uint8
    return np.int16 if name.endswith(".weight") else np.int32


def float_shapes(widths: Widths) -> Shapes:
    """Names and shapes of the weights of ``g_a``, ``g_s``, ``h_a`` and of the gains."""
    m, n, k = widths.latent, widths.eighth, widths.quarter
    z, a = widths.hyper_latent, widths.hyper_analysis
    knots = {"g_a.quality.knots": n, "g_s.quality.knots": m, "gains.log_gain": m, "gains.log_inverse": m}
    shapes: Shapes = {name: (QUALITY_KNOTS, channels) for name, channels in knots.items()}
    for name, kernel in {
        "g_a.front": (n, 48, 3, 3),
        "g_a.down": (m, n, 3, 3),
        "g_s.stages.latent.0": (m, m, 1, 1),
        "h_a.first": (a, m, 3, 3),
        "h_a.second": (z, a, 3, 3),
        "h_a.mix": (z, z, 1, 1),
    }.items():
        shapes |= {f"{name}.weight": kernel, f"{name}.bias": kernel[:1]}
    for name, kernel in {
        "g_s.stages.eighth.0": (m, n, 4, 4),
        "g_s.stages.quarter.0": (n, k, 4, 4),
        "g_s.stages.pixel": (k, 3, 8, 8),
    }.items():
        shapes |= {f"{name}.weight": kernel, f"{name}.bias": kernel[1:2]}
    for name, channels in _blocks(widths):
        shapes |= {
            f"{name}.spatial.weight": (channels, 1, 3, 3),
            f"{name}.spatial.bias": (channels,),
            f"{name}.expand.weight": (2 * channels, channels, 1, 1),
            f"{name}.expand.bias": (2 * channels,),
            f"{name}.project.weight": (channels, 2 * channels, 1, 1),
            f"{name}.project.bias": (channels,),
        }
    return shapes


def integer_shapes(widths: Widths, rounds: int) -> Shapes:
    """Names and shapes of the integers of the entropy path, tables excepted, with ``rounds`` of context."""
    m, z, n, c = widths.latent, widths.hyper_latent, widths.hyper, widths.context
    shapes: Shapes = {"passes": (m, 2, 2), "prior.mean": (QUALITY_KNOTS, z), "prior.index": (QUALITY_KNOTS, z)}
    layers: Shapes = {}
    for number in range(ROUNDS):
        out = 2 * m if number == ROUNDS - 1 else 4 * z
        layers |= _layers("h_s", number, (z, 9), (n, z), (out, n))
    for number in range(rounds):
        layers |= _layers("context", number, (m, 9), (c, m + n), (2 * m, c))
    for name, shape in layers.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def _layers(network: str, number: int, *shapes: tuple[int, ...]) -> Shapes:
    return {f"{network}.{len(PARTS) * number + part}": shape for part, shape in enumerate(shapes)}


def _blocks(widths: Widths) -> Iterator[tuple[str, int]]:
    m, n, k = widths.latent, widths.eighth, widths.quarter
    yield from ((f"g_a.eighth.{number}", n) for number in range(4))
    yield from ((f"g_a.latent.{number}", m) for number in range(2))
    yield from ((f"g_s.stages.latent.{number}", m) for number in range(1, 3))
    yield from ((f"g_s.stages.eighth.{number}", n) for number in range(1, 5))
    yield "g_s.stages.quarter.1", k
