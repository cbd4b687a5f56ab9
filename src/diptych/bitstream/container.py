"""The ``.dip`` file: a header, the lengths of the tiles, and the tiles, each with a checksum.

::

    offset  size  header
         0     3  "DIP"
         3     1  format version, 1
         4     2  quality in 1/100, 0 .. 10000 (bits 0-13); reserved, 0 (bits 14-15)
         6     1  tile side / 64, 0 .. 16 (bits 0-4), 0: the picture is one tile; view hint (bits 5-7),
                  0: none, k = 1 .. 7: (k - 1) / 6
         7     4  model id
        11   1-4  width in pixels, varint
             1-4  height in pixels, varint
               2  CRC-16 of the header up to here
                  tile lengths
             1-5  length of a payload, varint; once per tile
                  tiles
           0-...  payload
               4  CRC-32 of header, tile lengths, tile number and payload

Numbers are little-endian; a varint has 7 bits a byte, lowest first, and bit 7 set on all but its last byte.
Tiles follow each other in reading order. ``docs/bitstream.md`` is the full specification.

A small file cannot claim a large picture. What decoding costs is counted in squares of 64 x 64 pixels, those at the
border included that the picture fills in part only: a tile is at most a megapixel of them, and takes at least five
bytes, which are looked for before anything else is done. So n bytes stand for at most n / 5 megapixels, or for the
four that a picture without tiles may have.
"""

import struct
from binascii import crc32, crc_hqx
from typing import NamedTuple

from diptych.errors import BitstreamError

MAGIC = b"DIP"
MEDIA_TYPE = "application/x-dip"
VERSION = 1
MAX_SIDE = 2**24 - 1
"""Largest width and height, in pixels."""
MAX_PIXELS = 2**32
"""Largest width times height."""
MAX_TILE_SIDE = 1024
"""Largest side of a tile, in pixels."""
ONE_TILE_PIXELS = 2**22
"""Largest :func:`padded_area` of a picture that is one tile."""
TILE_STEP = 64
"""Tile sides are multiples of this."""
HINT_STEPS = 6
"""View hints are multiples of one over this."""

_FIXED = struct.Struct("<3sBHB4s")
_QUALITY_BITS = 14
_TILE_BITS = 5
_HINTS = (None, *(step / HINT_STEPS for step in range(HINT_STEPS + 1)))
_CHECKSUM_BYTES = 4


