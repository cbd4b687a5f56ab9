"""What a picture's file says that Pillow does not pass on, and which files are pictures at all.

    file -> opened -> pixels at full depth, and in ``info``: cicp, crop, bits, transparency of every depth

Nothing that stands beside the pixels (texts, profiles, what is behind the first picture) may keep them from being
read.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin

from diptych.io.formats.isomedia import complete_avif
from diptych.io.formats.kinds import READS as READS
from diptych.io.formats.kinds import LeftOut as LeftOut
from diptych.io.formats.kinds import left_out as left_out
from diptych.io.formats.kinds import why_unknown as why_unknown
from diptych.io.formats.kinds import why_unread as why_unread
from diptych.io.formats.png import SIGNATURE, opened_png
from diptych.io.formats.tiff import complete_tiff

Source = str | Path | IO[bytes]

_END_OF_JPEG = b"\xff\xd9"
_NO_ALPHA_IF_NOUGHT = ("BMP", "DIB", "TGA", "ICO", "CUR")


@contextmanager
def opened(source: Source) -> Iterator[ImageFile.ImageFile]:
    """A picture as Pillow opens it, with what its file says besides in ``info``:

    - ``cicp``: colour primaries, transfer (both of ITU-T H.273) and whether its range is full;
    - ``crop``: left, upper, right, lower border of its clean aperture, in pixels as they are stored;
    - ``covered``: left, upper, right, lower border of a first frame that does not fill its canvas;
    - ``bits``: of a channel, where Pillow gives fewer;
    - ``note``: a sentence on what was chosen.

    Raises:
        PictureError: if it is a camera raw file.
    """
    _plug_in()
    with _open(source) as image:
        complete = _BY_FORMAT.get(image.format or "")
        if complete:
            complete(image, source)
        yield image


def load(image: ImageFile.ImageFile, source: Source, notes: list[str]) -> NDArray[np.uint16] | None:
    """Decode what :func:`opened` gave.

    Returns:
        Values ``(H, W, C)`` of pictures whose 16 bits a channel Pillow would cut to 8 (grey and alpha, RGB, RGB and
        alpha); else None, and the pixels are in ``image``.
    """
    raw = _rawmode(image.tile[0].args) if image.tile else ""
    pair = _SIXTEEN.get((image.mode, raw))
    if pair:
        return _sixteen(image, source, pair)
    try:
        image.load()
    except OSError:
        if image.format not in ("JPEG", "MPO") or not _complete_jpeg(image, source):
            raise
        notes.append("its file ends early, after the last pixel")
    return None


def count_pictures(source: Source) -> int | None:
    """How many pictures are in a file; None if what stands behind the first is damaged."""
    try:
        with _rewound(source) as file, Image.open(file) as image:
            return int(getattr(image, "n_frames", 1))
    except Exception:  # of what is not read anyway
        return None


def ignores_alpha(image: Image.Image, alpha: Image.Image) -> bool:
    """Whether a file's alpha means nothing: formats that got it late leave it at nought in opaque pictures."""
    if image.format not in _NO_ALPHA_IF_NOUGHT:
        return False
    return image.info.get("bits_of_alpha") == 0 or alpha.getextrema() == (0, 0)


@cache
def _plug_in() -> None:
    if find_spec("pillow_heif"):
        import pillow_heif

        pillow_heif.register_heif_opener()
    if find_spec("pillow_jxl"):
        import pillow_jxl  # noqa: F401


@contextmanager
def _rewound(source: Source) -> Iterator[Any]:
    """What Pillow may open: a stream is read from its beginning and left where it was."""
    if isinstance(source, (str, Path)):
        yield source
        return
    place = source.tell()
    source.seek(0)
    try:
        yield source
    finally:
        source.seek(place)


def _read(source: Source) -> bytes:
    with _rewound(source) as file:
        return Path(file).read_bytes() if isinstance(file, (str, Path)) else file.read()


def head_of(source: Source) -> bytes:
    with suppress(OSError, ValueError), _rewound(source) as file:
        if not isinstance(file, (str, Path)):
            return file.read(64)
        with open(file, "rb") as stream:
            return stream.read(64)
    return b""


def _open(source: Source) -> ImageFile.ImageFile:
    head = head_of(source)
    if head.startswith(SIGNATURE):
        return opened_png(_read(source))
    place = source if isinstance(source, (str, Path)) else BytesIO(_read(source))
    if head.startswith(b"\xff\xd8\xff"):  # Pillow's choice between JPEG and MPO fails on damaged lists of pictures
        return JpegImagePlugin.JpegImageFile(place)
    return Image.open(place)


# --- depth


def _rawmode(args: Any) -> str:
    return str(args if isinstance(args, str) else args[0] if args else "")


