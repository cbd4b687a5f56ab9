"""The codec against the second decoder, which was written from the specification."""

from binascii import crc_hqx
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

import diptych.codec.codec as codec_module
import reference_decoder as reference
from bitstream.reference_coder import RangeEncoder, encode_chunk
from diptych.bitstream import SYMBOL_LIMIT, Container, Header, encode, pack, unpack
from diptych.codec.codec import Codec, load
from diptych.codec.defaults import CODEC
from diptych.errors import BitstreamError
from diptych.nn.context import SCANS
from diptych.training.export import save_model
from samples import lively_model, picture
from vectors import make


@pytest.fixture(scope="session")
def arrays(codec_file: Path) -> reference.Arrays:
    return load_file(codec_file)


def verdicts(codec: Codec, arrays: reference.Arrays, data: bytes) -> list[np.ndarray | None]:
    """The latents that each of the two decoders reads, or None where it refuses."""
    found: list[np.ndarray | None] = []
    try:
        found.append(codec.latents(data).values)
    except BitstreamError:
        found.append(None)
    try:
        found.append(reference.latents(data, arrays))
    except ValueError:
        found.append(None)
    return found


def agree(codec: Codec, arrays: reference.Arrays, data: bytes) -> bool:
    """Check that both decoders say the same, and return whether they accept the file."""
    ours, theirs = verdicts(codec, arrays, data)
    if ours is None or theirs is None:
        assert ours is theirs
        return False
    assert ours.dtype == theirs.dtype
    assert np.array_equal(ours, theirs)
    return True


def test_it_is_the_same_model(codec: Codec, arrays: reference.Arrays) -> None:
    assert reference.model_id(arrays) == codec.model_id


@settings(max_examples=25)
@given(width=st.integers(1, 130), height=st.integers(1, 130), quality=st.integers(0, 10000))
def test_any_size_and_quality(
    codec: Codec, arrays: reference.Arrays, width: int, height: int, quality: int
) -> None:
    assert agree(codec, arrays, codec.encode(picture(width, height), quality / 100))


@pytest.mark.parametrize("quality", [0, 4.99, 5, 33.33, 95, 100])
def test_a_larger_picture(codec: Codec, arrays: reference.Arrays, quality: float) -> None:
    assert agree(codec, arrays, codec.encode(picture(200, 150), quality))


@pytest.mark.parametrize("size", [(300, 200), (65, 129), (64, 128)])
def test_tiles(
    codec: Codec, arrays: reference.Arrays, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec_module, "ONE_TILE_PIXELS", 0)
    monkeypatch.setattr(codec_module, "TILE", 64)
    data = codec.encode(picture(*size), 80)
    assert unpack(data).header.tiles == -(-size[0] // 64) * -(-size[1] // 64)
    assert agree(codec, arrays, data)


@pytest.mark.parametrize("scan", sorted(SCANS))
@pytest.mark.parametrize("size", [(1, 1), (17, 16), (70, 45)])
def test_every_scan(tmp_path: Path, scan: str, size: tuple[int, int]) -> None:
    path = tmp_path / "codec.safetensors"
    save_model(lively_model(scan=scan), path, {})
    assert agree(load(path), load_file(path), load(path).encode(picture(*size), 70))


def test_the_shipped_codec() -> None:
    shipped, its_arrays = load(), load_file(CODEC)
    for size, quality in (((75, 50), 20), ((33, 65), 80)):
        assert agree(shipped, its_arrays, shipped.encode(picture(*size), quality))


def chunks_of(codec: Codec, z: list[int], y: list[int]) -> tuple[Header, list[tuple[np.ndarray, np.ndarray]]]:
    """A picture of 32 x 16 pixels with these symbols."""
    shapes = (-1, 1, 1), (-1, 1, 2)
    symbols = (np.array(s, np.int32).reshape(shape) for s, shape in zip((z, y), shapes, strict=True))
    return Header(32, 16, 50, codec.model_id), make.chunks(codec, 50, *symbols)


symbols = st.one_of(st.integers(-3, 3), st.integers(1 - SYMBOL_LIMIT, SYMBOL_LIMIT - 1))


@pytest.mark.slow
@settings(max_examples=40)
@given(z=st.lists(symbols, min_size=8, max_size=8), y=st.lists(symbols, min_size=24, max_size=24))
def test_any_symbols(codec: Codec, arrays: reference.Arrays, z: list[int], y: list[int]) -> None:
    header, chunks = chunks_of(codec, z, y)
    assert agree(codec, arrays, pack(Container(header, [encode(chunks, codec.frozen.entropy.tables)])))


@pytest.mark.parametrize(("beyond", "accepted"), [(0, True), (1, False)])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("chunk", "place"), [(0, 0), (1, 0), (1, 1)])
def test_symbols_at_and_beyond_the_limit(
    codec: Codec, arrays: reference.Arrays, beyond: int, accepted: bool, sign: int, chunk: int, place: int
) -> None:
    numbers = [[0] * 8, [0] * 24]
    numbers[chunk][place] = sign * (SYMBOL_LIMIT - 1 + beyond)
    header, chunks = chunks_of(codec, *numbers)
    coder = RangeEncoder()
    for symbols, tables in chunks:
        encode_chunk(coder, symbols.tolist(), tables.tolist(), reference.table_rows(arrays))
    assert agree(codec, arrays, pack(Container(header, [coder.finish()]))) == accepted


