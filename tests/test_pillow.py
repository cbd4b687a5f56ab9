"""Dip files in Pillow: all modes and odd sizes, lazily, with Pillow's own errors."""

import io
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, UnidentifiedImageError

import diptych.pillow
from diptych.bitstream import pack, unpack
from diptych.codec.codec import Codec
from diptych.io.images import to_rgb
from samples import picture

MODES = (
    "1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB",
    "I;16", "I;16L", "I;16B", "I", "F",
)  # fmt: skip
PHOTOS = Path(__file__).parents[2] / "shared/data/voc/val"
SIZES = ((1, 1), (1, 17), (19, 1), (2, 3), (7, 5), (15, 16), (16, 16), (17, 33), (31, 64), (65, 9), (40, 63))


def of_mode(mode: str, size: tuple[int, int]) -> Image.Image:
    """A picture of any mode with something in it."""
    rgb = picture(*size, seed=sum(size))
    if mode.startswith("I;16"):
        values = np.asarray(rgb.convert("L")).astype(np.uint16) * 257
        return Image.frombytes(mode, size, values.astype(">u2" if mode == "I;16B" else "<u2").tobytes())
    if mode in ("RGBA", "RGBa", "LA", "La", "PA"):
        rgb.putalpha(Image.linear_gradient("L").resize(size))
        through = {"RGBa": "RGBA", "La": "LA"}.get(mode)
        return rgb.convert(through).convert(mode) if through else rgb.convert(mode)
    if mode == "LAB":
        return Image.frombytes("LAB", size, rgb.tobytes())
    return rgb.convert(mode)


def reopened(image: Image.Image, codec: Codec, **options: object) -> diptych.pillow.DipImageFile:
    file = io.BytesIO()
    image.save(file, "DIP", codec=codec, **options)
    opened = Image.open(io.BytesIO(file.getvalue()))
    assert isinstance(opened, diptych.pillow.DipImageFile)
    return opened


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES)
def test_every_mode_and_size(codec: Codec, mode: str, size: tuple[int, int]) -> None:
    image = of_mode(mode, size)
    assert (image.mode, image.size) == (mode, size)
    opened = reopened(image, codec, quality=60)
    assert (opened.format, opened.mode, opened.size) == ("DIP", "RGB", size)
    opened.use_view("machine", codec)
    expected = codec.decode(codec.encode(to_rgb(image).image, 60), "machine")
    assert np.array_equal(np.asarray(opened), np.asarray(expected))


@pytest.mark.slow
@settings(max_examples=25)
@given(
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    quality=st.floats(0, 100),
    view=st.floats(0, 1),
    mode=st.sampled_from(MODES),
)
def test_pixels_are_those_of_the_codec(
    codec: Codec, width: int, height: int, quality: float, view: float, mode: str
) -> None:
    image = of_mode(mode, (width, height))
    opened = reopened(image, codec, quality=quality)
    opened.use_view(view, codec)
    assert np.array_equal(np.asarray(opened), np.asarray(codec.decode(codec.encode(image, quality), view)))
    assert opened.info == {"quality": round(quality * 100) / 100, "model_id": codec.model_id.hex()}


@pytest.mark.slow
@pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs ../shared/data")
def test_two_hundred_photos(codec: Codec) -> None:
    random = np.random.default_rng(0)
    photos = sorted(PHOTOS.glob("*.jpg"))[:200]
    assert len(photos) == 200
    for number, photo in enumerate(photos):
        width, height = (2 * random.integers(3, 60, 2) + 1).tolist()
        rgb = Image.open(photo).convert("RGB").crop((0, 0, width, height))
        mode = MODES[number % len(MODES)]
        image = of_mode(mode, (width, height)) if mode in ("LAB", "La", "RGBa", "PA") else _converted(rgb, mode)
        opened = reopened(image, codec, quality=5 + number % 90)
        opened.use_view("machine", codec)
        expected = codec.decode(codec.encode(to_rgb(image).image, 5 + number % 90), "machine")
        assert np.array_equal(np.asarray(opened), np.asarray(expected)), (photo.name, mode)


def _converted(rgb: Image.Image, mode: str) -> Image.Image:
    if not mode.startswith("I;16"):
        return rgb.convert(mode)
    values = np.asarray(rgb.convert("L")).astype(np.uint16) * 257
    return Image.frombytes(mode, rgb.size, values.astype(">u2" if mode == "I;16B" else "<u2").tobytes())


@pytest.fixture
def path(tmp_path: Path, codec: Codec) -> Path:
    path = tmp_path / "photo.dip"
    picture(50, 35).save(path, quality=30, codec=codec)
    return path


def test_files_by_name(path: Path, codec: Codec) -> None:
    assert path.read_bytes() == codec.encode(picture(50, 35), 30)
    with Image.open(path) as image:
        image.use_view("human", codec)  # type: ignore[attr-defined]
        small = image.resize((25, 17))
    assert small.size == (25, 17)
    assert image.get_format_mimetype() == "application/x-dip"