_NATIVE, _SWAPPED = ("16L", "16B") if sys.byteorder == "little" else ("16B", "16L")
_SIXTEEN: dict[tuple[str, str], tuple[str, str, str]] = {("RGBA", "LA;16B"): ("RGBA", "RGBA", "")}
"""By Pillow's mode and raw mode: the mode to decode to, and the raw modes that give high and low bytes.

What unpacks the high bytes of one byte order unpacks the low bytes of the other. Grey with alpha is four bytes a
pixel as they are.
"""
for _mode, _raw in (("RGB", "RGB"), ("RGBA", "RGBA"), ("RGB", "RGBX"), ("RGBA", "RGBa")):
    for _order, _other in (("16L", "16B"), ("16B", "16L"), ("16N", _SWAPPED)):
        _plain = _raw.upper()
        _high = f"{_plain};{_NATIVE if _order == '16N' else _order}"
        _SIXTEEN[_mode, f"{_raw};{_order}"] = (_mode, _high, f"{_plain};{_other}")


def _sixteen(image: ImageFile.ImageFile, source: Source, how: tuple[str, str, str]) -> NDArray[np.uint16]:
    mode, high, low = how
    associated = _rawmode(image.tile[0].args).startswith("RGBa")
    first = _decoded(image, mode, high)
    if not low:
        values: NDArray[np.uint16] = np.ascontiguousarray(first).view(">u2").astype(np.uint16)
        return values
    values = np.left_shift(first, 8, dtype=np.uint16)
    with opened(source) as again:
        if image.tell() != again.tell():
            again.seek(image.tell())
        values |= _decoded(again, mode, low)
    if associated:
        alpha = values[..., 3:].astype(np.float32)
        scaled = values[..., :3] * (65535 / np.maximum(alpha, 1))
        values[..., :3] = np.minimum(np.rint(scaled), 65535)
    return values


def _decoded(image: ImageFile.ImageFile, mode: str, raw: str) -> NDArray[np.uint8]:
    image._mode = mode
    for place, tile in enumerate(image.tile):
        args = raw if isinstance(tile.args, str) else (raw, *(tile.args or ())[1:])
        image.tile[place] = tile._replace(args=args)
    image.load()
    return np.asarray(image)


# --- JPEG


def _complete_jpeg(image: ImageFile.ImageFile, source: Source) -> bool:
    """Decode a JPEG file that ends early, if only what stands behind its last pixel is missing.

    Missing pixels would be made from whatever bytes follow: then different bytes give different pictures.
    """
    data = _read(source)
    data = data[: -1 if data.endswith(b"\xff") else None]
    ends = (_END_OF_JPEG, b"\x55" * 64 + _END_OF_JPEG, b"\xaa" * 64 + _END_OF_JPEG)
    first, *others = (Image.open(BytesIO(data + end), formats=["JPEG"]) for end in ends)
    first.load()
    if any(np.not_equal(np.asarray(first), np.asarray(other)).any() for other in others):
        return False
    image.im, image.tile = first.im, []
    return True


# --- what Pillow leaves aside


def _complete_heif(image: Image.Image, source: Source) -> None:
    profile = image.info.get("nclx_profile")
    if profile and not image.info.get("icc_profile"):
        image.info["cicp"] = int(profile["color_primaries"]), int(profile["transfer_characteristics"]), True
    image.info["bits"] = image.info.get("bit_depth", 8)


def _complete_gif(image: ImageFile.ImageFile, source: Source) -> None:
    image.info["covered"] = image.tile[0].extents if image.tile else (0, 0, 0, 0)


def _complete_webp(image: Image.Image, source: Source) -> None:
    """Pillow shows what a frame of an animation without alpha leaves free in black."""
    data = _read(source)
    place = 12
    while place + 24 <= len(data) and image.mode == "RGB":
        kind, size = struct.unpack_from("<4sI", data, place)
        if kind == b"ANMF":
            left, upper, width, height = (
                int.from_bytes(data[start : start + 3], "little") for start in range(place + 8, place + 20, 3)
            )
            image.info["covered"] = 2 * left, 2 * upper, 2 * left + width + 1, 2 * upper + height + 1
            return
        if kind in (b"VP8 ", b"VP8L"):
            return
        place += 8 + size + size % 2


def _complete_tga(image: Image.Image, source: Source) -> None:
    head = head_of(source)
    image.info["bits_of_alpha"] = head[17] & 15 if len(head) > 17 else 0


_BY_FORMAT = {
    "AVIF": lambda image, source: complete_avif(image, _read(source)),
    "GIF": _complete_gif,
    "HEIF": _complete_heif,
    "TIFF": lambda image, source: complete_tiff(image, head_of(source)),
    "TGA": _complete_tga,
    "WEBP": _complete_webp,
}
