"""ISO base media files (AVIF): properties of the picture that Pillow leaves aside."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress

from PIL import Image


def complete_avif(image: Image.Image, data: bytes) -> None:
    with suppress(struct.error, IndexError, ZeroDivisionError, ValueError):
        for kind, body in _properties(data):
            if kind == b"colr" and body[:4] == b"nclx" and "icc_profile" not in image.info:
                primaries, transfer = struct.unpack_from(">HH", body, 4)
                image.info["cicp"] = primaries, transfer, True  # the decoder has made the range full
            elif kind == b"clap":
                _note_crop(image, struct.unpack(">IIIIiIiI", body[:32]))
            elif kind == b"pixi":
                image.info["bits"] = max(body[5 : 5 + body[4]])


def _note_crop(image: Image.Image, clap: tuple[int, ...]) -> None:
    width, height = round(clap[0] / clap[1]), round(clap[2] / clap[3])
    left = round((image.width - clap[0] / clap[1]) / 2 + clap[4] / clap[5])
    upper = round((image.height - clap[2] / clap[3]) / 2 + clap[6] / clap[7])
    box = left, upper, left + width, upper + height
    if 0 <= left < box[2] <= image.width and 0 <= upper < box[3] <= image.height:
        image.info["crop"] = box


def _properties(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Properties of the primary item, each with its body."""
    meta = _inside(data, 0, len(data), b"meta", skip=4)
    pitm = _inside(data, *meta, b"pitm")
    item = int.from_bytes(data[pitm[0] + 4 : pitm[0] + (8 if data[pitm[0]] else 6)], "big")
    iprp = _inside(data, *meta, b"iprp")
    properties = list(_boxes(data, *_inside(data, *iprp, b"ipco")))
    place, _ = _inside(data, *iprp, b"ipma")
    wide_item, wide_index = data[place] > 0, data[place + 3] & 1
    (count,) = struct.unpack_from(">I", data, place + 4)
    place += 8
    for _ in range(count):
        owner, n = struct.unpack_from(">IB" if wide_item else ">HB", data, place)
        place += 5 if wide_item else 3
        for _ in range(n):
            index = struct.unpack_from(">H", data, place)[0] & 0x7FFF if wide_index else data[place] & 0x7F
            place += 2 if wide_index else 1
            if owner == item and index:
                kind, start, end = properties[index - 1]
                yield kind, data[start:end]


def _inside(data: bytes, start: int, end: int, wanted: bytes, skip: int = 0) -> tuple[int, int]:
    """Where the body of the first box of a kind lies."""
    found = next(((first, last) for kind, first, last in _boxes(data, start, end) if kind == wanted), None)
    if found is None:
        raise ValueError(wanted)
    return found[0] + skip, found[1]


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, body)
            body += 8
        last = end if size == 0 else start + size
        if last < body:
            return
        yield kind, body, min(last, end)
        start = last
