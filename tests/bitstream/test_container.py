import random
import tracemalloc
from binascii import crc_hqx
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.bitstream import Container, Header, pack, padded_area, read_header, unpack
from diptych.errors import BitstreamError

MODEL = b"\xde\xad\xbe\xef"
ONE_TILE = Container(Header(768, 512, 40.0, MODEL), [bytes(range(200))])
FOUR_TILES = Container(Header(120, 65, 12.34, MODEL, tile=64), [b"one", b"", b"threes", b"\0\0"])


def varint(number: int) -> bytes:
    low, rest = number % 128, number // 128
    return bytes([low + 128]) + varint(rest) if rest else bytes([low])


def file_bytes(width=8, height=8, quality=4000, tile=0, lengths=b"\1", tiles=None) -> bytes:
    """A one-tile file, or one with a valid checksum and whatever header a test needs."""
    header = b"DIP\1" + quality.to_bytes(2, "little") + bytes([tile]) + MODEL + varint(width) + varint(height)
    start = header + crc_hqx(header, 0).to_bytes(2, "little") + lengths
    if tiles is None:
        tiles = b"x" + crc32(start + bytes(4) + b"x").to_bytes(4, "little")
    return start + tiles


def refuses(data: bytes, message: str | None = None) -> None:
    with pytest.raises(BitstreamError, match=message) as error:
        unpack(data)
    assert str(error.value).endswith(".")


hints = st.sampled_from([None, *(step / 6 for step in range(7))])
headers = st.one_of(
    st.builds(
        Header,
        width=st.integers(1, 2048),
        height=st.integers(1, 2048),
        quality=st.integers(0, 10000).map(lambda quality: quality / 100),
        model_id=st.binary(min_size=4, max_size=4),
        tile=st.just(0),
        hint=hints,
    ),
    st.builds(
        Header,
        width=st.integers(1, 3000),
        height=st.integers(1, 3000),
        quality=st.integers(0, 10000).map(lambda quality: quality / 100),
        model_id=st.binary(min_size=4, max_size=4),
        tile=st.integers(8, 16).map(lambda code: 64 * code),
        hint=hints,
    ),
)


@settings(max_examples=200)
@given(headers, st.data())
def test_any_container_round_trips(header, data):
    payloads = data.draw(st.lists(st.binary(max_size=200), min_size=header.tiles, max_size=header.tiles))
    packed = pack(Container(header, payloads))
    assert unpack(packed) == Container(header, payloads)
    assert read_header(packed) == read_header(packed[:21]) == header
    assert padded_area(header.width, header.height) <= max(2**22, 2**20 * len(packed) / 5)


@pytest.mark.parametrize(
    ("width", "height", "area"), [(1, 1, 64**2), (64, 64, 64**2), (65, 64, 2 * 64**2), (2**24 - 1, 1, 2**24 * 64)]
)
def test_padded_area(width, height, area):
    assert padded_area(width, height) == padded_area(height, width) == area


@pytest.mark.parametrize(
    ("width", "height", "tile"),
    [(1, 1, 0), (2**16, 64, 0), (1, 2**16, 0), (2048, 2048, 0), (2**24 - 1, 256, 1024), (1, 1, 1024)],
)
def test_extreme_sizes(width, height, tile):
    header = Header(width, height, 100, MODEL, tile)
    assert unpack(pack(Container(header, [b"z"] * header.tiles))).header == header


@pytest.mark.parametrize(
    ("width", "height", "tile", "grid"),
    [(500, 300, 0, (1, 1)), (64, 64, 64, (1, 1)), (65, 64, 64, (2, 1)), (1000, 129, 128, (8, 2))],
)
def test_grid_of_tiles(width, height, tile, grid):
    header = Header(width, height, 50, MODEL, tile)
    assert header.grid == grid
    assert header.tiles == grid[0] * grid[1]


def test_overhead():
    for width, height, size, overhead in [(64, 64, 100, 20), (768, 512, 9000, 23), (2000, 2000, 10**6, 24)]:
        packed = pack(Container(Header(width, height, 40, MODEL), [bytes(size)]))
        assert len(packed) == size + overhead


def test_quality_is_kept_to_a_hundredth():
    assert read_header(pack(Container(Header(8, 8, 33.33333, MODEL), [b""]))).quality == 33.33


GOLDEN_FILES = [
    (
        Container(Header(300, 200, 40.5, MODEL), [b"\x01\x02\x03"]),
        "44495001d20f00deadbeefac02c801accd03010203280c7fe7",
    ),
    (
        FOUR_TILES,
        "44495001d20401deadbeef7841240f030006026f6e6542883d8460ba082774687265657326d09d970000c9a55842",
    ),
]


