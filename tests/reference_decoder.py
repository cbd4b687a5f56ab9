"""The decoder of docs/bitstream.md as a plain program: the bytes of a file to its latents, in integers.

Written from the specification, with nothing of the package in it. The tests hold the codec to it.
"""

import hashlib
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from bitstream.reference_coder import RangeDecoder, decode_chunk

Arrays = Mapping[str, np.ndarray]
"""The arrays of a codec's weights file, by name."""


class Header(NamedTuple):
    """Quality in 1/100, side of a tile in pixels or 0, code of the view hint, the model's bytes, size in pixels."""

    quality: int
    tile: int
    hint: int
    model: bytes
    width: int
    height: int


def latents(data: bytes, arrays: Arrays) -> np.ndarray:
    """The latents of a file: ``(M, h, w)`` int32 in 1/256.

    Raises:
        ValueError: if the file is not exactly as specified, or of another model.
    """
    header, payloads = parse(data)
    require(header.model == model_id(arrays), "another model")
    knot = (header.quality + 500) // 1000
    height, width = ceil(header.height, 16), ceil(header.width, 16)
    plane = np.empty((len(arrays["h_s.8.weight"]) // 2, height, width), np.int32)
    side = header.tile // 16 or max(height, width)
    corners = [(top, left) for top in range(0, height, side) for left in range(0, width, side)]
    for (top, left), payload in zip(corners, payloads, strict=True):
        part = plane[:, top : top + side, left : left + side]
        part[...] = decode_tile(payload, part.shape[1:], knot, arrays)
    return plane


def require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


def ceil(a: int, b: int) -> int:
    return -(-a // b)


# Section 1


class Cursor:
    """Reads a file from its start."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.offset = 0

    def take(self, count: int) -> bytes:
        require(count <= len(self.data) - self.offset, "truncated")
        self.offset += count
        return self.data[self.offset - count : self.offset]

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "little")

    def varint(self) -> int:
        number = 0
        for place in range(5):
            byte = self.number(1)
            number += (byte % 128) << 7 * place
            if byte < 128:
                require(byte > 0 or place == 0, "a number with a second spelling")
                return number
        raise ValueError("a number of more than five bytes")

    def past(self) -> bytes:
        return self.data[: self.offset]


def parse(data: bytes) -> tuple[Header, list[bytes]]:
    """Header and payloads of a file."""
    file = Cursor(data)
    header = read_header(file)
    tiles = 1
    if header.tile:
        tiles = ceil(header.width, header.tile) * ceil(header.height, header.tile)
    require(5 * tiles <= len(data) - file.offset, "truncated")
    lengths = [file.varint() for _ in range(tiles)]
    start = file.past()
    payloads = []
    for number, length in enumerate(lengths):
        payload = file.take(length)
        covered = start + number.to_bytes(4, "little") + payload
        require(file.number(4) == zlib.crc32(covered), "a payload's checksum does not match")
        payloads.append(payload)
    require(file.offset == len(data), "bytes after the end")
    return header, payloads


def read_header(file: Cursor) -> Header:
    require(file.take(3) == b"DIP", "another kind of file")
    require(file.number(1) == 1, "another version")
    quality, layout, model = file.number(2), file.number(1), file.take(4)
    width, height = file.varint(), file.varint()
    expected = crc16(file.past())
    require(file.number(2) == expected, "the header's checksum does not match")
    require(quality < 2**14, "a later version")
    hint, tile = divmod(layout, 32)
    require(quality <= 10000 and tile <= 16, "a value out of range")
    require(0 < width < 2**24 and 0 < height < 2**24 and width * height <= 2**32, "an impossible size")
    require(tile > 0 or ceil(width, 64) * ceil(height, 64) <= 1024, "too large for one tile")
    return Header(quality, 64 * tile, hint, model, width, height)


def crc16(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = crc << 1 ^ (0x11021 if crc & 0x8000 else 0)
    return crc


# Sections 2 to 4


def table_rows(arrays: Arrays) -> list[list[int]]:
    """The frequencies in use of every table."""
    lengths = 2 * arrays["tables.half_width"].astype(int) + 2
    return [row[:length].tolist() for row, length in zip(arrays["tables.frequencies"], lengths, strict=True)]


def read_chunk(coder: RangeDecoder, tables: np.ndarray, rows: list[list[int]]) -> np.ndarray:
    """Symbols, int64, in the shape of ``tables``, the table of each."""
    require(bool(np.all(tables < len(rows))), "a table that does not exist")
    symbols = np.array(decode_chunk(coder, tables.ravel().tolist(), rows), np.int64)
    require(bool(np.all(np.abs(symbols) < 2**20)), "a symbol out of range")
    return symbols.reshape(tables.shape)


# Section 5


def model_id(arrays: Arrays) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        if name in ("passes", "gains.log_inverse") or name.split(".")[0] in ("tables", "prior", "h_s", "context"):
            array = arrays[name]
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode() + array.tobytes())
    return digest.digest()[:4]


def decode_tile(payload: bytes, shape: tuple[int, ...], knot: int, arrays: Arrays) -> np.ndarray:
    """Latents of one tile, int64: M channels of this height and width."""
    height, width = shape
    rows = table_rows(arrays)
    coder = RangeDecoder(payload)
    places = np.ones((ceil(height, 4), ceil(width, 4)), np.int64)
    symbols = read_chunk(coder, np.multiply.outer(arrays["prior.index"][knot], places), rows)
    z = 256 * symbols + arrays["prior.mean"][knot][:, None, None]
    features, first = (x[:, :height, :width] for x in h_s(z, arrays))
    which = np.tile(arrays["passes"], (1, ceil(height, 2), ceil(width, 2)))[:, :height, :width]
    y = np.zeros(which.shape, np.int64)
    for number in range(1 + int(arrays["passes"].max())):
        prediction = first + context(number, y, features, arrays) if number else first
        mean, tables = np.split(prediction, 2)
        tables = ((8 * tables + 24 * 256 + 128) >> 8).clip(0, 63)
        now = which == number
        y[now] = 256 * read_chunk(coder, tables[now], rows) + mean[now]
    require(coder.is_complete(), "the payload does not end where its symbols do")
    return y


def h_s(x: np.ndarray, arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Features and prediction."""
    for first in (0, 3, 6):
        spatial, expand, project = (layer(f"h_s.{first + n}", arrays) for n in range(3))
        features = pointwise(depthwise(x, *spatial), *expand).clip(0)
        x = pointwise(features, *project)
        if first < 6:
            x = shuffle(x)
    return features, x


def context(number: int, known: np.ndarray, features: np.ndarray, arrays: Arrays) -> np.ndarray:
    """What is added to the prediction in a pass after the first."""
    spatial, expand, project = (layer(f"context.{3 * number - 3 + n}", arrays) for n in range(3))
    around = depthwise(known.clip(-(2**18), 2**18), *spatial)
    return pointwise(pointwise(np.concatenate([around, features]), *expand).clip(0), *project)


def layer(name: str, arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    return arrays[f"{name}.weight"].astype(np.int64), arrays[f"{name}.bias"].astype(np.int64)


def pointwise(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return rescale(np.tensordot(weight, x, 1) + bias[:, None, None])


def depthwise(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    taps = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (1, 1), (1, 1))), (3, 3), (1, 2))
    return rescale(np.einsum("cyxij,cij->cyx", taps, weight.reshape(-1, 3, 3)) + bias[:, None, None])


def rescale(total: np.ndarray) -> np.ndarray:
    return ((total + 2048) >> 12).clip(-(2**18), 2**18)


def shuffle(x: np.ndarray) -> np.ndarray:
    channels, height, width = x.shape
    cells = x.reshape(channels // 4, 2, 2, height, width)
    return cells.transpose(0, 3, 1, 4, 2).reshape(channels // 4, 2 * height, 2 * width)
