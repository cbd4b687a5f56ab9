import dataclasses
import io
import re
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from diptych.errors import DiptychError
from diptych.evaluation.anchors import ANCHORS, PillowAnchor, at_bytes
from diptych.evaluation.metrics import psnr
from pictures import textured

PHOTO = textured(72, 50)
NAMES = pytest.mark.parametrize("name", ANCHORS)
FORMATS = {"avif-default": "AVIF", "heic": "HEIF"}


def at(name: str, share: float) -> int:
    """The setting at a part of the way from the smallest file to the largest."""
    settings = ANCHORS[name].settings
    return settings[round(share * (len(settings) - 1))]


@NAMES
def test_files_are_real(name: str) -> None:
    anchor = ANCHORS[name]
    data = anchor.encode(PHOTO, at(name, 0.6))
    if not name.startswith("vvc"):
        with Image.open(io.BytesIO(data)) as file:
            assert file.format == FORMATS.get(name, name.upper())
    decoded = anchor.decode(data)
    assert decoded.mode == "RGB"
    assert decoded.size == (72, 50)
    assert psnr(PHOTO, decoded) > 25


@NAMES
def test_later_settings_are_larger_and_better(name: str) -> None:
    anchor = ANCHORS[name]
    files = [anchor.encode(PHOTO, at(name, share)) for share in (0.1, 0.5, 0.85)]
    assert len(files[0]) < len(files[1]) < len(files[2])
    qualities = [psnr(PHOTO, anchor.decode(data)) for data in files]
    assert qualities == sorted(qualities)


@NAMES
@pytest.mark.parametrize("size", [(71, 50), (72, 49), (71, 49)])
def test_odd_sizes(name: str, size: tuple[int, int]) -> None:
    photo = textured(*size, seed=1)
    decoded = ANCHORS[name].decode(ANCHORS[name].encode(photo, at(name, 0.6)))
    assert decoded.size == size
    assert psnr(photo, decoded) > 25


@NAMES
def test_the_same_file_every_time(name: str) -> None:
    assert ANCHORS[name].encode(PHOTO, at(name, 0.5)) == ANCHORS[name].encode(PHOTO, at(name, 0.5))


@NAMES
def test_encoders_say_their_version(name: str) -> None:
    assert re.search(r"\d+\.\d+", ANCHORS[name].made_with)
    assert ANCHORS[name].made_with == ANCHORS[name].made_with


@pytest.mark.parametrize(("name", "package"), [("heic", "pillow_heif"), ("jxl", "pillow_jxl")])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, name: str, package: str) -> None:
    anchor = ANCHORS[name]
    assert isinstance(anchor, PillowAnchor)
    anchor.library.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DiptychError, match=rf"{name} needs the package '{package}': pip install 'diptych\[eval\]'"):
        anchor.encode(PHOTO, 50)
    with pytest.raises(DiptychError, match=package):
        assert dataclasses.replace(anchor).made_with


def test_jpeg_is_progressive_and_subsampled() -> None:
    with Image.open(io.BytesIO(ANCHORS["jpeg"].encode(PHOTO, 50))) as file:
        assert file.info["progressive"]
        assert [component[1:3] for component in file.layer] == [(2, 2), (1, 1), (1, 1)]


@NAMES
def test_metadata_of_the_photo_costs_nothing(name: str) -> None:
    photo = Image.fromarray(PHOTO)
    photo.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo.info["comment"] = b"said at length " * 40
    assert ANCHORS[name].encode(photo, at(name, 0.4)) == ANCHORS[name].encode(PHOTO, at(name, 0.4))


def test_a_file_of_another_format_is_not_decoded() -> None:
    with pytest.raises(Image.UnidentifiedImageError):
        ANCHORS["webp"].decode(ANCHORS["jpeg"].encode(PHOTO, 40))


@settings(max_examples=25)
@given(target=st.integers(0, 9000), seed=st.integers(0, 3))
def test_at_bytes_takes_all_it_can(target: int, seed: int) -> None:
    anchor, photo = ANCHORS["jpeg"], textured(72, 50, seed)
    made = at_bytes(anchor, photo, target)
    assert made.data == anchor.encode(photo, made.setting)
    assert made.fits == (len(made.data) <= target)
    if not made.fits:
        assert made.setting == anchor.settings[0]
    elif made.setting != anchor.settings[-1]:
        assert len(anchor.encode(photo, made.setting + 1)) > target


@pytest.mark.parametrize("name", ["vvc", "jxl"])
def test_at_bytes_of_other_scales(name: str) -> None:
    anchor, files = ANCHORS[name], dict[int, bytes]()
    made = at_bytes(anchor, PHOTO, 500, files)
    assert made.fits
    assert len(made.data) <= 500 < len(files[anchor.settings[anchor.settings.index(made.setting) + 1]])


def test_at_bytes_reuses_files() -> None:
    anchor, files = ANCHORS["jpeg"], dict[int, bytes]()
    first = at_bytes(anchor, PHOTO, 1200, files)
    known = dict(files)
    assert at_bytes(anchor, np.zeros_like(PHOTO), 1200, files) == first
    assert files == known
