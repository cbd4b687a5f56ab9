"""``diptych compare``: the metrics of people for any two pictures."""

import json
import shutil
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from diptych.cli.main import app
from pictures import SHARED
from samples import picture

KODIM05 = SHARED / "kodak" / "kodim05.webp"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    picture(200, 180).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def jpeg(photo: Path, quality: int) -> Path:
    target = photo.with_name(f"q{quality}.jpg")
    Image.open(photo).convert("RGB").save(target, quality=quality)
    return target


def test_every_metric_knows_the_better_picture(photo: Path) -> None:
    good, bad = (
        json.loads(line) for line in run(photo, jpeg(photo, 90), jpeg(photo, 10), "--json").stdout.splitlines()
    )
    for metric in ("psnr", "ssim", "ms_ssim", "ssimulacra2"):
        assert good[metric] > bad[metric]
    lower = ["lpips"] + (["butteraugli"] if shutil.which("butteraugli_main") else [])
    assert all(good[metric] < bad[metric] for metric in lower)


def test_a_picture_and_itself(photo: Path) -> None:
    scores = json.loads(run(photo, photo, "--json").stdout)
    assert scores["psnr"] is None  # infinite, which JSON does not have
    assert (scores["ssim"], scores["ssimulacra2"], scores["lpips"]) == (1, 100, 0)
    assert "psnr               inf" in run(photo, photo).stdout


def test_small_pictures_and_missing_tools_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(7, 7).save(tmp_path / "tiny.png")
    monkeypatch.setenv("PATH", "")
    result = run(tmp_path / "tiny.png", tmp_path / "tiny.png")
    assert result.exit_code == 0
    assert result.stdout.count("the picture is too small") >= 4


def test_other_sizes_cost_themselves_alone(photo: Path) -> None:
    picture(30, 20).save(photo.with_name("small.png"))
    result = run(photo, photo.with_name("small.png"), jpeg(photo, 50), photo.with_name("absent.png"))
    assert result.exit_code == 1
    assert "small.png: 30 x 20, and " in result.stderr
    assert "q50.jpg:\n  psnr" in result.stdout
    assert result.stdout.count("ms_ssim") == 1


@pytest.mark.slow
@pytest.mark.skipif(not KODIM05.is_file(), reason="needs the photos")
def test_lpips_is_the_published_one(tmp_path: Path) -> None:
    coded = BytesIO()
    Image.open(KODIM05).convert("RGB").save(coded, "JPEG", quality=20)
    (tmp_path / "coded.jpg").write_bytes(coded.getvalue())
    assert json.loads(run(KODIM05, tmp_path / "coded.jpg", "--json").stdout)["lpips"] == pytest.approx(
        0.1108, abs=1e-4
    )