class Header(NamedTuple):
    """What a ``.dip`` file says about itself.

    Attributes:
        width, height: the picture's size in pixels, 1 .. 2**24 - 1, their product at most 2**32.
        quality: 0 .. 100, kept to 1/100.
        model_id: 4 bytes that name the entropy model the file needs.
        tile: side of the square tiles in pixels, a multiple of 64 up to 1024; 0 if the picture, whose
            :func:`padded_area` is at most 2**22 then, is one tile.
        hint: advice on where between the machine's view (0) and the human one (1) to show the picture: a
            multiple of 1/6, or None. It does not change what the payloads mean.
    """

    width: int
    height: int
    quality: float
    model_id: bytes
    tile: int = 0
    hint: float | None = None

    @property
    def grid(self) -> tuple[int, int]:
        """Columns and rows of tiles; those at the right and lower border may be smaller."""
        if self.tile == 0:
            return 1, 1
        return -(-self.width // self.tile), -(-self.height // self.tile)

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        columns, rows = self.grid
        return columns * rows


class Container(NamedTuple):
    """A ``.dip`` file taken apart: its header and the payload of each tile, row by row."""

    header: Header
    payloads: list[bytes]


class Remains(NamedTuple):
    """What is whole of a file that may be damaged.

    Attributes:
        header: is whole.
        payloads: of each tile, row by row; None where it is not.
        problem: what is wrong with the file first, in a sentence; None if nothing is.
    """

    header: Header
    payloads: list[bytes | None]
    problem: str | None


def padded_area(width: int, height: int) -> int:
    """Pixels of a picture after its sides are rounded up to multiples of 64, which is what it costs to decode.

    A row of 2**22 pixels would be a small picture, were it not for the latents, which stand for squares.
    """
    columns, rows = -(-width // TILE_STEP), -(-height // TILE_STEP)
    return columns * rows * TILE_STEP**2


def pack(container: Container) -> bytes:
    """The bytes of a ``.dip`` file.

    Raises:
        BitstreamError: a value of the header is outside its range, or the payloads are not one per tile.
    """
    header, payloads = container
    _check(header)
    if len(payloads) != header.tiles:
        raise BitstreamError(f"The picture has {header.tiles} tiles but {len(payloads)} payloads were given.")
    layout = _HINTS.index(header.hint) << _TILE_BITS | header.tile // TILE_STEP
    start = _FIXED.pack(MAGIC, VERSION, round(header.quality * 100), layout, header.model_id)
    start += _varint(header.width) + _varint(header.height)
    start += crc_hqx(start, 0).to_bytes(2, "little")
    start += b"".join(_varint(len(payload)) for payload in payloads)
    seed = crc32(start)
    tiles = (
        payload + _tile_checksum(seed, number, payload).to_bytes(_CHECKSUM_BYTES, "little")
        for number, payload in enumerate(payloads)
    )
    return start + b"".join(tiles)


def read_header(data: bytes) -> Header:
    """The header of a ``.dip`` file, of which the first 21 bytes are enough.

    Raises:
        BitstreamError: the header is missing, damaged, of a newer version or claims what cannot be.
    """
    return _read_header(data)[0]


def unpack(data: bytes) -> Container:
    """Take a ``.dip`` file apart and check all of it, before memory is taken for anything that it claims.

    Raises:
        BitstreamError: the file is not exactly what :func:`pack` makes of its content; the message says how.
    """
    header, payloads, problem = unpack_whole_tiles(data)
    if problem:
        raise BitstreamError(problem)
    return Container(header, [payload for payload in payloads if payload is not None])


def unpack_whole_tiles(data: bytes) -> Remains:
    """Take a file apart that may be damaged behind its tile lengths.

    A tile is whole if its checksum matches. That covers the header and all lengths too: where these are damaged, no
    tile is whole, and nothing that is read from a wrong place is taken for one.

    Raises:
        BitstreamError: the header is not whole, or the file is too short to have its tile lengths.
    """
    header, offset = _read_header(data)
    lengths, offset = _read_lengths(data, offset, header.tiles)
    seed = crc32(data[:offset])
    payloads: list[bytes | None] = []
    problem = None
    for number, length in enumerate(lengths):
        end = offset + length
        payload = data[offset:end]
        offset = end + _CHECKSUM_BYTES
        where = f"tile {number + 1} of {header.tiles}"
        whole = int.from_bytes(data[end:offset], "little") == _tile_checksum(seed, number, payload)
        if offset > len(data):
            problem = problem or f"The file is truncated in {where}."
        elif not whole:
            problem = problem or f"The file is damaged in {where}: its checksum does not match."
        payloads.append(payload if whole and offset <= len(data) else None)
    if offset < len(data):
        problem = problem or f"The file has {len(data) - offset} bytes too many after its last tile."
    return Remains(header, payloads, problem)


def _read_header(data: bytes) -> tuple[Header, int]:
    """Header, and the offset behind it."""
    if not data:
        raise BitstreamError("The file is empty.")
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise BitstreamError("This is not a .dip file.")
    if len(data) > len(MAGIC) and data[len(MAGIC)] != VERSION:
        raise BitstreamError(
            f"The file has version {data[len(MAGIC)]} of the .dip format where version {VERSION} is known: "
            "it was written by a newer program, or is damaged."
        )
    if len(data) < _FIXED.size:
        raise BitstreamError("The file is truncated in the header.")
    _, _, quality, layout, model_id = _FIXED.unpack_from(data)
    width, offset = _read_varint(data, _FIXED.size, "header")
    height, offset = _read_varint(data, offset, "header")
    end = offset + 2
    if end > len(data):
        raise BitstreamError("The file is truncated in the header.")
    if int.from_bytes(data[offset:end], "little") != crc_hqx(data[:offset], 0):
        raise BitstreamError("The file is damaged in the header: its checksum does not match.")
    if quality >> _QUALITY_BITS:
        raise BitstreamError("The file uses features that only a newer version of this program knows.")
    hint, tile = divmod(layout, 1 << _TILE_BITS)
    header = Header(width, height, quality / 100, model_id, tile * TILE_STEP, _HINTS[hint])
    _check(header)
    return header, end


def _read_lengths(data: bytes, offset: int, tiles: int) -> tuple[list[int], int]:
    """Length of each payload, and the offset behind the last length."""
    if tiles * (1 + _CHECKSUM_BYTES) > len(data) - offset:
        raise BitstreamError(
            f"The file is truncated in the tile lengths: {len(data) - offset} bytes cannot be {tiles} tiles."
        )
    lengths = []
    for _ in range(tiles):
        length, offset = _read_varint(data, offset, "tile lengths")
        lengths.append(length)
    return lengths, offset


def _check(header: Header) -> None:
    """Refuse a header, read or to be written, whose values are outside their ranges."""
    width, height, quality, model_id, tile, hint = header
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise BitstreamError(
            f"A picture of {width} x {height} pixels is not possible: sides are 1 to {MAX_SIDE} pixels, "
            f"areas up to {MAX_PIXELS}."
        )
    if not 0 <= quality <= 100:
        raise BitstreamError(f"The quality {quality:g} is outside its range of 0 to 100.")
    if len(model_id) != 4:
        raise BitstreamError(f"A model id has 4 bytes, not {len(model_id)}.")
    if not 0 <= tile <= MAX_TILE_SIDE or tile % TILE_STEP:
        raise BitstreamError(
            f"Tiles of {tile} pixels are not possible: sides are multiples of {TILE_STEP} to {MAX_TILE_SIDE}."
        )
    if hint not in _HINTS:
        raise BitstreamError(f"The view hint {hint:g} is not a multiple of 1/{HINT_STEPS} from 0 to 1.")
    if tile == 0 and padded_area(width, height) > ONE_TILE_PIXELS:
        raise BitstreamError(
            f"A picture of {width} x {height} pixels cannot be one tile: the limit is {ONE_TILE_PIXELS} pixels, "
            f"sides rounded up to multiples of {TILE_STEP}."
        )


def _tile_checksum(seed: int, number: int, payload: bytes) -> int:
    return crc32(payload, crc32(number.to_bytes(4, "little"), seed))


def _varint(number: int) -> bytes:
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _read_varint(data: bytes, offset: int, part: str) -> tuple[int, int]:
    """A varint of at most 5 bytes, and the offset behind it."""
    number = 0
    for place, byte in enumerate(data[offset : offset + 5]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            if byte == 0 and place > 0:
                break
            return number, offset + place + 1
    else:
        if len(data) < offset + 5:
            raise BitstreamError(f"The file is truncated in the {part}.")
    raise BitstreamError(f"The file is damaged in the {part}: a number there is not well formed.")
