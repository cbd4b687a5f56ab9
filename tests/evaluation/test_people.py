import io
import math
import pickle
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from ssimulacra2 import compute_ssimulacra2

from diptych.errors import DiptychError
from diptych.evaluation import ffmpeg, measurements, vgg
from diptych.evaluation.aggregate import LOWER_IS_BETTER
from diptych.evaluation.cache import Cache
from diptych.evaluation.codecs import Decoded
from diptych.evaluation.measurements import Photo, measure
from diptych.evaluation.people import butteraugli, cvvdp, lpips, psnr_hvs, ssimulacra2, vmaf
from diptych.evaluation.results import Variant
from pictures import SHARED, blurred, textured

Metric = Callable[..., float]
TOOL = pytest.mark.skipif(shutil.which("butteraugli_main") is None, reason="needs libjxl-devtools")


def there(check: Callable[[], object]) -> bool:
    try:
        check()
    except DiptychError:
        return False
    return True


LIBVMAF = pytest.mark.skipif(
    not there(lambda: ffmpeg.find("", filter="libvmaf")), reason="needs FFmpeg with libvmaf"
)
VGG = pytest.mark.skipif(not there(vgg.made_with), reason="needs: python -m diptych.evaluation.vgg")
METRICS = [
    *(ssimulacra2, cvvdp, lpips),
    *(pytest.param(metric, marks=LIBVMAF) for metric in (vmaf, psnr_hvs)),
    *(pytest.param(metric, marks=VGG) for metric in (vgg.dists, vgg.vgg)),
    pytest.param(butteraugli, marks=TOOL),
]
SMALLEST = {"lpips": 31, "vmaf": 33, "psnr_hvs": 33, "dists": 16, "vgg": 16}
BEST = {"ssimulacra2": 100, "cvvdp": 10, "vmaf": pytest.approx(97.4, abs=0.5), "psnr_hvs": math.inf}


def jpeg(picture: np.ndarray | Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def test_lpips_of_the_published_network() -> None:
    path = SHARED / "kodak" / "kodim05.webp"
    if not path.is_file():
        pytest.skip("needs ../shared/data")
    photo = Image.open(path).convert("RGB")
    assert lpips(photo, jpeg(photo, 20)) == pytest.approx(0.1108, abs=1e-4)


@pytest.mark.parametrize("size", [(96, 80), (75, 101), (9, 40)])
def test_ssimulacra2_is_the_package(tmp_path: Path, size: tuple[int, int]) -> None:
    photo, decoded = textured(*size), jpeg(textured(*size), 30)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    decoded.save(tmp_path / "decoded.png")
    wanted = compute_ssimulacra2(str(tmp_path / "photo.png"), str(tmp_path / "decoded.png"))
    assert ssimulacra2(photo, decoded) == pytest.approx(wanted)
    assert wanted < 95


@LIBVMAF
def test_a_folder_for_files_whose_name_means_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (odd := tmp_path / "a b:c,d;e'[f]").mkdir()
    wanted = vmaf(textured(64, 48), jpeg(textured(64, 48), 30))
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    assert vmaf(textured(64, 48), jpeg(textured(64, 48), 30)) == wanted


@VGG
def test_dists_of_a_photo() -> None:
    path = SHARED / "kodak" / "kodim05.webp"
    if not path.is_file():
        pytest.skip("needs ../shared/data")
    photo = Image.open(path).convert("RGB")
    assert vgg.dists(photo, jpeg(photo, 20)) == pytest.approx(0.1267, abs=1e-4)


def test_a_network_that_was_not_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DiptychError, match=r"python -m diptych\.evaluation\.vgg"):
        vgg.made_with()


def test_nothing_runs_out_of_a_fetched_file() -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return print, ("ran",)

    with pytest.raises(pickle.UnpicklingError, match="not an array"):
        vgg._Arrays(io.BytesIO(pickle.dumps(Evil()))).load()
    arrays = {"a": np.arange(6.0).reshape(2, 3)}
    assert (vgg._Arrays(io.BytesIO(pickle.dumps(arrays, protocol=4))).load()["a"] == arrays["a"]).all()


@pytest.mark.parametrize("metric", METRICS)
def test_what_is_worse_scores_worse(metric: Metric) -> None:
    photo = textured(120, 97)
    better = -1 if metric.__name__ in LOWER_IS_BETTER else 1
    for spoil, strengths in ((blurred, (0.5, 1, 3)), (jpeg, (90, 50, 10))):
        scores = [better * metric(photo, spoil(photo, strength)) for strength in strengths]
        assert scores[0] > scores[1] > scores[2]
        assert better * metric(photo, photo) > scores[0]
    assert metric(photo, photo) == BEST.get(metric.__name__, pytest.approx(0, abs=1e-6))


@settings(max_examples=12)
@given(width=st.integers(1, 40), height=st.integers(1, 40))
@pytest.mark.parametrize("metric", METRICS)
def test_any_size(metric: Metric, width: int, height: int) -> None:
    photo = textured(48, 48)[:height, :width]
    score = metric(photo, 255 - photo)
    assert math.isnan(score) == (min(width, height) < SMALLEST.get(metric.__name__, 8))


@pytest.mark.parametrize("metric", METRICS)
def test_sizes_must_agree(metric: Metric) -> None:
    with pytest.raises(ValueError, match="the photo"):
        metric(textured(40, 40), textured(41, 40))


def test_scores_are_remembered_by_both_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(photo: np.ndarray, decoded: np.ndarray) -> float:
        asked.append(1)
        return lpips(photo, decoded)

    monkeypatch.setitem(measurements.AGAINST_PHOTO, "lpips", counted)
    photos = [Photo(str(seed), 0, textured(50, 40, seed)) for seed in range(2)]
    variant = Variant(codec="jpeg", setting=30)

    def scored(photo: Photo, quality: int) -> float:
        made = [Decoded(variant, jpeg(photo.pixels, quality), 9)]
        found = measure(photo, made, ["lpips"], {}, {}, Cache(tmp_path)).rows[variant]["lpips"]
        assert isinstance(found, float)
        return found

    first = [scored(photo, quality) for photo in photos for quality in (30, 60)]
    assert len(asked) == len(set(first)) == 4
    assert [scored(photo, quality) for photo in photos for quality in (30, 60)] == first
    assert len(asked) == 4
