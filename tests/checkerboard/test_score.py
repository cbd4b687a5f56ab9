import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from diptych.checkerboard.score import STRIDES, grid_score, grid_scores, spectral_score, spectral_scores
from diptych.io.pixels import high_pass, luma
from pictures import PATCHES, SHARED, blurred, gridded, textured

SCORES = pytest.mark.parametrize("score", [grid_score, spectral_score])


def test_high_pass_is_the_picture_minus_a_gaussian() -> None:
    plane = luma(textured(40, 30))
    assert np.allclose(high_pass(plane), plane - gaussian_filter(plane, 1.5, radius=3, mode="reflect"))


def test_noise_scores_one() -> None:
    # The high-pass takes the low frequencies out of white noise, the phases' own frequencies are left.
    scores = [
        grid_score(np.random.default_rng(seed).integers(0, 256, (176, 176, 3), dtype=np.uint8), 4)
        for seed in range(30)
    ]
    assert 0.9 < np.mean(scores) < 1.6


@SCORES
@pytest.mark.parametrize("stride", STRIDES)
def test_grid_is_seen_and_grows_with_its_strength(score, stride: int) -> None:
    photo = textured()
    values = [score(gridded(photo, stride, strength), stride) for strength in (0, 4, 16)]
    assert values[0] < values[1] < values[2]
    assert values[2] > values[0] + 0.5


def test_grid_of_a_checkerboard() -> None:
    board = np.indices((176, 176)).sum(axis=0) % 2 * 200
    picture = np.repeat(board[:, :, None].astype(np.uint8), 3, axis=2)
    # All variance lies between the phases: by noise it would be 1 / pixels per phase of that; ddof 4 / 3.
    assert grid_score(picture, 2) == pytest.approx(80 * 80 * 4 / 3)
    assert spectral_score(picture, 2) > 2


def test_grid_at_the_wrong_stride_is_not_seen() -> None:
    assert grid_score(gridded(textured(), 5, 20), 4) < 5


@SCORES
def test_blur_lowers_the_scores_of_a_grid(score) -> None:
    photo = gridded(textured(), 4, 10)
    assert score(blurred(photo), 4) < score(photo, 4)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 100),
    offset=st.integers(-40, 40),
    stride=st.sampled_from(STRIDES),
    strength=st.integers(0, 8),
)
def test_scores_do_not_change_with_brightness_orientation_or_inversion(
    seed: int, offset: int, stride: int, strength: int
) -> None:
    photo = gridded(textured(176, 176, seed), stride, strength).clip(40, 215)
    same = [photo + np.int16(offset), 255 - photo, photo[::-1], photo[:, ::-1], photo.transpose(1, 0, 2)]
    for score in (grid_score, spectral_score):
        expected = score(photo, stride)
        for other in same:
            assert score(np.ascontiguousarray(other, dtype=np.uint8), stride) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=10)
@given(shift=st.tuples(st.integers(0, 7), st.integers(0, 7)), stride=st.sampled_from(STRIDES))
def test_phase_score_does_not_care_where_the_grid_begins(shift: tuple[int, int], stride: int) -> None:
    grid = gridded(np.full((176, 176, 3), 100, np.uint8), stride, 50)
    moved = np.roll(grid, shift, axis=(0, 1))
    assert grid_score(moved, stride) == pytest.approx(grid_score(grid, stride), rel=0.05)


@SCORES
@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 200), (47, 95), (161, 40)])
def test_pictures_smaller_than_a_tile_are_scored(score, height: int, width: int) -> None:
    for stride in STRIDES:
        assert math.isfinite(score(textured(width, height), stride))


@SCORES
def test_tiny_pictures_have_no_score(score) -> None:
    assert math.isnan(score(textured(200, 31), 4))


@SCORES
def test_flat_picture_has_no_grid(score) -> None:
    assert score(np.full((200, 200, 3), 77, np.uint8), 4) == pytest.approx(0, abs=1e-6)


def test_several_strides_at_once() -> None:
    photo = textured(200, 180)
    assert grid_scores(photo) == {stride: grid_score(photo, stride) for stride in STRIDES}
    assert spectral_scores(photo) == {stride: spectral_score(photo, stride) for stride in STRIDES}


@pytest.mark.skipif(not PATCHES.is_dir(), reason="the paper's patches are not here")
def test_order_of_the_papers_variants() -> None:
    def median(variant: str) -> float:
        return float(np.median([grid_score(Image.open(p), 4) for p in PATCHES.glob(f"*/{variant}.png")]))

    base, low_impact, gaussian = median("base"), median("low-impact"), median("gaussian")
    bilateral, finetuned = median("bilateral"), median("finetuned")
    assert base > low_impact > gaussian > bilateral > finetuned
    assert base > 150
    assert 4 < finetuned < 50


@pytest.mark.skipif(not SHARED.is_dir(), reason="the photos are not here")
def test_photos_score_far_below_the_papers_best() -> None:
    photos = sorted((SHARED / "kodak").glob("*.webp"))[::4]
    scores = [grid_score(Image.open(photo), 4) for photo in photos]
    assert np.median(scores) < 1.5
    assert max(scores) < 5