@pytest.mark.parametrize(("container", "golden"), GOLDEN_FILES)
def test_golden_bytes(container, golden):
    assert pack(container).hex() == golden
    assert unpack(bytes.fromhex(golden)) == container


@pytest.mark.parametrize(("hint", "code"), [(None, 0), (0, 1), (1 / 6, 2), (0.5, 4), (5 / 6, 6), (1, 7)])
def test_view_hint_is_three_bits_of_the_header(hint, code):
    plain = pack(FOUR_TILES)
    hinted = pack(FOUR_TILES._replace(header=FOUR_TILES.header._replace(hint=hint)))
    assert len(hinted) == len(plain)
    assert hinted[6] == plain[6] | code << 5
    assert unpack(hinted).header.hint == hint
    assert unpack(hinted).payloads == FOUR_TILES.payloads


def test_view_hint_is_covered_by_every_checksum():
    data = bytearray(pack(Container(ONE_TILE.header._replace(hint=1), ONE_TILE.payloads)))
    data[6] ^= 0x20
    refuses(bytes(data), "damaged in the header")
    data[15:17] = crc_hqx(data[:15], 0).to_bytes(2, "little")
    refuses(bytes(data), "damaged in tile 1 of 1")


def test_layout_is_the_documented_one():
    assert unpack(file_bytes()) == Container(Header(8, 8, 40.0, MODEL), [b"x"])
    assert pack(unpack(file_bytes())) == file_bytes()


@pytest.mark.parametrize("container", [ONE_TILE, FOUR_TILES])
def test_truncation_at_every_byte_is_noticed(container):
    data = pack(container)
    for length in range(len(data)):
        refuses(data[:length], r"empty|truncated|of the \.dip format")


@pytest.mark.parametrize("container", [ONE_TILE, FOUR_TILES])
def test_every_flipped_bit_is_noticed(container):
    data = pack(container)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        refuses(bytes(flipped))


def mutated(data: bytes, source: random.Random) -> bytes:
    """One to three bytes changed, cut out, repeated or made up."""
    result = bytearray(data)
    for _ in range(source.randint(1, 3)):
        start = source.randrange(len(result) + 1)
        end = min(len(result), start + source.randint(0, 4))
        replacement = source.choice(
            [b"", source.randbytes(end - start), source.randbytes(2), bytes(result[start:end]) * 2]
        )
        result[start:end] = replacement
    return bytes(result)


@pytest.mark.parametrize("container", [ONE_TILE, FOUR_TILES])
def test_mutations_are_noticed(container):
    source = random.Random(20)
    data = pack(container)
    for _ in range(2000):
        damaged = mutated(data, source)
        if damaged != data:
            refuses(damaged)


@given(st.binary(max_size=60))
def test_random_bytes_are_refused(data):
    refuses(data)
    refuses(b"DIP\1" + data)


@settings(max_examples=500)
@given(
    st.one_of(st.integers(0, 3000), st.integers(0, 2**35 - 1)),
    st.one_of(st.integers(0, 3000), st.integers(0, 2**35 - 1)),
    st.one_of(st.integers(0, 10000), st.integers(0, 2**16 - 1)),
    st.one_of(st.integers(0, 16), st.integers(0, 255)),
)
def test_what_is_accepted_is_what_would_be_written(width, height, quality, tile):
    data = file_bytes(width, height, quality, tile)
    try:
        container = unpack(data)
    except BitstreamError:
        return
    assert pack(container) == data
    side = tile % 32
    assert padded_area(width, height) <= ((64 * side) ** 2 if side else 2**22)