@settings(max_examples=100)
@given(payload=st.binary(max_size=40), size=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_any_payload(codec: Codec, arrays: reference.Arrays, payload: bytes, size: tuple[int, int]) -> None:
    header = unpack(codec.encode(picture(*size), 60)).header
    agree(codec, arrays, pack(Container(header, [payload])))


@settings(max_examples=60)
@given(data=st.data())
def test_damaged_payload_under_right_checksums(codec: Codec, arrays: reference.Arrays, data: st.DataObject) -> None:
    header, [payload] = unpack(codec.encode(picture(40, 30), 60))
    start = data.draw(st.integers(0, len(payload)))
    stop = data.draw(st.integers(start, min(start + 4, len(payload))))
    damaged = payload[:start] + data.draw(st.binary(max_size=4)) + payload[stop:]
    agree(codec, arrays, pack(Container(header, [damaged])))


def test_every_flipped_byte_and_every_length_is_refused(codec: Codec, arrays: reference.Arrays) -> None:
    data = codec.encode(picture(20, 20), 60)
    damaged = [data[:i] + bytes([data[i] ^ 1 << i % 8]) + data[i + 1 :] for i in range(len(data))]
    damaged += [data[:length] for length in range(len(data))] + [data + b"\0"]
    for each in damaged:
        assert verdicts(codec, arrays, each) == [None, None]


@pytest.mark.parametrize(
    ("offset", "old", "new"),
    [
        (4, 2, b"\x11\x27"),  # quality 100.01
        (4, 2, b"\x00\x40"),  # a reserved bit
        (6, 1, b"\x11"),  # tiles of 1088 pixels
        (6, 1, b"\xf1"),  # the same with a view hint
        (11, 1, b"\x00"),  # no width
        (11, 1, b"\x94\x00"),  # a width of two spellings
        (11, 1, b"\x80\x80\x80\x80\x80\x01"),  # a varint of six bytes
        (11, 2, b"\x81\x10\x80\x10"),  # 2049 x 2048 pixels in one tile
        (11, 2, b"\x81\x80\x04\x01"),  # 65537 x 1 pixels in one tile
        (11, 1, b"\x80\x80\x80\x08"),  # 2**24 pixels wide
    ],
)
def test_impossible_headers_with_right_checksums(
    codec: Codec, arrays: reference.Arrays, offset: int, old: int, new: bytes
) -> None:
    header, [payload] = unpack(codec.encode(picture(20, 20), 60))
    start = pack(Container(header, [b""]))[:13]
    start = start[:offset] + new + start[offset + old :]
    data = start + crc_hqx(start, 0).to_bytes(2, "little") + bytes([len(payload)]) + payload + bytes(4)
    for decoder in (lambda: unpack(data), lambda: reference.parse(data)):
        with pytest.raises((BitstreamError, ValueError), match=r"^(?!.*checksum).*$"):
            decoder()


def test_files_of_another_model_are_refused(codec: Codec, arrays: reference.Arrays) -> None:
    header, payloads = unpack(codec.encode(picture(20, 20)))
    data = pack(Container(header._replace(model_id=b"none"), payloads))
    assert verdicts(codec, arrays, data) == [None, None]


def test_example_of_the_specification() -> None:
    data = "44 49 50 01 d2 0f 00 de ad be ef ac 02 c8 01 ac cd 03 01 02 03 28 0c 7f e7"
    header, payloads = reference.parse(bytes.fromhex(data))
    assert header == (4050, 0, 0, bytes.fromhex("deadbeef"), 300, 200)
    assert payloads == [b"\1\2\3"]
