"""Ways to damage a .dip file, for fuzz.py: some know nothing of the format, some know where its fields are.

Each takes a source of random numbers, the file, and another one; it returns new bytes. The format is written down
here once more, without any check: the program under test would not write what is to be tested.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from zlib import crc32

_SIDES = (0, 1, 15, 16, 17, 63, 64, 65, 127, 300, 1023, 1024, 1025, 2047, 2048, 2049, 4096, 2**16, 2**22, 2**24 - 1)
_NUMBERS = (0, 1, 2, 3, 4, 5, 127, 128, 16383, 16384, 2**21, 2**28, 2**32 - 1, 2**32, 2**35 - 1)
_QUALITIES = (0, 1, 499, 500, 4000, 9500, 9999, 10000, 10001, 2**14 - 1, 2**14, 2**15, 2**16 - 1)


@dataclass(frozen=True)
class Loose:
    """A file taken apart as far as that goes, without asking whether it makes sense."""

    fixed: bytes  # magic to model
    width: int
    height: int
    header_checksum: bytes
    lengths: tuple[int, ...]
    tiles: tuple[tuple[bytes, bytes], ...]  # payload, checksum
    rest: bytes

    @staticmethod
    def of(data: bytes) -> Loose | None:
        """The parts of a file; None if they cannot be found."""
        try:
            width, offset = _read(data, 11)
            height, offset = _read(data, offset)
            checksum, offset = data[offset : offset + 2], offset + 2
            side = 64 * (data[6] & 31)
            count = -(-width // side) * -(-height // side) if side else 1
            if count > len(data):
                return None
            lengths, tiles = [], []
            for _ in range(count):
                length, offset = _read(data, offset)
                lengths.append(length)
        except IndexError:
            return None
        for length in lengths:
            end = offset + length
            tiles.append((data[offset:end], data[end : end + 4]))
            offset = end + 4
        return Loose(data[:11], width, height, checksum, tuple(lengths), tuple(tiles), data[offset:])

    @property
    def header(self) -> bytes:
        return self.fixed + _varint(self.width) + _varint(self.height)

    @property
    def start(self) -> bytes:
        return self.header + self.header_checksum + b"".join(map(_varint, self.lengths))

    def joined(self) -> bytes:
        return self.start + b"".join(payload + checksum for payload, checksum in self.tiles) + self.rest

    def sealed(self) -> Loose:
        """The same with checksums that fit."""
        opened = replace(self, header_checksum=crc_hqx(self.header, 0).to_bytes(2, "little"))
        seed = crc32(opened.start)
        tiles = (
            (payload, crc32(payload, crc32(number.to_bytes(4, "little"), seed)).to_bytes(4, "little"))
            for number, (payload, _) in enumerate(self.tiles)
        )
        return replace(opened, tiles=tuple(tiles))


def sealed(data: bytes) -> bytes:
    """A file with checksums that fit, if its parts can be found."""
    parts = Loose.of(data)
    return parts.sealed().joined() if parts else data


def _flip_bits(source: Random, data: bytes, other: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(source.choice((1, 1, 1, 2, 3, 8))):
        changed[source.randrange(len(data))] ^= 1 << source.randrange(8)
    return bytes(changed)


def _set_bytes(source: Random, data: bytes, other: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(source.choice((1, 1, 2, 4))):
        changed[source.randrange(len(data))] = source.choice((0, 1, 0x7F, 0x80, 0xFF, source.randrange(256)))
    return bytes(changed)


def _cut_off(source: Random, data: bytes, other: bytes) -> bytes:
    return data[: source.randrange(len(data))]


def _extend(source: Random, data: bytes, other: bytes) -> bytes:
    count = source.choice((1, 2, 3, 4, 5, 8, 100))
    return data + source.choice((bytes(count), source.randbytes(count), data[-count:], data, other))


def _move_piece(source: Random, data: bytes, other: bytes) -> bytes:
    """A piece cut out, doubled, or put somewhere else."""
    start = source.randrange(len(data))
    piece = data[start : start + source.choice((1, 1, 2, 4, 30))]
    without = data[:start] + data[start + len(piece) :]
    place = source.randrange(len(without) + 1)
    return source.choice((without, data[:start] + piece + data[start:], without[:place] + piece + without[place:]))


def _splice(source: Random, data: bytes, other: bytes) -> bytes:
    """The head of one file and the tail of another."""
    start = source.randrange(len(data))
    same_place = min(start, len(other))
    return data[:start] + other[source.choice((same_place, source.randrange(len(other)))) :]


def _edit_header(source: Random, data: bytes, other: bytes) -> bytes:
    parts, fixed = _parts(data), bytearray(data[:11])
    field = source.choice(("size", "size", "size", "tile", "quality", "version", "model"))
    if field == "size":
        width, height = (source.choice((side, source.choice(_SIDES))) for side in (parts.width, parts.height))
        parts = replace(parts, width=width, height=height)
    elif field == "quality":
        fixed[4:6] = source.choice((*_QUALITIES, source.randrange(2**16))).to_bytes(2, "little")
    elif field == "tile":
        fixed[6] = source.choice((0, 1, 2, 16, 17, 31)) | source.randrange(8) << 5
    elif field == "version":
        fixed[3] = source.randrange(256)
    else:
        fixed[source.randrange(7, 11)] = source.randrange(256)
    return replace(parts, fixed=bytes(fixed)).joined()


def _edit_lengths(source: Random, data: bytes, other: bytes) -> bytes:
    parts = _parts(data)
    lengths = list(parts.lengths)
    place = source.randrange(len(lengths))
    near = max(0, lengths[place] + source.choice((-5, -4, -1, 1, 4, 5)))
    how = source.choice(("near", "near", "any", "drop", "add", "swap"))
    if how == "drop":
        del lengths[place]
    elif how == "add":
        lengths.insert(place, source.choice(_NUMBERS))
    elif how == "swap":
        with_place = source.randrange(len(lengths))
        lengths[place], lengths[with_place] = lengths[with_place], lengths[place]
    else:
        lengths[place] = near if how == "near" else source.choice(_NUMBERS)
    return replace(parts, lengths=tuple(lengths)).joined()


def _edit_payload(source: Random, data: bytes, other: bytes) -> bytes:
    """A payload replaced, by one of its own kind as well, and its length with it."""
    parts = _parts(data)
    place = source.randrange(len(parts.tiles))
    payload, checksum = parts.tiles[place]
    cut = source.randrange(len(payload) + 1)
    foreign, _ = source.choice(_parts(other).tiles + parts.tiles)
    payload = source.choice(
        (
            b"",
            payload[:cut],
            payload + source.choice((b"\0", b"\1", b"\xff" * 4, source.randbytes(9))),
            foreign,
            source.randbytes(len(payload)),
            payload[:cut] + b"\xff" * (len(payload) - cut),
            payload[:cut] + source.randbytes(len(payload) - cut),
        )
    )
    tiles = (*parts.tiles[:place], (payload, checksum), *parts.tiles[place + 1 :])
    lengths = (*parts.lengths[:place], len(payload), *parts.lengths[place + 1 :])
    return replace(parts, tiles=tiles, lengths=lengths).joined()


def _claim_much(source: Random, data: bytes, other: bytes) -> bytes:
    """A file that is well formed and claims as large a picture as its few bytes may."""
    columns, rows = source.choice(((1, 1), (1, 1), (1, 1), (2, 1), (1, 3), (4, 4), (19, 1)))
    side = 64 * source.choice((0, 1, 1, 2, 4, 16))
    size = side * columns, side * rows
    if side == 0:
        size = source.choice(((2048, 2048), (2**22, 1), (1, 2**16), (2**16, 64), (300, 200), (2048, 2049)))
        columns, rows = 1, 1
    fixed = bytearray(data[:11])
    fixed[6] = side // 64
    payloads = [source.choice((b"", b"\1", source.randbytes(3))) for _ in range(columns * rows)]
    tiles = tuple((payload, bytes(4)) for payload in payloads)
    return Loose(bytes(fixed), *size, bytes(2), tuple(map(len, payloads)), tiles, b"").joined()


MUTATIONS: dict[str, Callable[[Random, bytes, bytes], bytes]] = {
    "bits flipped": _flip_bits,
    "bytes set": _set_bytes,
    "cut off": _cut_off,
    "extended": _extend,
    "piece moved": _move_piece,
    "spliced with another file": _splice,
    "header field": _edit_header,
    "length field": _edit_lengths,
    "payload replaced": _edit_payload,
    "large claim": _claim_much,
}
EXPENSIVE = "large claim"
"""The kind that takes most of the time, and is to be rarer than the others."""


def _parts(data: bytes) -> Loose:
    parts = Loose.of(data)
    assert parts
    return parts


def _varint(number: int) -> bytes:
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def _read(data: bytes, offset: int) -> tuple[int, int]:
    number = place = 0
    while True:
        byte = data[offset]
        number |= (byte & 0x7F) << place
        offset, place = offset + 1, place + 7
        if byte < 0x80:
            return number, offset