def test_tiles_cannot_be_swapped_or_moved():
    header = Header(128, 64, 50, MODEL, tile=64)
    data = pack(Container(header, [b"aaaa", b"bbbb"]))
    refuses(data[:-16] + data[-8:] + data[-16:-8], "damaged in tile 1 of 2")
    other = pack(Container(header._replace(quality=50.01), [b"aaaa", b"bbbb"]))
    refuses(other[:-8] + data[-8:], "damaged in tile 2 of 2")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n", "not a .dip file"),
        (b"DI", "truncated in the header"),
        (b"DIP", "truncated in the header"),
        (b"DIP\2" + file_bytes()[4:], "version 2.*newer"),
        (b"DIP\0" + file_bytes()[4:], "version 0"),
        (file_bytes()[:12], "truncated in the header"),
        (file_bytes()[:14], "truncated in the header"),
        (file_bytes()[:10] + b"\0" + file_bytes()[11:], "damaged in the header: its checksum"),
        (file_bytes()[:11] + b"\x80\0" + file_bytes()[12:], "damaged in the header: a number"),
        (file_bytes()[:11] + b"\xff" * 9, "damaged in the header: a number"),
        (file_bytes(quality=4000 + 2**14), "newer version"),
        (file_bytes(quality=4000 + 2**15), "newer version"),
        (file_bytes(quality=10001), "quality 100.01 is outside"),
        (file_bytes(width=0), "0 x 8 pixels is not possible"),
        (file_bytes(height=0), "8 x 0 pixels is not possible"),
        (file_bytes(width=2**24), "16777216 x 8 pixels is not possible"),
        (file_bytes(width=2**20, height=2**13, tile=64), "1048576 x 8192 pixels is not possible"),
        (file_bytes(width=2049, height=2048), "cannot be one tile"),
        (file_bytes(width=2**16 + 1, height=1), "cannot be one tile"),
        (file_bytes(width=65, height=2**15 + 1), "cannot be one tile"),
        (file_bytes(tile=17), "Tiles of 1088 pixels"),
        (file_bytes(tile=255), "Tiles of 1984 pixels"),
        (file_bytes(lengths=b"\x81\0"), "damaged in the tile lengths"),
        (file_bytes(lengths=b"\x80\x80", tiles=b"\x80\x80\x80\x01"), "damaged in the tile lengths"),
        (file_bytes(tiles=b"\x80\x80"), "truncated in the tile lengths"),
        (file_bytes(lengths=b"\x80", tiles=b"\x80\x80\x80"), "truncated in the tile lengths"),
        (file_bytes(lengths=b"\x02"), "truncated in tile 1 of 1"),
        (file_bytes()[:-1], "truncated in tile 1 of 1"),
        (file_bytes()[:-5] + b"y" + file_bytes()[-4:], "damaged in tile 1 of 1"),
        (file_bytes()[:-1] + b"\0", "damaged in tile 1 of 1"),
        (file_bytes() + b"?", "1 bytes too many"),
        (file_bytes() * 2, "bytes too many"),
    ],
)
def test_every_complaint(data, message):
    refuses(data, message)


@pytest.mark.parametrize(
    ("header", "payloads", "message"),
    [
        (Header(0, 5, 50, MODEL), [b""], "0 x 5"),
        (Header(5, 2**24, 50, MODEL), [b""], "5 x 16777216"),
        (Header(2**20, 2**12 + 1, 50, MODEL, 64), [b""], "areas up to"),
        (Header(2048, 2049, 50, MODEL), [b""], "cannot be one tile"),
        (Header(5, 5, -0.01, MODEL), [b""], "quality -0.01"),
        (Header(5, 5, 100.01, MODEL), [b""], "quality 100.01"),
        (Header(5, 5, float("nan"), MODEL), [b""], "quality nan"),
        (Header(5, 5, 50, b"abc"), [b""], "4 bytes, not 3"),
        (Header(5, 5, 50, MODEL, 100), [b""], "Tiles of 100"),
        (Header(5, 5, 50, MODEL, -64), [b""], "Tiles of -64"),
        (Header(5, 5, 50, MODEL, 1088), [b""], "Tiles of 1088"),
        (Header(5, 5, 50, MODEL, hint=0.4), [b""], "view hint 0.4 is not a multiple of 1/6"),
        (Header(5, 5, 50, MODEL, hint=-1 / 6), [b""], "view hint -0.16"),
        (Header(5, 5, 50, MODEL, hint=7 / 6), [b""], "view hint 1.16"),
        (Header(5, 5, 50, MODEL, hint=float("nan")), [b""], "view hint nan"),
        (Header(5, 5, 50, MODEL), [], "1 tiles but 0 payloads"),
        (Header(65, 65, 50, MODEL, 64), [b""] * 3, "4 tiles but 3 payloads"),
    ],
)
def test_impossible_containers_are_not_written(header, payloads, message):
    with pytest.raises(BitstreamError, match=message):
        pack(Container(header, payloads))


def test_a_small_file_cannot_claim_a_million_tiles():
    data = file_bytes(width=2**16, height=2**16, tile=1, lengths=bytes(80), tiles=b"")
    assert read_header(data).tiles == 2**20
    tracemalloc.start()
    refuses(data, "80 bytes cannot be 1048576 tiles")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200_000
