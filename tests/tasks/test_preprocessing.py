"""From pictures to the input of a network, and back."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diptych.tasks.descriptions import InputDescription
from diptych.tasks.preprocessing import network_input, place, resized

SIDES = st.integers(1, 90)


@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from(["stretch", "letterbox", "keep"]))
def test_boxes_come_back(height: int, width: int, rows: int, columns: int, resize: Any) -> None:
    how = InputDescription(
        resize=resize, multiple=16, shortest=50, size=None if resize == "keep" else (rows, columns)
    )
    where = place(how, (height, width), None, enlarge=True)
    x = network_input(torch.ones(1, 3, height, width), how, where)
    assert tuple(x.shape[2:]) == where.canvas
    (down, right), (inner_height, inner_width) = where.offset, where.resized
    whole = torch.tensor([[right, down, right + inner_width, down + inner_height]]).float()
    torch.testing.assert_close(where.in_picture(whole), torch.tensor([[0, 0, width, height]]).float())
    assert (where.in_picture(whole + torch.tensor([-9, -9, 9, 9])) >= 0).all()
    if resize == "keep":
        assert where.canvas[0] % 16 == where.canvas[1] % 16 == 0
    else:
        assert where.canvas == (rows, columns)
    assert float(x[0, 0, down : down + inner_height, right : right + inner_width].min()) == pytest.approx(1)


@given(SIDES, SIDES)
def test_areas_keep_the_mean(old: int, new: int) -> None:
    images = torch.rand(1, 3, old, 7, generator=torch.Generator().manual_seed(old))
    small = resized(images, (min(old, new), 7), "area")
    torch.testing.assert_close(small.mean((2, 3)), images.mean((2, 3)), rtol=1e-4, atol=1e-5)


def test_areas_of_whole_pixels_are_averages() -> None:
    images = torch.rand(2, 3, 12, 20)
    expected = torch.nn.functional.avg_pool2d(images, (3, 4))
    torch.testing.assert_close(resized(images, (4, 5), "area"), expected)
    assert resized(images, (12, 20), "area") is images
    assert resized(images, (30, 5), "area").shape == (2, 3, 30, 5)


def test_antialias_is_pillows() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize((21, 17), Image.Resampling.BILINEAR))
    found = resized(torch.tensor(pixels).permute(2, 0, 1)[None].float(), (17, 21), "antialias")
    assert np.abs(found[0].permute(1, 2, 0).numpy() - expected).max() <= 1


def test_smaller_pictures_are_enlarged_for_predictions_only() -> None:
    how = InputDescription(resize="keep", shortest=736)
    assert place(how, (375, 500), None, enlarge=True).canvas == (736, 992)
    assert place(how, (375, 500), None, enlarge=False).canvas == (384, 512)
    assert place(how, (900, 1200), None, enlarge=True).canvas == (896, 1216)


def test_pictures_stay_exact_under_autocast() -> None:
    images = torch.arange(256).reshape(1, 1, 16, 16).expand(1, 3, 16, 16) / 255
    how = InputDescription(size=(16, 16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = network_input(images, how, place(how, (16, 16), None, enlarge=False))
    assert torch.equal(x, images)
