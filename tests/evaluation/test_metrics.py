import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diptych.evaluation.metrics import detail, features, ms_ssim, psnr, sharpness, ssim
from pictures import blurred, gridded, textured


def test_psnr_by_hand() -> None:
    photo = np.zeros((4, 5, 3), np.uint8)
    decoded = photo.copy()
    decoded[0, 0] = (10, 0, 0)
    assert psnr(photo, decoded) == pytest.approx(10 * math.log10(255**2 / (100 / 60)), abs=1e-4)
    assert psnr(photo, photo + np.uint8(255)) == pytest.approx(0, abs=1e-6)
    assert psnr(photo, photo) == math.inf


def test_ssim_by_hand() -> None:
    # Constant pictures: no variance, so only the luminance term (2ab + c) / (a^2 + b^2 + c) is left.
    first, second = (np.full((40, 40, 3), level, np.uint8) for level in (100, 150))
    c = (0.01 * 255) ** 2
    expected = (2 * 100 * 150 + c) / (100**2 + 150**2 + c)
    assert ssim(first, second) == pytest.approx(expected, abs=5e-4)


def test_equal_pictures_are_perfect() -> None:
    photo = textured(190, 180)
    assert ssim(photo, photo) == pytest.approx(1)
    assert ms_ssim(photo, photo) == pytest.approx(1)
    assert sharpness(photo, photo) == 1


def test_too_small_for_a_window() -> None:
    photo = textured(175, 200)
    assert math.isnan(ms_ssim(photo, photo))
    assert math.isnan(ssim(photo[:10], photo[:10]))


@pytest.mark.parametrize("metric", [psnr, ssim, ms_ssim])
def test_more_noise_is_worse(metric) -> None:
    photo = textured(180, 180)
    noise = np.random.default_rng(0).standard_normal(photo.shape)
    values = [metric(photo, (photo + noise * level).clip(0, 255).astype(np.uint8)) for level in (2, 8, 30)]
    assert values[0] > values[1] > values[2]


@settings(max_examples=10)
@given(seed=st.integers(0, 50), level=st.integers(1, 40))
def test_metrics_are_symmetric(seed: int, level: int) -> None:
    photo = textured(60, 50, seed)
    decoded = gridded(photo, 4, level)
    assert psnr(photo, decoded) == pytest.approx(psnr(decoded, photo))
    assert ssim(photo, decoded) == pytest.approx(ssim(decoded, photo), rel=1e-5)
    assert sharpness(photo, decoded) == pytest.approx(1 / sharpness(decoded, photo))


def test_sharpness_guards_against_blur() -> None:
    photo = textured()
    assert sharpness(photo, blurred(photo)) < 0.5
    assert sharpness(photo, gridded(photo, 4, 10)) > 1
    assert math.isnan(sharpness(np.full((40, 40, 3), 9, np.uint8), photo[:40, :40]))


def test_pil_images_of_any_mode_are_taken_as_rgb() -> None:
    grey = Image.fromarray(textured(40, 40)[:, :, 0])
    assert psnr(grey, grey.convert("RGB")) == math.inf


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="the photo"):
        psnr(textured(40, 40), textured(41, 40))
    with pytest.raises(ValueError, match="uint8"):
        psnr(np.zeros((4, 4, 3)), np.zeros((4, 4, 3)))


def test_detail_is_lost_by_a_blur_and_not_made_by_a_grid_or_noise() -> None:
    photo = textured()
    noise = np.random.default_rng(1).normal(0, 12, photo.shape[:2])[:, :, None]
    noisy = (photo + noise).clip(0, 255).astype(np.uint8)
    weak, strong = (detail(photo, blurred(photo, radius)) for radius in (0.7, 3))
    assert 1 > weak > strong > 0
    assert detail(photo, photo) == 1
    assert detail(photo, np.full_like(photo, 128)) == pytest.approx(0, abs=1e-9)
    for spoiled in (gridded(blurred(photo, 3), 4, 40), noisy):
        assert sharpness(photo, spoiled) > 1
    assert detail(photo, gridded(blurred(photo, 3), 4, 40)) == pytest.approx(strong, abs=0.05)
    assert detail(photo, noisy) == pytest.approx(1, abs=0.05)
    assert math.isnan(detail(np.full_like(photo, 9), photo))


def test_features_see_what_is_lost() -> None:
    photo = textured(130, 97)
    weak, strong = (features(photo, blurred(photo, radius)) for radius in (0.7, 3))
    assert 0 == features(photo, photo) < weak < strong < 2
    assert features(photo[::-1].copy(), photo) > 0