def test_the_view_for_people_is_the_default(path: Path, codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diptych.pillow, "shipped_codec", lambda: codec)
    human, machine = codec.decode_views(path.read_bytes(), ["human", "machine"])
    assert np.array_equal(np.asarray(Image.open(path)), np.asarray(human))
    assert not np.array_equal(np.asarray(human), np.asarray(machine))


def test_a_view_is_chosen_before_decoding(path: Path, codec: Codec) -> None:
    image = Image.open(path)
    assert isinstance(image, diptych.pillow.DipImageFile)
    image.use_view("machine", codec)
    image.load()
    with pytest.raises(ValueError, match="has been decoded"):
        image.use_view("human", codec)


def test_what_can_be_done_with_other_pictures(path: Path, codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diptych.pillow, "shipped_codec", lambda: codec)
    expected = np.asarray(codec.decode(path.read_bytes(), "human"))
    assert np.array_equal(np.asarray(pickle.loads(pickle.dumps(Image.open(path)))), expected)
    assert np.array_equal(np.asarray(Image.open(path).copy()), expected)
    assert np.array_equal(np.asarray(Image.open(path).crop((3, 4, 20, 30))), expected[4:30, 3:20])
    thumbnail = Image.open(path)
    thumbnail.thumbnail((20, 20))
    assert thumbnail.size == (20, 14)
    painted = Image.open(path)
    painted.putpixel((0, 0), (1, 2, 3))
    assert painted.getpixel((0, 0)) == (1, 2, 3)
    assert Image.open(path).draft("RGB", (10, 10)) is None
    Image.open(path).save(path.with_suffix(".png"))
    assert np.array_equal(np.asarray(Image.open(path.with_suffix(".png"))), expected)


def test_saving_over_the_file_that_is_open(path: Path, codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diptych.pillow, "shipped_codec", lambda: codec)
    image = Image.open(path)
    image.save(path, quality=90)
    assert image.size == (50, 35)
    assert Image.open(path).info["quality"] == 90


def test_files_are_closed(path: Path, codec: Codec) -> None:
    with Image.open(path) as image:
        pass
    with pytest.raises(ValueError, match="closed image"):
        image.load()
    image = Image.open(path)
    assert isinstance(image, diptych.pillow.DipImageFile)
    image.use_view("machine", codec)
    image.load()
    assert image.fp is None
    stream = io.BytesIO(path.read_bytes())
    opened = Image.open(stream)
    opened.use_view("machine", codec)  # type: ignore[attr-defined]
    opened.load()
    assert not stream.closed


def test_other_files_are_not_identified(tmp_path: Path) -> None:
    for content in (b"", b"DI", b"no picture at all", b"GIF89a"):
        (tmp_path / "x.dip").write_bytes(content)
        with pytest.raises(UnidentifiedImageError):
            Image.open(tmp_path / "x.dip")


def test_damaged_files(path: Path, codec: Codec) -> None:
    data = path.read_bytes()
    for number in range(3, 15):
        path.write_bytes(data[:number] + bytes([data[number] ^ 64]) + data[number + 1 :])
        with pytest.raises(OSError, match="The file"):
            Image.open(path)
    for damaged in (data[:-1], data + b"x", data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]):
        path.write_bytes(damaged)
        image = Image.open(path)
        image.use_view("machine", codec)  # type: ignore[attr-defined]
        with pytest.raises(OSError, match="The file"):
            image.load()
        with pytest.raises(OSError, match="The file"):
            Image.open(path).verify()


def test_verify_checks_without_decoding(path: Path) -> None:
    image = Image.open(path)
    image.verify()
    assert image.size == (50, 35)


def test_file_of_another_codec(path: Path, codec: Codec) -> None:
    container = unpack(path.read_bytes())
    path.write_bytes(pack(container._replace(header=container.header._replace(model_id=b"none"))))
    image = Image.open(path)
    image.use_view("machine", codec)  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="was written with codec"):
        image.load()


@pytest.mark.parametrize("quality", [-1, 100.5, float("nan")])
def test_impossible_qualities(tmp_path: Path, codec: Codec, quality: float) -> None:
    with pytest.raises(OSError, match="quality"):
        picture(9, 9).save(tmp_path / "x.dip", quality=quality, codec=codec)
    assert not list(tmp_path.iterdir())


def test_quality_that_is_no_number(tmp_path: Path, codec: Codec) -> None:
    with pytest.raises(ValueError, match="'web_high'"):
        picture(9, 9).save(tmp_path / "x.dip", quality="web_high", codec=codec)
    assert not list(tmp_path.iterdir())


def test_torch_is_imported_for_pixels_only(path: Path) -> None:
    program = """
import sys
from PIL import Image
import diptych.pillow
with Image.open(sys.argv[1]) as image:
    assert (image.size, image.info["quality"]) == ((50, 35), 30)
Image.open(sys.argv[1]).verify()
assert "torch" not in sys.modules
"""
    result = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
