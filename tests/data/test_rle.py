"""Masks in the three forms of COCO labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as rle_masks

from diptych.data.rle import to_rle
from labels import compressed, uncompressed

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40))


@given(MASKS)
def test_both_kinds_of_run_lengths_give_the_mask_back(mask: np.ndarray) -> None:
    for form in (compressed, uncompressed):
        assert np.array_equal(rle_masks.decode(to_rle(form(mask), mask.shape)), mask)


def test_long_runs() -> None:
    mask = np.zeros((1000, 1500), dtype=bool)
    mask[:, 20:1400], mask[5:7, 300] = True, False
    assert np.array_equal(rle_masks.decode(to_rle(compressed(mask), mask.shape)), mask)


@given(st.text(max_size=30) | st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=8))
def test_any_other_string_is_refused_or_covers_the_photo(counts: str) -> None:
    try:
        rle = to_rle({"size": [5, 8], "counts": counts}, (5, 8))
    except ValueError:
        return
    assert set(np.unique(rle_masks.decode(rle))) <= {0, 1}
    assert rle_masks.area(rle) <= 40


def test_polygons_are_joined() -> None:
    squares = [[2, 3, 6, 3, 6, 7, 2, 7], [10, 1, 12, 1, 12, 4, 10, 4]]
    expected = np.zeros((20, 30), dtype=np.uint8)
    expected[3:7, 2:6] = expected[1:4, 10:12] = 1
    assert np.array_equal(rle_masks.decode(to_rle(squares, (20, 30))), expected)


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        [],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [["a", "b", "c", "d", "e", "f"]],
        [[1, 2, 3, 4, 5, float("nan")]],
        [[0, 0, 1e9, 0, 1e9, 1e9]],
        {"size": [20, 30], "counts": [100, 100]},
        {"size": [20, 30], "counts": [-100, 700]},
        {"size": [20, 30], "counts": [99.5, 500.5]},
        {"size": [20, 30], "counts": [2**70, 600]},
        {"size": [20, 30], "counts": []},
        {"size": [20, 30], "counts": ""},
        {"size": [20, 30], "counts": 600},
        {"size": [30, 20], "counts": [600]},
    ],
)
def test_malformed_masks_are_refused(segmentation: object) -> None:
    with pytest.raises(ValueError, match=r"polygon|run lengths|size|could not convert"):
        to_rle(segmentation, (20, 30))
