"""Picture files byte by byte, with what common writers do not write."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from PIL import ImageCms

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(samples: np.ndarray, depth: int, colour_type: int, *ancillary: bytes, after: bytes = b"") -> bytes:
    """A PNG of samples ``(H, W, C)`` with ``ancillary`` chunks before its pixels and ``after`` behind them."""
    height, width, _ = samples.shape
    if depth == 16:
        rows = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    elif depth == 8:
        rows = samples.astype(np.uint8).reshape(height, -1)
    else:
        bits = (samples.reshape(height, -1, 1) >> np.arange(depth - 1, -1, -1)) & 1
        rows = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(lines.tobytes()))
    return b"".join([SIGNATURE, chunk(b"IHDR", header), *ancillary, pixels, after, chunk(b"IEND", b"")])


def profile(gamma: float, space: str = "RGB") -> bytes:
    """An ICC profile with sRGB's primaries and a curve of its own."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for entry in range(132, 132 + 12 * struct.unpack_from(">I", data, 128)[0], 12):
        name, start = struct.unpack_from(">4sI", data, entry)
        if name.endswith(b"TRC"):
            data[start : start + 16] = struct.pack(">4sIHHi", b"para", 0, 0, 0, round(gamma * 65536))
            if space == "GRAY" and name == b"rTRC":
                data[entry : entry + 4] = b"kTRC"
    data[16:20] = space.encode().ljust(4)
    return bytes(data).replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))


def tiff(pages: Sequence[tuple[np.ndarray, dict[int, int]]], order: str = "<") -> bytes:
    """An uncompressed TIFF; each page is samples ``(H, W, C)``, uint8 or uint16, and tags (one number each)."""
    data = bytearray({"<": b"II*\0", ">": b"MM\0*"}[order] + bytes(4))
    link = 4
    for samples, extra in pages:
        strip = len(data)
        data += samples.astype(samples.dtype.newbyteorder(order)).tobytes()
        height, width, channels = samples.shape
        depth = 8 * samples.itemsize
        bits = len(data)
        data += struct.pack(f"{order}{channels}H", *[depth] * channels) + bytes(-(2 * channels) % 4)
        tags = {
            256: (4, 1, width),
            257: (4, 1, height),
            258: (3, channels, bits if channels > 2 else None),
            259: (3, 1, 1),
            262: (3, 1, 1 if channels < 3 else 2),
            273: (4, 1, strip),
            277: (3, 1, channels),
            278: (4, 1, height),
            279: (4, 1, samples.nbytes),
        } | {tag: (4, 1, value) for tag, value in extra.items()}
        struct.pack_into(f"{order}I", data, link, len(data))
        data += struct.pack(f"{order}H", len(tags))
        for tag, (kind, count, value) in sorted(tags.items()):
            data += struct.pack(f"{order}HHI", tag, kind, count)
            if value is None:
                data += struct.pack(f"{order}2H", depth, depth if channels == 2 else 0)
            elif kind == 3 and count == 1:
                data += struct.pack(f"{order}HH", value, 0)
            else:
                data += struct.pack(f"{order}I", value)
        link = len(data)
        data += bytes(4)
    return bytes(data)


def box(kind: bytes, *body: bytes) -> bytes:
    content = b"".join(body)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def with_properties(avif: bytes, *properties: bytes) -> bytes:
    """An AVIF of Pillow's with more properties of its one picture."""
    start = avif.index(b"ipco") - 4
    (size,) = struct.unpack_from(">I", avif, start)
    ipco = avif[start : start + size]
    ipma_start = start + size
    (ipma_size,) = struct.unpack_from(">I", avif, ipma_start)
    ipma = avif[ipma_start : ipma_start + ipma_size]
    count, place = 0, 8
    while place < len(ipco):
        place += struct.unpack_from(">I", ipco, place)[0]
        count += 1
    ipco = box(b"ipco", ipco[8:], *properties)
    kept = ipma[19 : 19 + ipma[18]]
    essential = 0x80
    more = kept + bytes(essential + count + 1 + k for k in range(len(properties)))
    n = len(kept)
    ipma = box(b"ipma", ipma[8:18], bytes([n + len(properties)]), more)
    out = bytearray(avif[:start] + ipco + ipma + avif[ipma_start + ipma_size :])
    grown = len(out) - len(avif)
    for kind in (b"meta", b"iprp"):
        place = out.index(kind) - 4
        struct.pack_into(">I", out, place, struct.unpack_from(">I", out, place)[0] + grown)
    iloc = out.index(b"iloc") + 4
    # version 0, sizes 4 4 0 0, one item of one extent
    (offset,) = struct.unpack_from(">I", out, iloc + 14)
    struct.pack_into(">I", out, iloc + 14, offset + grown)
    return bytes(out)
