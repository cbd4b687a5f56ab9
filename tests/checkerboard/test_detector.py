"""The grid meter: verdicts, maps, and the table of natural photos."""

import json

import numpy as np
import pytest
from PIL import Image

from diptych.checkerboard.baseline import FEW_TILES, PERCENTILES, STRIDES, TABLE, natural, percentiles
from diptych.checkerboard.detector import VERDICTS, _cell_scores, grid_map, measure
from diptych.checkerboard.score import grid_score, spectral_score
from diptych.errors import PictureError
from diptych.io.pixels import high_pass, luma
from pictures import PATCHES, SHARED, gridded, textured


def test_scores_are_those_of_the_evaluation() -> None:
    photo = textured(400, 380)
    tiles, readings = measure(Image.fromarray(photo))
    assert tiles == 4
    assert [reading.stride for reading in readings] == list(STRIDES)
    for reading in readings:
        assert reading.phase == grid_score(photo, reading.stride)
        assert reading.spectral == spectral_score(photo, reading.stride)


@pytest.mark.parametrize("stride", STRIDES)
def test_a_grid_is_found_at_its_stride(stride: int) -> None:
    photo = textured(400, 380)
    assert measure(Image.fromarray(photo)).verdict == "as photos"
    dotted = Image.fromarray(gridded(photo, stride, 4 * stride))
    found = measure(dotted)
    assert found.verdict == "grid"
    assert found.worst.phase > 3 * found.worst.usual_phase
    [alone] = measure(dotted, [stride]).readings
    assert alone in found.readings
    assert alone.verdict == "grid"


def test_a_stronger_grid_is_never_judged_better() -> None:
    photo = textured(336, 336)
    verdicts = [measure(Image.fromarray(gridded(photo, 4, strength))).verdict for strength in (0, 1, 2, 4, 8)]
    ranks = [VERDICTS.index(verdict) for verdict in verdicts]
    assert ranks == sorted(ranks)
    assert ranks[0] < ranks[-1]


def test_small_pictures_are_refused_or_compared_with_single_tiles() -> None:
    with pytest.raises(PictureError, match="32 x 32"):
        measure(Image.new("RGB", (31, 200)))
    tiles, readings = measure(Image.fromarray(textured(33, 40)))
    assert tiles < FEW_TILES
    assert readings[1].usual_phase == natural("phase", 4, 95, tiles)
    assert natural("phase", 4, 95, 1) > natural("phase", 4, 95, FEW_TILES)


def test_map_is_hot_where_the_grid_is() -> None:
    photo = textured(480, 352)
    photo[:, 288:] = gridded(photo, 4, 20)[:, 288:]
    shown = np.asarray(grid_map(Image.fromarray(photo), 4)).astype(int)
    assert shown.shape == (352, 480, 3)
    colour = np.ptp(shown, axis=2)
    assert colour[:, :100].max() == 0
    assert colour[:, 380:].min() > 60


@pytest.mark.parametrize("stride", STRIDES)
def test_map_agrees_with_the_score(stride: int) -> None:
    """On a grid alone, and on noise: the same formula as for tiles."""
    noise = np.random.default_rng(1).integers(0, 256, (176, 176, 3), dtype=np.uint8)
    for photo in (noise, gridded(noise // 2, stride, 30)):
        [[score, *_], *_] = _cell_scores(high_pass(luma(photo))[8:168, 8:168], stride)
        assert score == pytest.approx(grid_score(photo, stride))


@pytest.mark.parametrize("size", [(160, 160), (161, 399), (500, 170)])
def test_maps_of_odd_sizes(size: tuple[int, int]) -> None:
    assert grid_map(Image.fromarray(textured(*size)), 8).size == size
    with pytest.raises(PictureError, match="at least 160"):
        grid_map(Image.fromarray(textured(159, 400)), 8)


def test_the_table_is_complete_and_in_order() -> None:
    table = json.loads(TABLE.read_text())
    assert (table["strides"], table["percentiles"]) == (list(STRIDES), list(PERCENTILES))
    assert {name: photos["photos"] for name, photos in table["sets"].items()} == {"kodak": 24, "voc": 400}
    for photos in table["sets"].values():
        for kind in ("tiles", "pictures"):
            for score in ("phase", "spectral"):
                rows = np.array(photos[kind][score])
                assert rows.shape == (len(STRIDES), len(PERCENTILES))
                assert (np.diff(rows, axis=1) >= 0).all()


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the photos are not here")
def test_the_table_is_that_of_the_photos() -> None:
    photos = [Image.open(path).convert("RGB") for path in sorted((SHARED / "kodak").glob("*.webp"))]
    scores = [grid_score(photo, 4) for photo in photos]
    assert json.loads(TABLE.read_text())["sets"]["kodak"]["pictures"]["phase"][1] == percentiles(np.array(scores))
    assert sum(measure(photo).verdict == "grid" for photo in photos[::3]) == 0


@pytest.mark.skipif(not PATCHES.is_dir(), reason="the paper's patches are not here")
def test_every_variant_of_the_paper_still_has_a_grid() -> None:
    for path in PATCHES.glob("*/*.png"):
        assert measure(Image.open(path).convert("RGB")).verdict == "grid", path
