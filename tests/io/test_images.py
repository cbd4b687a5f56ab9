"""Reading and writing pictures: every mode, every orientation, every way to fail."""

import struct
import warnings
import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from diptych.errors import PictureError
from diptych.io import images
from diptych.io.images import read_picture, to_rgb, write_picture

MODES = """
    1 L LA La P PA RGB RGBA RGBa RGBX CMYK YCbCr LAB HSV I F I;16 I;16L I;16B I;16N
"""
SIZES = [(1, 1), (1, 7), (5, 3), (64, 33)]


def photo(size: tuple[int, int] = (32, 24), seed: int = 0) -> Image.Image:
    """A smooth random picture."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def corner(image: Image.Image) -> tuple[int, int, int]:
    pixel = image.getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return pixel  # type: ignore[return-value]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", MODES.split())
def test_every_mode_becomes_rgb(mode: str, size: tuple[int, int]) -> None:
    image, _ = to_rgb(Image.new(mode, size))
    assert image.mode == "RGB"
    assert image.size == size


def test_plain_rgb_is_unchanged_and_without_notes(tmp_path: Path) -> None:
    photo().save(tmp_path / "a.png")
    image, notes = read_picture(tmp_path / "a.png")
    assert notes == []
    np.testing.assert_array_equal(np.asarray(image), np.asarray(photo()))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = Image.new("RGB", (48, 32), "white")
    upright.paste((200, 0, 0), (0, 0, 16, 16))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    stored.save(path, exif=exif, quality=95)

    image, notes = read_picture(path)

    assert notes == []
    assert image.size == upright.size
    assert np.abs(np.asarray(image).astype(int) - np.asarray(upright)).mean() < 3


def test_damaged_exif_is_ignored_with_a_note(tmp_path: Path) -> None:
    photo().save(tmp_path / "a.png", exif=b"Exif\x00\x00MM_*\x00\x00\x00\x08\x00\x00")
    image, notes = read_picture(tmp_path / "a.png")
    assert image.size == photo().size
    assert notes == ["its EXIF data is damaged and was ignored"]


def clear(mode: str) -> Image.Image:
    """A wholly transparent picture."""
    image = Image.new(mode, (3, 2))
    assert image.has_transparency_data
    return image


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_transparency_is_shown_on_white_and_noted(mode: str) -> None:
    image, notes = to_rgb(clear(mode))
    assert corner(image) == (255, 255, 255)
    assert notes == ["its transparent parts are shown on white"]


def test_half_transparency_is_blended() -> None:
    image, _ = to_rgb(Image.new("RGBA", (2, 2), (255, 0, 0, 128)))
    assert corner(image) == (255, 127, 127)


def test_opaque_alpha_is_dropped_silently() -> None:
    image, notes = to_rgb(Image.new("RGBA", (2, 2), (10, 20, 30, 255)))
    assert corner(image) == (10, 20, 30)
    assert notes == []


@pytest.mark.parametrize(("mode", "colour"), [("L", 7), ("RGB", (1, 2, 3)), ("I;16", 9)])
def test_transparent_colour_of_a_png(tmp_path: Path, mode: str, colour: object) -> None:
    picture = Image.new(mode, (4, 4))
    picture.putpixel((0, 0), colour)  # type: ignore[arg-type]
    if mode == "I;16":
        picture.info["transparency"] = colour
        image, notes = to_rgb(picture)
    else:
        picture.save(tmp_path / "a.png", transparency=colour)
        image, notes = read_picture(tmp_path / "a.png")
    assert corner(image) == (255, 255, 255)
    assert image.getpixel((1, 1)) == (0, 0, 0)
    assert notes[-1] == "its transparent parts are shown on white"


def test_palette_with_transparency(tmp_path: Path) -> None:
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putpixel((0, 0), 0)
    picture.save(tmp_path / "a.png", transparency=0)
    image, notes = read_picture(tmp_path / "a.png")
    assert corner(image) == (255, 255, 255)
    assert image.getpixel((1, 1)) == (0, 0, 255)
    assert len(notes) == 1


def test_one_bit() -> None:
    assert corner(to_rgb(Image.new("1", (3, 3), 1)).image) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B"])
@pytest.mark.parametrize(("value", "grey"), [(0, 0), (128, 0), (129, 1), (257, 1), (32896, 128), (65535, 255)])
def test_sixteen_bits_are_rounded(mode: str, value: int, grey: int) -> None:
    image, notes = to_rgb(Image.new(mode, (2, 2), value))
    assert corner(image) == (grey, grey, grey)
    assert notes == ["its 16 bits a channel became 8"]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm", ".jp2"])
def test_sixteen_bit_files(tmp_path: Path, suffix: str) -> None:
    values = (np.arange(64 * 32, dtype=np.uint16) * 31).reshape(32, 64)
    Image.fromarray(values).save(tmp_path / f"a{suffix}")
    image, notes = read_picture(tmp_path / f"a{suffix}")
    assert notes == ["its 16 bits a channel became 8"]
    np.testing.assert_allclose(np.asarray(image)[..., 0], values / 257, atol=0.51)


@pytest.mark.parametrize(
    ("values", "greys", "notes"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255], 0),
        ([0.0, 100.0, 255.0], [0, 100, 255], 1),
        ([0.0, 32896.0, 65535.0], [0, 128, 255], 1),
        ([-1.0, 0.0, 1.0], [0, 128, 255], 1),
        ([float("nan"), 1.0, float("inf")], [0, 255, 0], 0),
        ([-3.0, -3.0, -3.0], [0, 0, 0], 1),
    ],
)
def test_float_grey(values: list[float], greys: list[int], notes: int) -> None:
    image, told = to_rgb(Image.fromarray(np.array([values], np.float32)))
    assert np.asarray(image)[0, :, 0].tolist() == greys
    assert len(told) == notes


def test_wide_integers_are_stretched_with_a_note() -> None:
    image, notes = to_rgb(Image.fromarray(np.array([[0, 1 << 20]], np.int32)))
    assert np.asarray(image)[0, :, 0].tolist() == [0, 255]
    assert notes == ["its values from 0 to 1.04858e+06 were stretched from black to white"]


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_keeps_its_colours(tmp_path: Path, suffix: str) -> None:
    colours = Image.new("RGB", (32, 16), (220, 40, 30))
    colours.convert("CMYK").save(tmp_path / f"a{suffix}", quality=95)
    image, notes = read_picture(tmp_path / f"a{suffix}")
    assert notes == []
    assert np.abs(np.array(corner(image)) - (220, 40, 30)).max() < 6


def profile(space: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()  # type: ignore[arg-type]


def exchanging_profile() -> bytes:
    """An sRGB profile renamed and with red and green exchanged, so that its effect is plain."""
    data = bytearray(profile("sRGB"))
    count = struct.unpack_from(">I", data, 128)[0]
    for entry in range(132, 132 + 12 * count, 12):
        name = bytes(data[entry : entry + 4])
        if name in (b"rXYZ", b"gXYZ"):
            data[entry : entry + 4] = b"gXYZ" if name == b"rXYZ" else b"rXYZ"
    return bytes(data).replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colour_profile_is_converted(tmp_path: Path, mode: str) -> None:
    picture = Image.new("RGB", (4, 4), (250, 30, 30)).convert(mode)
    picture.save(tmp_path / "a.png", icc_profile=exchanging_profile())
    image, notes = read_picture(tmp_path / "a.png")
    red, green, blue = corner(image)
    assert green > 240
    assert max(red, blue) < 60
    assert notes == []
    assert image.info == {}


def test_srgb_profile_changes_nothing(tmp_path: Path) -> None:
    photo().save(tmp_path / "a.png", icc_profile=profile("sRGB"))
    np.testing.assert_array_equal(np.asarray(read_picture(tmp_path / "a.png").image), np.asarray(photo()))


@pytest.mark.parametrize("data", [b"rubbish" * 50, profile("LAB")])
def test_unfit_profile_is_ignored_with_a_note(tmp_path: Path, data: bytes) -> None:
    photo().save(tmp_path / "a.png", icc_profile=data)
    image, notes = read_picture(tmp_path / "a.png")
    assert notes == ["its colour profile does not fit and was ignored"]
    np.testing.assert_array_equal(np.asarray(image), np.asarray(photo()))


def test_grey_picture_with_a_colour_profile(tmp_path: Path) -> None:
    photo().convert("L").save(tmp_path / "a.jpg", icc_profile=exchanging_profile())
    assert read_picture(tmp_path / "a.jpg").notes == []


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif", ".mpo"])
def test_first_of_several_pictures(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:])
    image, notes = read_picture(tmp_path / f"a{suffix}")
    assert notes == ["it holds 3 pictures, only the first is kept"]
    assert np.abs(np.array(corner(image)) - (255, 0, 0)).max() < 5


def refused(path: Path) -> str:
    with pytest.raises(PictureError) as caught:
        read_picture(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_missing_file(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.jpg")


def test_folder_is_no_picture(tmp_path: Path) -> None:
    assert "is a directory" in refused(tmp_path)


@pytest.mark.parametrize("data", [b"", b"hello", bytes(1000)])
def test_foreign_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    assert "not a picture" in refused(tmp_path / "a.jpg")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "JPEG2000", "AVIF"])
def test_truncated_file(tmp_path: Path, format: str) -> None:
    stream = BytesIO()
    photo((90, 70)).save(stream, format)
    (tmp_path / "a").write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])
    refused(tmp_path / "a")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "GIF"])
def test_random_damage_gives_a_picture_or_one_sentence(tmp_path: Path, format: str) -> None:
    stream = BytesIO()
    photo((40, 30)).save(stream, format)
    rng = np.random.default_rng(1)
    for _ in range(60):
        data = bytearray(stream.getvalue())
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(256)
        (tmp_path / "a").write_bytes(data)
        with suppress(PictureError):
            assert read_picture(tmp_path / "a").image.mode == "RGB"


def png_header(width: int, height: int) -> bytes:
    stream = BytesIO()
    Image.new("1", (1, 1)).save(stream, "PNG")
    data = bytearray(stream.getvalue())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def test_picture_with_too_many_pixels(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_header(1 << 16, (1 << 16) + 1))
    assert "more than 4,294,967,296 pixels" in refused(tmp_path / "a.png")


def test_picture_too_large_for_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(png_header(20_000, 20_000))
    assert "damaged" in refused(tmp_path / "a.png")
    monkeypatch.setattr(images, "_memory", lambda: 2 << 30)
    assert "does not fit into memory" in refused(tmp_path / "a.png")


def test_the_picture_given_is_not_changed() -> None:
    given = photo()
    given.info["dpi"] = (72, 72)
    image, _ = to_rgb(given)
    assert image.info == {}
    assert given.info == {"dpi": (72, 72)}


def test_large_picture_is_legal_and_silent(tmp_path: Path) -> None:
    Image.new("1", (10_000, 9_000)).save(tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_picture(tmp_path / "a.png").image.size == (10_000, 9_000)
    assert images.Image.MAX_IMAGE_PIXELS == 89_478_485


@pytest.mark.parametrize("name", ["a.png", "a", "a.tif", "a.bmp", "a.ppm", "a.webp", "A.PNG"])
def test_lossless_formats_keep_every_pixel(tmp_path: Path, name: str) -> None:
    write_picture(photo((33, 17)), tmp_path / name)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / name)), np.asarray(photo((33, 17))))


@pytest.mark.parametrize(("name", "format"), [("a.jpg", "JPEG"), ("a.jpeg", "JPEG"), ("a.avif", "AVIF")])
def test_lossy_formats_stay_close(tmp_path: Path, name: str, format: str) -> None:
    write_picture(photo((33, 17)), tmp_path / name)
    with Image.open(tmp_path / name) as image:
        assert image.format == format
        assert np.abs(np.asarray(image).astype(int) - np.asarray(photo((33, 17)))).mean() < 3


def test_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"'.xyz' is not one of .png, .jpg"):
        write_picture(photo(), tmp_path / "a.xyz")
    assert not list(tmp_path.iterdir())


def test_existing_file_is_replaced_only_when_told(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"mine")
    with pytest.raises(PictureError, match="--overwrite"):
        write_picture(photo(), path)
    assert path.read_bytes() == b"mine"
    write_picture(photo(), path, overwrite=True)
    assert Image.open(path).size == photo().size


def test_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="cannot write"):
        write_picture(Image.new("RGB", (20_000, 1)), tmp_path / "wide.webp")
    assert not list(tmp_path.iterdir())


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(PictureError, match="not a directory"):
        write_picture(photo(), tmp_path / "file.txt" / "a.png")
