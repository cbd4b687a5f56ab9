"""What pixel values mean, and their way to 8 bits of sRGB at full depth.

    values ──curve──> linear light ──matrix──> linear sRGB ──> 8 bits

- Code points are those of ITU-T H.273. Transfers of video (1, 6, 14, 15) are shown by sRGB's curve, as browsers do.
- High dynamic range (PQ, HLG) keeps what is as bright as diffuse white (203 cd/m2, ITU-R BT.2408) or darker; what
  is brighter becomes white. HLG is seen on a display of 1000 cd/m2.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From values in 0..1 to linear light, 1 being white."""
Matrix = NDArray[np.floating[Any]]

D65 = (0.3127, 0.3290)
_SRGB = (0.640, 0.330, 0.300, 0.600, 0.150, 0.060)
_PRIMARIES = {
    1: (D65, _SRGB),
    4: ((0.310, 0.316), (0.67, 0.33, 0.21, 0.71, 0.14, 0.08)),
    5: (D65, (0.640, 0.330, 0.290, 0.600, 0.150, 0.060)),
    6: (D65, (0.630, 0.340, 0.310, 0.595, 0.155, 0.070)),
    7: (D65, (0.630, 0.340, 0.310, 0.595, 0.155, 0.070)),
    8: ((0.310, 0.316), (0.681, 0.319, 0.243, 0.692, 0.145, 0.049)),
    9: (D65, (0.708, 0.292, 0.170, 0.797, 0.131, 0.046)),
    10: ((1 / 3, 1 / 3), (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)),
    11: ((0.314, 0.351), (0.680, 0.320, 0.265, 0.690, 0.150, 0.060)),
    12: (D65, (0.680, 0.320, 0.265, 0.690, 0.150, 0.060)),
    22: (D65, (0.630, 0.340, 0.295, 0.605, 0.155, 0.077)),
}
"""By code point: white, and x and y of red, green and blue."""
_UNSPECIFIED = 2
_PQ, _HLG = 16, 18
DIFFUSE_WHITE = 203.0
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50 = np.array([0.96422, 1.0, 0.82521])


class Meaning(NamedTuple):
    """What values mean.

    Attributes:
        curves: of each channel, or one of all.
        matrix: from linear light to linear sRGB; None for grey, or where the primaries are sRGB's.
        hlg: whether light is a scene's, and a display's curve comes upon it.
    """

    curves: tuple[Curve, ...]
    matrix: Matrix | None = None
    hlg: bool = False


def by_code_points(primaries: int, transfer: int, notes: list[str]) -> Meaning | None:
    """Meaning by code points; None for sRGB."""
    known = primaries in _PRIMARIES or primaries == _UNSPECIFIED
    if not known or transfer not in _TRANSFERS:
        notes.append("its colours are of an unknown kind and were taken as sRGB")
        return None
    curve = _TRANSFERS[transfer]
    if transfer in (_PQ, _HLG):
        notes.append(
            f"it is HDR ({'PQ' if transfer == _PQ else 'HLG'}): what is brighter than diffuse white became white"
        )
    if curve is srgb_curve and primaries in (1, _UNSPECIFIED):
        return None
    matrix = None if primaries in (1, _UNSPECIFIED) else _to_linear_srgb(*_PRIMARIES[primaries])
    return Meaning((curve,), matrix, transfer == _HLG)


def by_gamma(gamma: float | None, chromaticity: tuple[float, ...] | None) -> Meaning | None:
    """Meaning of a PNG's gAMA and cHRM; None where it is sRGB, or as good as (gamma within 5 % of 1/2.2)."""
    curve: Curve = srgb_curve
    if gamma and not 0.95 < gamma * 2.2 < 1.05:
        curve = _power(1 / gamma)
    matrix = None
    if chromaticity and np.abs(np.subtract(chromaticity, (*D65, *_SRGB))).max() > 0.01:
        white, primaries = (chromaticity[0], chromaticity[1]), chromaticity[2:]
        try:
            matrix = _to_linear_srgb(white, primaries)
        except (np.linalg.LinAlgError, ZeroDivisionError):
            matrix = None
    return None if curve is srgb_curve and matrix is None else Meaning((curve,), matrix)


def by_profile(profile: bytes) -> Meaning | None:
    """Meaning by an ICC profile of curves and at most a matrix; None for other kinds.

    Raises:
        ValueError, struct.error: if it is damaged.
    """
    count = struct.unpack_from(">I", profile, 128)[0]
    entries = [struct.unpack_from(">4sII", profile, 132 + 12 * k) for k in range(min(count, 200))]
    tags = {name: profile[start : start + size] for name, start, size in entries}
    if any(name.startswith((b"A2B", b"D2B")) for name in tags) or profile[20:24] != b"XYZ ":
        return None
    if profile[16:20] == b"GRAY" and b"kTRC" in tags:
        return Meaning((_icc_curve(tags[b"kTRC"]),))
    names = (b"r", b"g", b"b")
    if profile[16:20] != b"RGB " or not all(n + part in tags for n in names for part in (b"XYZ", b"TRC")):
        return None
    columns = [np.array(struct.unpack_from(">3i", tags[name + b"XYZ"], 8)) / 65536 for name in names]
    srgb = _adapted(_to_xyz(D65, _SRGB), _xyz(D65), _D50)
    curves = tuple(_icc_curve(tags[name + b"TRC"]) for name in names)
    return Meaning(curves, np.linalg.solve(srgb, np.stack(columns, axis=1)))


