"""From an opened picture of any kind to upright sRGB of 8 bits.

pixels -> colours to sRGB at full depth -> 8 bits -> over white -> clean aperture -> upright
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from diptych.io import colour, formats

_UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture upright, by its EXIF orientation."""

Info = dict[str | tuple[int, int], Any]


class Picture(NamedTuple):
    """A picture ready for the codec.

    Attributes:
        image: RGB, 8 bits, sRGB, upright.
        notes: what of the original could not be kept, one sentence each, without a full stop.
    """

    image: Image.Image
    notes: list[str]


def converted(image: Any, source: formats.Source | None = None, upright: bool = True) -> Picture:
    """The picture of an opened file ``source``, or of a program that gives no file."""
    notes: list[str] = [image.info["note"]] if "note" in image.info else []
    if source is None:
        image.load()
        deep = None
    else:
        deep = formats.load(image, source, notes)
        _count(image, source, notes)
    way = _orientation(image, notes) if upright else 1
    rgb, alpha = _colours(image, notes) if deep is None else _deep_colours(image, deep, notes)
    if alpha is not None:
        rgb = Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)
        notes.append("its transparent parts are shown on white")
    if "crop" in image.info:
        rgb = rgb.crop(image.info["crop"])
    rgb = turned(rgb, way)
    rgb.info = {}  # a profile or transparent colour left there would be applied again
    return Picture(rgb, notes)


def _count(image: Image.Image, source: formats.Source, notes: list[str]) -> None:
    pictures = image.info.get("pictures") or formats.count_pictures(source)
    if pictures is None:
        notes.append("what stands behind its first picture is damaged")
    elif pictures > 1:
        notes.append(f"it holds {pictures} pictures, only the first is kept")


def _orientation(image: Image.Image, notes: list[str]) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # anything can stand in an EXIF block
        notes.append("its EXIF data is damaged and was ignored")
        return 1
    return orientation if orientation in _UNDO else 1


def stored_orientation(image: Image.Image) -> int:
    return 1 if image.format == "TIFF" else _orientation(image, [])  # Pillow turns TIFF files itself


def turned(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UNDO[orientation]) if orientation in _UNDO else image


def _colours(image: Image.Image, notes: list[str]) -> tuple[Image.Image, Image.Image | None]:
    """RGB and opacity of a picture of any of Pillow's modes."""
    bits = image.info.get("bits", 8)
    if bits > 8:
        notes.append(_became_eight(bits))
    alpha = _alpha(image)
    grey = _sixteen_bit_grey(image)
    if grey is not None:
        notes.append(_became_eight(16))
        return _in_srgb(grey, image.info, notes), alpha
    return _to_srgb(_eight_bits(image, notes), image.info, notes), alpha


def _deep_colours(
    image: Image.Image, values: NDArray[np.uint16], notes: list[str]
) -> tuple[Image.Image, Image.Image | None]:
    """RGB and opacity of values ``(H, W, C)`` of 16 bits: of grey, alpha; or red, green, blue; and alpha."""
    notes.append(_became_eight(16))
    channels = values.shape[2]
    colours = values[..., : channels - (channels in (2, 4))]
    alpha, key = None, image.info.get("transparency")
    if channels in (2, 4):
        alpha = _grey(values[..., -1], 65535)
    elif isinstance(key, tuple):
        alpha = Image.fromarray(np.where((values != np.array(key)).any(axis=2), 255, 0).astype(np.uint8))
    if alpha is not None and alpha.getextrema() == (255, 255):
        alpha = None
    return _in_srgb(colours, image.info, notes), alpha


def _became_eight(bits: int) -> str:
    return f"its {bits} bits a channel became 8"


def _in_srgb(values: NDArray[np.uint16], info: Info, notes: list[str]) -> Image.Image:
    """RGB of 16-bit values ``(H, W, 1 or 3)``, which mean what ``info`` says."""
    profile = info.get("icc_profile")
    if profile and "cicp" not in info:
        try:
            meaning = colour.by_profile(profile)
        except (ValueError, struct.error, np.linalg.LinAlgError):
            meaning = None
        if meaning is None:  # tables, which the library has for 8 bits only
            return _to_srgb(_from_array(colour.to_srgb(values, None)), info, notes)
    else:
        meaning = _meaning(info, notes)
    if values.shape[2] == 1 and meaning and meaning.matrix is not None:
        values = np.repeat(values, 3, axis=2)
    return _from_array(colour.to_srgb(values, meaning)).convert("RGB")


