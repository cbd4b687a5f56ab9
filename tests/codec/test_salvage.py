"""Damaged files: whole tiles are shown as they are, the others hatched, and none is wrong in silence."""

import numpy as np
import pytest

import diptych.codec.codec as codec_module
from diptych.bitstream import Container, pack, unpack, unpack_whole_tiles
from diptych.codec import tiling
from diptych.codec.codec import Codec
from diptych.codec.salvage import salvage
from diptych.errors import BitstreamError
from samples import picture

SIZE = (620, 100)
SIDE = 64
TILES = 20
"""Two rows of ten; the right and the lower ones are cut off by the border."""


@pytest.fixture(scope="module")
def file(codec: Codec) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec_module, "ONE_TILE_PIXELS", 0)
        patch.setattr(codec_module, "TILE", SIDE)
        data = codec.encode(picture(*SIZE), 30)
    assert unpack(data).header.tiles == TILES
    return data


def spans(data: bytes) -> list[tuple[int, int]]:
    """From the first byte of each payload to behind its checksum."""
    end = len(data)
    found = []
    for payload in reversed(unpack(data).payloads):
        found.append((end - len(payload) - 4, end))
        end = found[-1][0]
    return found[::-1]


def lost_tiles(data: bytes, whole: bytes) -> list[int]:
    """The tiles that are missing; those that are there must be those of ``whole``."""
    remains = unpack_whole_tiles(data)
    for payload, right in zip(remains.payloads, unpack(whole).payloads, strict=True):
        assert payload in (None, right)
    return [number for number, payload in enumerate(remains.payloads) if payload is None]


def test_every_truncation_costs_the_tiles_behind_it(codec: Codec, file: bytes) -> None:
    ends = [end for _, end in spans(file)]
    for length in range(len(file)):
        with pytest.raises(BitstreamError, match=r"truncated|empty"):
            unpack(file[:length])
        behind = [number for number, end in enumerate(ends) if end > length]
        if length < ends[0]:  # no tile is left, and perhaps not all lengths
            with pytest.raises(BitstreamError, match=r"truncated|empty"):
                salvage(codec, file[:length], ["machine"])
        else:
            assert lost_tiles(file[:length], file) == behind


@pytest.mark.parametrize("flip", [1, 0x80, 0xFF])
def test_every_flipped_byte_costs_its_own_tile(file: bytes, flip: int) -> None:
    places = spans(file)
    for at in range(len(file)):
        damaged = bytearray(file)
        damaged[at] ^= flip
        own = [number for number, (start, end) in enumerate(places) if start <= at < end]
        try:
            lost = lost_tiles(bytes(damaged), file)
        except BitstreamError:
            assert not own  # in the header or the lengths
        else:
            assert lost == (own or list(range(TILES)))


def test_bytes_behind_the_end_cost_nothing(codec: Codec, file: bytes) -> None:
    saved = salvage(codec, file + b"more", ["machine"])
    assert saved.lost == []
    assert saved.problem == "The file has 4 bytes too many after its last tile."
    assert np.array_equal(np.asarray(saved.pictures[0]), np.asarray(codec.decode(file, "machine")))


@pytest.mark.parametrize("view", ["machine", "human"])
def test_pixels_of_whole_tiles_are_exact_and_lost_ones_hatched(codec: Codec, file: bytes, view: str) -> None:
    intact = np.asarray(codec.decode(file, view))
    for number, (start, _) in enumerate(spans(file)):
        damaged = bytearray(file)
        damaged[start] ^= 1
        saved = salvage(codec, bytes(damaged), [view])
        shown = np.asarray(saved.pictures[0])
        [(x, y, width, height)] = saved.lost
        assert (x, y) == (number % 10 * SIDE, number // 10 * SIDE)
        assert (x + width, y + height) == (min(x + SIDE, SIZE[0]), min(y + SIDE, SIZE[1]))
        assert set(np.unique(shown[y : y + height, x : x + width])) == {112, 144}
        reach = 16 * tiling.MARGIN
        far = np.ones(intact.shape[:2], bool)
        far[max(0, y - reach) : y + height + reach, max(0, x - reach) : x + width + reach] = False
        assert far.any()
        assert np.array_equal(shown[far], intact[far])


def test_a_region_and_the_whole_are_hatched_alike(codec: Codec, file: bytes) -> None:
    damaged = bytearray(file)
    damaged[spans(file)[13][0]] ^= 1
    whole = salvage(codec, bytes(damaged), ["human"])
    part = salvage(codec, bytes(damaged), ["human"], (150, 40, 90, 50))
    assert part.lost == whole.lost == [(192, 64, 64, 36)]
    ours, theirs = (np.asarray(one.pictures[0]).astype(int) for one in (whole, part))
    assert np.abs(theirs - ours[40:90, 150:240]).max() <= 1
    outside = salvage(codec, bytes(damaged), ["human"], (0, 0, 40, 40))
    assert np.array_equal(np.asarray(outside.pictures[0]), np.asarray(codec.decode(file, "human", (0, 0, 40, 40))))


def test_a_payload_that_means_nothing_is_lost_although_its_checksum_matches(codec: Codec, file: bytes) -> None:
    header, payloads = unpack(file)
    payloads[4] += b"\1" * 9
    saved = salvage(codec, pack(Container(header, payloads)), ["machine"])
    assert saved.lost == [(4 * SIDE, 0, SIDE, SIDE)]
    assert saved.problem


def test_nothing_to_save(codec: Codec, file: bytes) -> None:
    one_tile = codec.encode(picture(50, 40), 30)
    for data in (file[: spans(file)[0][1] - 1], one_tile[:-1]):
        with pytest.raises(BitstreamError):
            salvage(codec, data, ["human"])
