"""TIFF: which of its pictures is meant, and what its values are."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

from PIL import Image, TiffImagePlugin

from diptych.errors import PictureError

_REDUCED, _MASK = 1, 4
_DNG_VERSION, _SENSOR_VALUES = 50706, (32803, 34892)


def complete_tiff(image: Image.Image, head: bytes) -> None:
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    pages, children = _directories(image)
    every = [*pages, *children]
    if head[8:10] == b"CR" or any(_DNG_VERSION in each or each.get(262) in _SENSOR_VALUES for each in every):
        raise PictureError(_raw_sentence(image))
    full = next((k for k, each in enumerate(pages) if not each.get(254, 0) & (_REDUCED | _MASK)), None)
    if full is None and any(each.get(256, 0) > image.width for each in children):
        raise PictureError(_raw_sentence(image))
    if full:
        image.seek(full)
        image.info["note"] = "its first picture is a preview, the first in full size is kept"
    bits = image.tag_v2.get(258, (1,))[0]
    if bits in (10, 12, 14) and image.mode.startswith("I;16"):
        image.info["top"] = (1 << bits) - 1
    image.info["white_is_nought"] = image.tag_v2.get(262) == 0 and image.mode.startswith("I;16")


def _raw_sentence(image: Image.Image) -> str:
    return (
        f"it is a camera raw file, of which only a preview of {image.width} x {image.height} could be read: "
        "export a JPEG or TIFF file from it"
    )


def _directories(image: TiffImagePlugin.TiffImageFile) -> tuple[list[Mapping[int, Any]], list[Mapping[int, Any]]]:
    """Tags of the pages, and of the pictures that stand inside of them, as far as they can be read."""
    file = image.fp
    assert file is not None
    place = file.tell()
    file.seek(0)
    header = file.read(8)
    header += file.read(8) if header[2:3] == b"\x2b" or header[3:4] == b"\x2b" else b""
    pages: list[Mapping[int, Any]] = []
    children: list[Mapping[int, Any]] = []
    seen: set[int] = set()
    offset = TiffImagePlugin.ImageFileDirectory_v2(header).next
    with suppress(Exception):  # what cannot be read here tells nothing
        while offset and offset not in seen and len(seen) < 1000:
            seen.add(offset)
            page = _directory(file, header, offset)
            pages.append(dict(page))
            inner = page.get(330, ())
            inner = inner if isinstance(inner, tuple) else (inner,)
            children += [dict(_directory(file, header, each)) for each in inner]
            offset = page.next
    file.seek(place)
    return pages, children


def _directory(file: IO[bytes], header: bytes, offset: int) -> TiffImagePlugin.ImageFileDirectory_v2:
    found = TiffImagePlugin.ImageFileDirectory_v2(header)
    file.seek(offset)
    found.load(file)
    return found
