"""PNG: the chunks that make pixels, and what the others mean."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import BytesIO
from typing import Any

from PIL import Image, ImageFile

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_UNPACKED_BYTES = 1 << 26
"""Largest colour profile, or XMP packet, that is unpacked."""


def opened_png(data: bytes) -> ImageFile.ImageFile:
    """A PNG without what Pillow could stumble over: only the chunks that make pixels, and what the others mean."""
    chunks = list(_chunks(data))
    pixels = [data[start - 8 : end] for kind, start, end in chunks if kind in _PIXELS]
    image = Image.open(BytesIO(b"".join([SIGNATURE, *pixels])), formats=["PNG"])
    depth = data[24]
    others: dict[bytes, bytes] = {}
    for kind, start, end in chunks:
        body = data[start : end - 4]
        if kind not in _PIXELS and data[end - 4 : end] == zlib.crc32(kind + body).to_bytes(4, "big"):
            others.setdefault(kind, body)
            if kind == b"iTXt" and body.startswith(b"XML:com.adobe.xmp\0"):
                others[b"XMP"] = body[18:]
    image.info.update(_info(others))
    key = image.info.get("transparency")
    top = (1 << depth) - 1
    if image.mode == "L" and isinstance(key, int):
        image.info["transparency"] = (key & top) * 255 // top
    elif image.mode == "RGB" and isinstance(key, tuple):
        image.info["transparency"] = tuple(value & top for value in key)
    return image


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each chunk, where its body begins, and where the chunk ends with its checksum."""
    place = len(SIGNATURE)
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        yield kind, place + 8, place + 12 + length
        place += 12 + length
        if kind == b"IEND":
            return


def _info(chunks: Mapping[bytes, bytes]) -> dict[str, Any]:
    """What ancillary chunks say, under the names that Pillow gives it where it does."""
    info: dict[str, Any] = {"pictures": int.from_bytes(chunks.get(b"acTL", b"")[:4], "big") or 1}
    with suppress(struct.error):
        if b"cICP" in chunks:
            primaries, transfer, matrix, full = struct.unpack(">4B", chunks[b"cICP"])
            if matrix == 0:
                info["cicp"] = primaries, transfer, bool(full)
    with suppress(struct.error):
        if b"gAMA" in chunks:
            info["gamma"] = struct.unpack(">I", chunks[b"gAMA"])[0] / 100_000
    with suppress(struct.error):
        if b"cHRM" in chunks:
            info["chromaticity"] = tuple(value / 100_000 for value in struct.unpack(">8I", chunks[b"cHRM"]))
    if b"sRGB" in chunks:
        info["srgb"] = chunks[b"sRGB"][:1]
    if b"iCCP" in chunks:
        packed = chunks[b"iCCP"].partition(b"\0")[2][1:]
        info["icc_profile"] = _unpacked(packed) or b"damaged"
    if b"eXIf" in chunks:
        info["exif"] = b"Exif\x00\x00" + chunks[b"eXIf"]
    if b"XMP" in chunks:
        compressed, text = chunks[b"XMP"][:1], chunks[b"XMP"][2:].split(b"\0", 2)[-1]
        info["xmp"] = _unpacked(text) if compressed == b"\1" else text
    return info


def _unpacked(data: bytes) -> bytes:
    """zlib's data, or nothing if they are damaged or too large."""
    unpacker = zlib.decompressobj()
    with suppress(zlib.error):
        found = unpacker.decompress(data, _UNPACKED_BYTES)
        return found if unpacker.eof else b""
    return b""
