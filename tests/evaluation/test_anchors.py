import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from diptych.evaluation.anchors import ANCHORS, at_bytes
from diptych.evaluation.metrics import psnr

from .pictures import textured

PHOTO = textured(72, 50)
NAMES = pytest.mark.parametrize("name", ANCHORS)


@NAMES
def test_files_are_real(name: str) -> None:
    anchor = ANCHORS[name]
    data = anchor.encode(PHOTO, 60)
    with Image.open(io.BytesIO(data)) as file:
        assert file.format == name.upper()
    decoded = anchor.decode(data)
    assert decoded.mode == "RGB"
    assert decoded.size == (72, 50)
    assert psnr(PHOTO, decoded) > 25


@NAMES
def test_higher_settings_are_larger_and_better(name: str) -> None:
    anchor = ANCHORS[name]
    files = [anchor.encode(PHOTO, setting) for setting in (10, 50, 90)]
    assert len(files[0]) < len(files[1]) < len(files[2])
    qualities = [psnr(PHOTO, anchor.decode(data)) for data in files]
    assert qualities == sorted(qualities)


def test_jpeg_is_progressive_and_subsampled() -> None:
    with Image.open(io.BytesIO(ANCHORS["jpeg"].encode(PHOTO, 50))) as file:
        assert file.info["progressive"]
        assert [component[1:3] for component in file.layer] == [(2, 2), (1, 1), (1, 1)]


@NAMES
def test_metadata_of_the_photo_costs_nothing(name: str) -> None:
    photo = Image.fromarray(PHOTO)
    photo.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo.info["comment"] = b"said at length " * 40
    assert ANCHORS[name].encode(photo, 40) == ANCHORS[name].encode(PHOTO, 40)


def test_a_file_of_another_format_is_not_decoded() -> None:
    with pytest.raises(Image.UnidentifiedImageError):
        ANCHORS["webp"].decode(ANCHORS["jpeg"].encode(PHOTO, 40))


@settings(max_examples=25, deadline=None)
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


def test_at_bytes_reuses_files() -> None:
    anchor, files = ANCHORS["jpeg"], dict[int, bytes]()
    first = at_bytes(anchor, PHOTO, 1200, files)
    known = dict(files)
    assert at_bytes(anchor, np.zeros_like(PHOTO), 1200, files) == first
    assert files == known