def _meaning(info: Info, notes: list[str]) -> colour.Meaning | None:
    """What values mean by code points, or gamma and primaries; None for sRGB."""
    if "cicp" in info:
        primaries, transfer, *_ = info["cicp"]
        return colour.by_code_points(primaries, transfer, notes)
    if "srgb" in info:
        return None
    return colour.by_gamma(info.get("gamma"), info.get("chromaticity"))


def _from_array(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _alpha(image: Image.Image) -> Image.Image | None:
    """Opacity as a picture of mode L, or None for an opaque picture."""
    whole = (0, 0, *image.size)
    covered = image.info.get("covered", whole)
    if covered != whole:
        inside = _opacity(image) or Image.new("L", image.size, 255)
        alpha = Image.new("L", image.size, 0)
        alpha.paste(inside.crop(covered), covered)
        return alpha
    return _opacity(image)


def _opacity(image: Image.Image) -> Image.Image | None:
    if not image.has_transparency_data:
        return None
    if image.mode.startswith("I"):
        opaque = np.asarray(image) != image.info["transparency"]
        alpha = Image.fromarray(np.where(opaque, 255, 0).astype(np.uint8))
    else:
        straight = image.convert("LA") if image.mode == "La" else image
        alpha = straight.convert("RGBA").getchannel("A")
    return None if alpha.getextrema() == (255, 255) or formats.ignores_alpha(image, alpha) else alpha


def _sixteen_bit_grey(image: Image.Image) -> NDArray[np.uint16] | None:
    """Values ``(H, W, 1)`` of a grey picture of 9 to 16 bits, from 0 for black to 65535 for white."""
    if not image.mode.startswith("I;16"):
        return None
    values = np.asarray(image).astype(np.uint16)
    top = image.info.get("top", 65535)
    if top != 65535:
        values = np.rint(np.minimum(values, top) * (65535 / top)).astype(np.uint16)
    return (65535 - values if image.info.get("white_is_nought") else values)[..., None]


def _eight_bits(image: Image.Image, notes: list[str]) -> Image.Image:
    """Colours without transparency, in mode L, RGB, CMYK or LAB."""
    mode = image.mode
    if mode in ("L", "RGB", "CMYK", "LAB"):
        return image
    if mode in ("LA", "La"):
        return image.convert("LA").getchannel("L")
    if mode == "1":
        return image.convert("L")
    if mode in ("P", "PA", "RGBa"):
        return image.convert("RGBA").convert("RGB")
    if mode in ("I", "F"):
        return _wide_grey(np.asarray(image), notes)
    return image.convert("RGB")


def _wide_grey(values: np.ndarray, notes: list[str]) -> Image.Image:
    """Grey from 32-bit values, whose range no file states: the narrowest usual one that holds them."""
    finite = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(finite.min()), float(finite.max())
    usual = (1, 255, 65535) if values.dtype.kind == "f" else (65535,)
    top = next((top for top in usual if low >= 0 and high <= top), None)
    if top is None:
        notes.append(f"its values from {low:g} to {high:g} were stretched from black to white")
        return _grey(finite - low, (high - low) or 1.0)
    if values.dtype.kind == "i":
        notes.append(_became_eight(16))
    elif top != usual[0]:
        notes.append(f"its values were taken as 0 for black to {top} for white")
    return _grey(finite, top)


def _grey(values: np.ndarray, top: float) -> Image.Image:
    """Round values of 0..top to a picture of mode L."""
    if values.dtype.kind == "u":
        return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))


def _to_srgb(image: Image.Image, info: Info, notes: list[str]) -> Image.Image:
    """RGB of colours of mode L, RGB, CMYK or LAB, which mean what ``info`` says."""
    profile = info.get("icc_profile")
    if profile and "cicp" not in info:
        converted = colour.in_profile(image, profile, notes)
        return _plain_rgb(image) if converted is None else converted
    if image.mode not in ("L", "RGB"):
        return _plain_rgb(image)
    meaning = _meaning(info, notes)
    rgb = _plain_rgb(image)
    return rgb if meaning is None else Image.fromarray(colour.to_srgb(np.asarray(rgb), meaning))


def _plain_rgb(image: Image.Image) -> Image.Image:
    """``image`` itself where it can be: Pillow would copy it, which costs 400 MB for 100 megapixels."""
    return image if image.mode == "RGB" else image.convert("RGB")