def to_srgb(values: NDArray[Any], meaning: Meaning | None) -> NDArray[np.uint8]:
    """Values ``(H, W, C)``, uint8 or uint16, one or three channels, as 8 bits of sRGB ``(H, W, C)``."""
    out = np.empty(values.shape, np.uint8)
    top = np.iinfo(values.dtype).max
    if meaning is None:
        table = np.rint(np.arange(top + 1) * (255 / top)).astype(np.uint8)
        return np.take(table, values, out=out)
    codes = np.arange(top + 1) / top
    tables = [curve(codes).astype(np.float32) for curve in meaning.curves]
    matrix = None if meaning.matrix is None else meaning.matrix.astype(np.float32)
    for start in range(0, len(values), 128):
        part = values[start : start + 128]
        light = np.stack([tables[k % len(tables)][part[..., k]] for k in range(part.shape[2])], axis=-1)
        if meaning.hlg:
            weights = np.array([0.2627, 0.6780, 0.0593], np.float32)[: light.shape[2]]
            luminance = light @ (weights / weights.sum())
            light *= (1000 / DIFFUSE_WHITE) * np.maximum(luminance, 1e-6)[..., None] ** 0.2
        if matrix is not None:
            light = light @ matrix.T
        index = (light.clip(0, 1) * 65535 + 0.5).astype(np.uint16)
        out[start : start + 128] = _ENCODED[index]
    return out


def in_profile(image: Image.Image, profile: bytes, notes: list[str]) -> Image.Image | None:
    """RGB of 8-bit colours of mode L, RGB, CMYK or LAB by their ICC profile; None where it is sRGB's or unfit."""
    try:
        own = ImageCms.ImageCmsProfile(BytesIO(profile))
        if own.profile.xcolor_space == "RGB " and image.mode == "L":
            image = image.convert("RGB")
        if ImageCms.getProfileDescription(own).startswith("sRGB"):
            return None
        return ImageCms.profileToProfile(
            image,
            own,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notes.append("its colour profile does not fit and was ignored")
        return None


def srgb_curve(v: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def _encoded(light: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


_ENCODED = np.rint(_encoded(np.arange(65536) / 65535) * 255).astype(np.uint8)


def _power(exponent: float) -> Curve:
    return lambda v: v**exponent


def _logarithmic(decades: float) -> Curve:
    return lambda v: np.where(v > 0, 10 ** ((v - 1) * decades), 0)


def _pq(v: NDArray[np.float64]) -> NDArray[np.float64]:
    """SMPTE ST 2084, 1 being diffuse white."""
    m1, m2 = 2610 / 16384, 2523 / 32
    c1, c2, c3 = 3424 / 4096, 2413 / 128, 2392 / 128
    root = v ** (1 / m2)
    return (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1) * (10_000 / DIFFUSE_WHITE)


def _hlg(v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light of the scene, 0..1 (ITU-R BT.2100)."""
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    return np.where(v <= 0.5, v * v / 3, (np.exp((v - c) / a) + b) / 12)


_TRANSFERS: Mapping[int, Curve] = {
    **dict.fromkeys((1, 2, 6, 7, 11, 12, 13, 14, 15), srgb_curve),
    4: _power(2.2),
    5: _power(2.8),
    8: lambda v: v,
    9: _logarithmic(2),
    10: _logarithmic(2.5),
    _PQ: _pq,
    17: lambda v: v**2.6 * (52.37 / 48),
    _HLG: _hlg,
}


def _to_xyz(white: tuple[float, float], primaries: tuple[float, ...]) -> Matrix:
    points = np.reshape(primaries, (3, 2))
    columns = np.stack([(x / y, 1, (1 - x - y) / y) if y else (x, 0, 1 - x) for x, y in points], axis=1)
    return columns * np.linalg.solve(columns, _xyz(white))


def _xyz(white: tuple[float, float]) -> NDArray[np.float64]:
    x, y = white
    return np.array([x / y, 1, (1 - x - y) / y])


def _adapted(matrix: Matrix, white: NDArray[np.float64], wanted: NDArray[np.float64]) -> Matrix:
    gains = (_BRADFORD @ wanted) / (_BRADFORD @ white)
    return np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD @ matrix


def _to_linear_srgb(white: tuple[float, float], primaries: tuple[float, ...]) -> Matrix:
    xyz = _adapted(_to_xyz(white, primaries), _xyz(white), _xyz(D65))
    return np.linalg.inv(_to_xyz(D65, _SRGB)) @ xyz


def _icc_curve(tag: bytes) -> Curve:
    kind = tag[:4]
    if kind == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return lambda v: v
        if count == 1:
            return _power(struct.unpack_from(">H", tag, 12)[0] / 256)
        table = np.frombuffer(tag, ">u2", count, 12) / 65535
        return lambda v: np.interp(v, np.linspace(0, 1, count), table)
    if kind != b"para":
        raise ValueError("a curve of an unknown kind")
    (number,) = struct.unpack_from(">H", tag, 8)
    counts = (1, 3, 4, 5, 7)
    if number >= len(counts):
        raise ValueError("a curve of an unknown kind")
    n = counts[number]
    g, a, b, c, d, e, f = [*(np.array(struct.unpack_from(f">{n}i", tag, 12)) / 65536), *[0.0] * 7][:7]
    if number == 0:
        return _power(g)
    if number == 1:
        return lambda v: np.maximum(a * v + b, 0) ** g
    if number == 2:
        return lambda v: np.maximum(a * v + b, 0) ** g + c
    return lambda v: np.where(v >= d, np.maximum(a * v + b, 0) ** g + e, c * v + f)
