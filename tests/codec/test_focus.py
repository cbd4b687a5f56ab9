"""Focus: what is inside a box stays, what is outside takes few bits."""

from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import diptych
from diptych.codec.codec import Codec
from diptych.codec.focus import focused
from diptych.errors import DiptychError
from samples import picture

SIDES = st.integers(1, 90)
COORDINATES = st.floats(-30, 120)
BOXES = st.tuples(COORDINATES, COORDINATES, st.floats(0.5, 120), st.floats(0.5, 120))


@pytest.fixture(scope="module")
def cat() -> Image.Image:
    with Image.open(str(resources.files("diptych") / "assets" / "chelsea.jpg")) as image:
        return image.convert("RGB")


def inside(boxes: list[tuple[float, float, float, float]], shape: tuple[int, ...]) -> np.ndarray:
    """Pixels that a box touches."""
    y, x = np.arange(shape[0])[:, None], np.arange(shape[1])
    touched = np.zeros(shape[:2], bool)
    for left, top, width, height in boxes:
        touched |= (x + 1 > left) & (x < left + width) & (y + 1 > top) & (y < top + height)
    return touched


@given(SIDES, SIDES, st.lists(BOXES, min_size=1, max_size=3), st.floats(0, 100))
def test_what_a_box_touches_stays(width: int, height: int, boxes: list[tuple], quality: float) -> None:
    pixels = np.asarray(picture(width, height))
    found = focused(pixels, boxes, quality)
    assert found.shape == pixels.shape
    stays = inside(boxes, pixels.shape)
    assert (found[stays] == pixels[stays]).all()


def test_the_blur_falls_with_quality_and_begins_softly() -> None:
    stripes = np.zeros((64, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    contrasts = []
    for quality in (0, 50, 90, 100):
        row = focused(stripes, [(0, 0, 100, 64)], quality)[32, :, 0].astype(int)
        contrast = np.abs(np.diff(row))
        assert contrast[:100].min() == 255
        assert contrast[100:140].max() > contrast[160:].max() or quality == 100
        contrasts.append(contrast[160:].max())
    assert contrasts[0] <= contrasts[1] < contrasts[2] < contrasts[3] == 255


def test_tall_pictures_have_no_seams() -> None:
    column = np.random.default_rng(0).integers(0, 256, (1, 120, 3), np.uint8)
    found = focused(np.repeat(column, 1200, axis=0), [(10, -50, 30, 1400)], 0)
    assert (found == found[:1]).all()


@settings(max_examples=20)
@given(SIDES, SIDES, st.floats(0, 100))
def test_a_box_around_all_changes_no_byte(codec: Codec, width: int, height: int, quality: float) -> None:
    photo = picture(width, height)
    plain = codec.encode(photo, quality)
    assert codec.encode(photo, quality, focus=[(-5, -5, width + 10, height + 10)]) == plain
    assert codec.encode(photo, quality, focus=[(0, 0, width / 2, height), (width / 2, 0, width, height)]) == plain
    assert codec.encode(photo, quality, focus=[]) == plain


@pytest.mark.parametrize("box", [(160, 60, 150, 120), (0, 0, 200, 150), (250, 180, 200, 120)])
@pytest.mark.parametrize("quality", [5, 40, 90])
def test_a_focus_saves_bytes_and_costs_nothing_inside(
    cat: Image.Image, box: tuple[int, int, int, int], quality: float
) -> None:
    codec, (x, y, width, height) = diptych.load(), box
    plain, narrow = (codec.encode(cat, quality, focus=boxes) for boxes in ([], [box]))
    assert len(narrow) < len(plain)
    errors = []
    for data in (plain, narrow):
        shown = np.asarray(codec.decode(data)).astype(float)
        errors.append(((shown - np.asarray(cat)) ** 2)[y : y + height, x : x + width].mean())
    assert errors[1] < 1.2 * errors[0] + 1


@pytest.mark.parametrize(
    "boxes", [[(1, 2, 3)], [(1, 2, 3, 0)], [(1, 2, float("nan"), 4)], [(1, 2, 3, 4), (1, 2)], "boxes", (1, 2, 3, 4)]
)
def test_what_is_no_list_of_boxes(codec: Codec, boxes: object) -> None:
    with pytest.raises(DiptychError, match="a focus is a list of boxes, each x, y, width, height"):
        codec.encode(picture(40, 30), focus=boxes)
