"""Where the views differ: the map, its largest region, its picture."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diptych.codec.codec import Codec
from diptych.codec.view_difference import (
    CELL,
    FULL_SCALE,
    THRESHOLD,
    as_picture,
    difference,
    difference_map,
    facts,
    largest_region,
)
from diptych.errors import BitstreamError, ModelError
from samples import picture


def grey(levels: np.ndarray) -> Image.Image:
    return Image.fromarray(levels.astype(np.uint8)).convert("RGB")


@pytest.mark.parametrize("size", [(1, 1), (17, 33), (64, 48)])
def test_map_of_a_file(codec: Codec, size: tuple[int, int]) -> None:
    data = codec.encode(picture(*size), 60)
    levels = difference_map(codec, data)
    machine, human = codec.decode_views(data, ["machine", "human"])
    assert levels.shape == size[::-1]
    assert levels.dtype == np.float32
    assert 0 <= levels.min() <= levels.max() <= FULL_SCALE
    assert np.array_equal(levels, difference(machine, human))
    assert np.array_equal(levels, difference(human, machine))
    assert as_picture(levels).size == size


def test_map_of_a_region_is_that_part_of_the_map(codec: Codec) -> None:
    data = codec.encode(picture(90, 70), 60)
    inner = difference_map(codec, data, (20, 10, 40, 30))[8:-8, 8:-8]
    assert np.abs(inner - difference_map(codec, data)[18:32, 28:52]).max() <= 2 * FULL_SCALE / 255


def test_scale_is_fixed() -> None:
    flat = np.full((40, 50), 100)
    assert not difference(grey(flat), grey(flat)).any()
    assert difference(grey(flat), grey(flat + 5)) == pytest.approx(5, abs=0.1)
    assert difference(grey(flat), grey(flat + 100)) == pytest.approx(FULL_SCALE)
    assert np.asarray(as_picture(np.full((2, 2), FULL_SCALE, np.float32))).min() > 200
    assert not np.asarray(as_picture(np.zeros((2, 2), np.float32))).any()


def test_largest_region_is_the_one_with_most_pixels() -> None:
    levels = np.zeros((100, 83), np.float32)
    levels[8:24, 16:40] = 9
    levels[40:48, 0:8] = 15
    levels[96:100, 72:83] = THRESHOLD
    region = largest_region(levels)
    assert region is not None
    assert region == (16, 8, 24, 16, 24 * 16, 9)
    assert largest_region(levels, 12) == (0, 40, 8, 8, 64, 15)
    assert largest_region(levels[96:]) == (72, 0, 11, 4, 44, THRESHOLD)
    assert largest_region(levels, 16) is None


def test_regions_are_connected_by_sides() -> None:
    levels = np.zeros((32, 32), np.float32)
    for row, column in ((0, 0), (1, 1), (1, 2), (2, 2)):
        levels[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = 8
    assert largest_region(levels) == (8, 8, 16, 16, 192, 8)


@settings(max_examples=40)
@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 99))
def test_region_lies_inside_and_differs(height: int, width: int, seed: int) -> None:
    levels = np.random.default_rng(seed).uniform(0, 7, (height, width)).astype(np.float32)
    region = largest_region(levels, 3.5)
    if region is None:
        return
    x, y, wide, high, pixels, mean = region
    assert 0 <= x < x + wide <= width
    assert 0 <= y < y + high <= height
    assert 0 < pixels <= wide * high
    assert mean >= 3.5


def test_facts_name_the_region_for_decode() -> None:
    levels = np.zeros((64, 64), np.float32)
    assert facts(levels)["largest_region"] == "none of 4 levels or more"
    levels[8:16, 16:32] = 10
    assert facts(levels) == {
        "views_differ": pytest.approx(10 * 128 / 4096),
        "views_differ_most": 10,
        "largest_region": "16,8,16,8",
        "largest_region_differs": 10,
    }


def test_errors(codec: Codec) -> None:
    data = codec.encode(picture(20, 20), 50)
    with pytest.raises(BitstreamError):
        difference_map(codec, data[:-3])
    alone = codec.with_view({})
    with pytest.raises(ModelError, match="no human view"):
        difference_map(alone, data)
