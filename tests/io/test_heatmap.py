import numpy as np
from PIL import Image

from diptych.io.heatmap import heat_map, overlay
from samples import picture


def test_colours_grow_brighter_and_end_at_the_scale() -> None:
    steps = np.linspace(0, 1, 256)[None]
    grey = np.asarray(heat_map(steps).convert("L")).astype(int)[0]
    assert grey[0] == 0
    assert grey[-1] > 240
    assert (np.diff(grey) >= 0).all()
    beyond = np.asarray(heat_map(np.array([[-1.0, 0.0, 1.0, 7.0, np.nan]])))[0]
    assert np.array_equal(beyond[0], beyond[1])
    assert np.array_equal(beyond[2], beyond[3])
    assert not beyond[4].any()


def test_overlay_shows_the_picture_where_there_is_no_heat() -> None:
    photo = picture(37, 21)
    shown = overlay(np.array([[0.0, 1.0]]), photo)
    assert shown.size == photo.size
    left, right = shown.crop((0, 0, 18, 21)), shown.crop((19, 0, 37, 21))
    dark = photo.crop((0, 0, 18, 21)).convert("L").point(lambda level: level * 0.6)
    assert np.array_equal(np.asarray(left.convert("L")), np.asarray(dark))
    assert Image.Image.getextrema(right.getchannel("R"))[0] > 150
