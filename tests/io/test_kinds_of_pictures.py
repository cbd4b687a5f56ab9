"""What a picture's file says besides its pixels: colours, depth, transparency, canvases, what stands behind."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from diptych.codec.codec import Codec
from diptych.errors import PictureError
from diptych.io import images
from diptych.io.images import read_picture, read_stored, stored_size, to_rgb
from picturefiles import SIGNATURE, box, chunk, png, profile, tiff, with_properties

WHITE_NOTE = "its transparent parts are shown on white"
SIXTEEN_NOTE = "its 16 bits a channel became 8"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
P3 = np.array([[1.22494, -0.22494, 0], [-0.04206, 1.04206, 0], [-0.01964, -0.07864, 1.09827]])
"""Linear Display P3 to linear sRGB."""


def read(data: bytes, folder: Path, name: str = "picture") -> tuple[np.ndarray, list[str]]:
    (folder / name).write_bytes(data)
    image, notes = read_picture(folder / name)
    assert image.mode == "RGB"
    assert image.info == {}
    return np.asarray(image), notes


def linear(v: np.ndarray) -> np.ndarray:
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def encoded(light: np.ndarray) -> np.ndarray:
    light = light.clip(0, 1)
    return 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


COLOURS = {
    "none": ((), lambda v: v),
    "gAMA of sRGB": ((chunk(b"gAMA", struct.pack(">I", 45455)),), lambda v: v),
    "sRGB before gAMA": ((chunk(b"sRGB", b"\0"), chunk(b"gAMA", struct.pack(">I", 100000))), lambda v: v),
    "gAMA 1": ((chunk(b"gAMA", struct.pack(">I", 100000)),), lambda v: encoded(v) / 255),
    "gAMA 0.6": ((chunk(b"gAMA", struct.pack(">I", 60000)),), lambda v: encoded(v ** (1 / 0.6)) / 255),
    "cICP sRGB before gAMA": (
        (chunk(b"cICP", b"\1\x0d\0\1"), chunk(b"gAMA", struct.pack(">I", 100000))),
        lambda v: v,
    ),
    "cICP linear": ((chunk(b"cICP", b"\1\x08\0\1"),), lambda v: encoded(v) / 255),
    "cICP P3": ((chunk(b"cICP", b"\x0c\x0d\0\1"),), lambda v: encoded(linear(v) @ P3.T) / 255),
    "iCCP": ((chunk(b"iCCP", b"p\0\0" + zlib.compress(profile(1.0))),), lambda v: encoded(v) / 255),
}


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from([(t, d) for t, depths in DEPTHS.items() for d in depths]),
    key=st.booleans(),
    colours=st.sampled_from(list(COLOURS)),
    seed=st.integers(0, 1000),
)
def test_png(tmp_path: Path, kind: tuple[int, int], key: bool, colours: str, seed: int) -> None:
    """Every colour type and depth, with and without tRNS, whatever its colours mean."""
    colour_type, depth = kind
    random = np.random.default_rng(seed)
    top = (1 << depth) - 1
    samples = random.integers(0, top + 1, (5, 7, CHANNELS[colour_type]))
    samples[..., 0].flat[:4] = [0, top, top // 2, 0]
    chunks, meaning = COLOURS[colours]
    chunks = list(chunks)
    shown = samples / top
    alpha = np.ones((5, 7, 1))
    if colour_type == 3:
        palette = random.integers(0, 256, (top + 1, 3))
        chunks.append(chunk(b"PLTE", palette.astype(np.uint8).tobytes()))
        shown = palette[samples[..., 0]] / 255
        if key:
            opacity = random.integers(0, 256, top + 1)
            chunks.append(chunk(b"tRNS", opacity.astype(np.uint8).tobytes()))
            alpha = opacity[samples[..., 0]][..., None] / 255
    elif colour_type in (4, 6):
        alpha, shown = shown[..., -1:], shown[..., :-1]
    elif key:
        chunks.append(chunk(b"tRNS", b"".join(struct.pack(">H", v) for v in samples[2, 3].tolist())))
        alpha = 1.0 - (samples == samples[2, 3]).all(axis=2, keepdims=True)
    shown = np.repeat(shown, 3, axis=2) if shown.shape[2] == 1 else shown

    got, notes = read(png(samples, depth, colour_type, *chunks), tmp_path)

    expected = 255 * (meaning(shown) * alpha + 1 - alpha)
    # a colour profile on 8 bits or fewer goes through the library's own tables
    np.testing.assert_allclose(got, expected, atol=3.01 if colours == "iCCP" else 1.51)
    assert (SIXTEEN_NOTE in notes) == (depth == 16)
    assert (WHITE_NOTE in notes) == bool((np.rint(alpha * 255) < 255).any())


def test_profile_is_applied_at_full_depth(tmp_path: Path) -> None:
    """A dark ramp of 16 bits in linear light has as many levels as sRGB has there."""
    ramp = np.repeat(np.linspace(0, 0.03 * 65535, 256).astype(int)[None, :, None], 3, axis=2)
    got, _ = read(png(ramp, 16, 2, chunk(b"iCCP", b"p\0\0" + zlib.compress(profile(1.0)))), tmp_path)
    np.testing.assert_allclose(got[0], encoded(ramp[0] / 65535), atol=0.6)
    assert len(np.unique(got)) > 40


def test_interlaced_sixteen_bits(tmp_path: Path) -> None:
    """The low bytes are decoded as the high ones are, Adam7 included."""
    values = np.random.default_rng(0).integers(0, 65536, (1, 1, 3))
    data = bytearray(png(values, 16, 2))
    data[28] = 1  # of one pixel, so that its only pass is the picture
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    got, _ = read(bytes(data), tmp_path)
    np.testing.assert_allclose(got[0, 0], values[0, 0] / 257, atol=0.51)


@pytest.mark.parametrize(
    "ancillary",
    [
        chunk(b"tEXt", b"Comment\0" + b"x" * (2 << 20)),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3 << 20))),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"<x/>" * (1 << 19)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(3 << 20))),
        chunk(b"tEXt", b"Comment\0x")[:-1] + b"\0",
        chunk(b"zTXt", b"Comment\0\0not zlib"),
        chunk(b"gAMA", b"\0"),
        chunk(b"cHRM", bytes(32)),
        chunk(b"cICP", b"\1"),
        chunk(b"pHYs", b""),
        chunk(b"acTL", b"\0"),
        chunk(b"eXIf", b""),
    ],
    ids=lambda data: f"{data[4:8].decode()} of {len(data)}",
)
@pytest.mark.parametrize("behind", [False, True])
def test_metadata_never_costs_the_pixels(tmp_path: Path, ancillary: bytes, behind: bool) -> None:
    samples = np.random.default_rng(0).integers(0, 256, (6, 5, 3))
    before, after = ([], ancillary) if behind else ([ancillary], b"")
    got, _ = read(png(samples, 8, 2, *before, after=after), tmp_path)
    np.testing.assert_array_equal(got, samples)


def test_large_profile_is_applied(tmp_path: Path) -> None:
    samples = np.full((2, 2, 3), 55)
    large = profile(1.0) + np.random.default_rng(0).bytes(2 << 20)
    large = struct.pack(">I", len(large)) + large[4:]
    got, _ = read(png(samples, 8, 2, chunk(b"iCCP", b"p\0\0" + zlib.compress(large))), tmp_path)
    np.testing.assert_allclose(got, 128, atol=1)


@pytest.mark.parametrize("damaged", [b"", b"rubbish"])
def test_png_whose_profile_is_damaged(tmp_path: Path, damaged: bytes) -> None:
    samples = np.full((2, 2, 3), 55)
    got, notes = read(png(samples, 8, 2, chunk(b"iCCP", b"p\0\0" + damaged)), tmp_path)
    assert (got == 55).all()
    assert notes == ["its colour profile does not fit and was ignored"]


def avif(
    pixels: np.ndarray, primaries: int = 1, transfer: int = 13, *properties: bytes, **options: object
) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "AVIF", quality=100, subsampling="4:4:4", **options)
    points = struct.pack(">HH", primaries, transfer)
    data = stream.getvalue().replace(b"nclx" + struct.pack(">HH", 1, 13), b"nclx" + points)
    return with_properties(data, *properties) if properties else data


HDR = "it is HDR ({}): what is brighter than diffuse white became white"


@pytest.mark.parametrize(
    ("points", "given", "right", "note"),
    [
        ((12, 13), (200, 100, 50), (215, 93, 31), None),
        ((1, 8), (55, 55, 55), (128, 128, 128), None),
        ((9, 8), (55, 55, 55), (128, 128, 128), None),
        ((1, 4), (100, 100, 100), encoded((np.full(3, 100) / 255) ** 2.2), None),
        ((9, 16), (148, 148, 148), (255, 255, 255), HDR.format("PQ")),
        ((9, 16), (220, 220, 220), (255, 255, 255), HDR.format("PQ")),
        ((9, 16), (130, 130, 130), (187, 187, 187), HDR.format("PQ")),  # 100 cd/m2
        ((9, 18), (191, 191, 191), (255, 255, 255), HDR.format("HLG")),
        ((9, 18), (128, 128, 128), (138, 138, 138), HDR.format("HLG")),  # 51 cd/m2
        ((1, 1), (100, 120, 140), (100, 120, 140), None),
        ((2, 2), (100, 120, 140), (100, 120, 140), None),
        ((99, 13), (100, 120, 140), (100, 120, 140), "its colours are of an unknown kind and were taken as sRGB"),
    ],
)
@pytest.mark.parametrize("format", ["avif", "png"])
def test_code_points(
    tmp_path: Path,
    format: str,
    points: tuple[int, int],
    given: tuple[int, ...],
    right: tuple[int, ...],
    note: str | None,
) -> None:
    pixels = np.broadcast_to(np.array(given), (16, 16, 3))
    data = png(pixels, 8, 2, chunk(b"cICP", bytes([*points, 0, 1]))) if format == "png" else avif(pixels, *points)
    got, notes = read(data, tmp_path)
    np.testing.assert_allclose(got[8, 8], right, atol=4)
    assert notes == ([note] if note else [])


def test_profile_of_an_avif_comes_before_its_code_points(tmp_path: Path) -> None:
    pixels = np.full((16, 16, 3), 55)
    got, _ = read(avif(pixels, 12, 8, icc_profile=profile(2.2)), tmp_path)
    np.testing.assert_allclose(got[8, 8], encoded(np.full(3, 55 / 255) ** 2.2), atol=2)


def clean_aperture(width: int, height: int, right: int = 0, down: int = 0) -> bytes:
    return box(b"clap", struct.pack(">IIIIiIiI", width, 1, height, 1, right, 1, down, 1))


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_clean_aperture(tmp_path: Path, orientation: int) -> None:
    pixels = np.full((48, 64, 3), (255, 0, 255))
    pixels[12:36, 16:48] = (0, 160, 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    got, _ = read(avif(pixels, 1, 13, clean_aperture(32, 24), exif=exif.tobytes()), tmp_path)
    assert got.shape == ((32, 24, 3) if orientation == 6 else (24, 32, 3))
    assert got[..., 0].max() < 30
    assert stored_size(tmp_path / "picture") == (32, 24)
    assert read_stored(tmp_path / "picture").image.size == (32, 24)


def test_clean_aperture_aside_the_middle(tmp_path: Path) -> None:
    pixels = np.full((48, 64, 3), (255, 0, 255))
    pixels[:10, 44:] = (0, 160, 0)
    got, _ = read(avif(pixels, 1, 13, clean_aperture(20, 10, 22, -19)), tmp_path)
    assert got.shape == (10, 20, 3)
    assert got[..., 0].max() < 30


def test_impossible_clean_aperture_is_not_applied(tmp_path: Path) -> None:
    got, _ = read(avif(np.zeros((48, 64, 3)), 1, 13, clean_aperture(200, 10)), tmp_path)
    assert got.shape == (48, 64, 3)


def gif_on_canvas(transparent: bool) -> bytes:
    stream = BytesIO()
    options = {"transparency": 0} if transparent else {}
    Image.new("P", (8, 8), 1).save(stream, "GIF", palette=[0, 0, 0, 200, 0, 0], background=0, **options)
    data = bytearray(stream.getvalue())
    data[6:10] = struct.pack("<HH", 20, 16)
    return bytes(data)


def webp_on_canvas(alpha: bool) -> bytes:
    stream = BytesIO()
    Image.new("RGB", (8, 8), (200, 0, 0)).save(stream, "WEBP", lossless=True)
    frame = stream.getvalue()[12:]
    three = [value.to_bytes(3, "little") for value in (0, 0, 7, 7, 100)]
    frame = b"".join([*three, b"\0", frame])
    chunks = [
        (b"VP8X", bytes([2 | 16 * alpha, 0, 0, 0]) + (19).to_bytes(3, "little") + (15).to_bytes(3, "little")),
        (b"ANIM", bytes(6)),
        (b"ANMF", frame),
    ]
    body = b"WEBP" + b"".join(kind + struct.pack("<I", len(data)) + data for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    "data",
    [gif_on_canvas(True), gif_on_canvas(False), webp_on_canvas(True), webp_on_canvas(False)],
    ids=["gif, transparent", "gif", "webp, alpha", "webp"],
)
def test_first_frame_smaller_than_its_canvas(tmp_path: Path, data: bytes) -> None:
    """Around the frame is nothing, so white."""
    got, notes = read(data, tmp_path)
    assert got.shape == (16, 20, 3)
    assert got[3, 3].tolist() == [200, 0, 0]
    assert got[12, 15].tolist() == [255, 255, 255]
    assert notes == [WHITE_NOTE]


def bmp32(alpha: int) -> bytes:
    """A BMP with a V5 header and 32 bits a pixel, its alpha the same everywhere."""
    pixels = np.broadcast_to(np.array([190, 131, 56, alpha], np.uint8), (4, 4, 4)).tobytes()
    header = struct.pack("<IiiHHIIiiII", 124, 4, 4, 1, 32, 3, len(pixels), 2835, 2835, 0, 0)
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = (header + masks + b"BGRs").ljust(124, b"\0")
    return struct.pack("<2sIHHI", b"BM", 138 + len(pixels), 0, 0, 138) + header + pixels


def tga32(alpha: int, attribute_bits: int) -> bytes:
    pixels = np.broadcast_to(np.array([190, 131, 56, alpha], np.uint8), (4, 4, 4)).tobytes()
    return struct.pack("<BBB5sHHHHBB", 0, 0, 2, bytes(5), 0, 0, 4, 4, 32, 32 + attribute_bits) + pixels


@pytest.mark.parametrize(
    ("data", "opaque"),
    [
        (bmp32(0), True),
        (bmp32(128), False),
        (tga32(0, 8), True),
        (tga32(0, 0), True),
        (tga32(100, 0), True),
        (tga32(128, 8), False),
    ],
    ids=["bmp 0", "bmp 128", "tga 0", "tga 0, no bits", "tga 100, no bits", "tga 128"],
)
def test_alpha_that_is_nought_everywhere_means_nothing(tmp_path: Path, data: bytes, opaque: bool) -> None:
    got, notes = read(data, tmp_path, "a.tga")
    assert (got[0, 0].tolist() == [56, 131, 190]) == opaque
    assert (WHITE_NOTE in notes) != opaque


# --- TIFF


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("alpha", [None, 0, 1, 2], ids=["opaque", "unspecified", "associated", "straight"])
@pytest.mark.parametrize("pages", [1, 3])
def test_tiff(tmp_path: Path, order: str, depth: int, alpha: int | None, pages: int) -> None:
    top = (1 << depth) - 1
    random = np.random.default_rng(1)
    colour = random.uniform(0, 1, (6, 5, 3))
    opacity = random.uniform(0.3, 1, (6, 5, 1)) if alpha else np.ones((6, 5, 1))
    stored = colour * opacity if alpha == 1 else colour
    kind = np.uint8 if depth == 8 else np.uint16
    samples = np.rint(np.concatenate([stored, opacity][: 2 if alpha is not None else 1], axis=2) * top).astype(kind)
    page = samples, {} if alpha is None else {338: alpha}
    got, notes = read(tiff([page] * pages, order), tmp_path)
    np.testing.assert_allclose(got, 255 * (colour * opacity + 1 - opacity), atol=2.5)
    assert (SIXTEEN_NOTE in notes) == (depth == 16)
    assert (WHITE_NOTE in notes) == bool(alpha)
    assert (f"it holds {pages} pictures, only the first is kept" in notes) == (pages > 1)


@pytest.mark.parametrize("order", "<>")
def test_deep_tiff_is_rounded_not_cut(tmp_path: Path, order: str) -> None:
    values = np.random.default_rng(2).integers(0, 65536, (9, 7, 3)).astype(np.uint16)
    got, _ = read(tiff([(values, {})], order), tmp_path)
    np.testing.assert_allclose(got, values / 257, atol=0.51)


def test_compressed_deep_tiff(tmp_path: Path) -> None:
    pyvips = pytest.importorskip("pyvips")
    values = np.random.default_rng(2).integers(0, 65536, (9, 7, 3)).astype(np.uint16)
    pyvips.Image.new_from_array(values).copy(interpretation="rgb16").write_to_file(
        str(tmp_path / "a.tif"), compression="deflate"
    )
    got = np.asarray(read_picture(tmp_path / "a.tif").image)
    np.testing.assert_allclose(got, values / 257, atol=0.51)


def test_sixteen_bit_grey_with_white_at_nought(tmp_path: Path) -> None:
    values = np.arange(0, 65536, 2000, dtype=np.uint16).reshape(3, 11, 1)
    got, _ = read(tiff([(values, {262: 0})]), tmp_path)
    np.testing.assert_allclose(got[..., 0], 255 - values[..., 0] / 257, atol=0.51)


def test_first_page_that_is_a_preview(tmp_path: Path) -> None:
    small, full = np.zeros((4, 6, 3), np.uint8), np.full((40, 60, 3), 90, np.uint8)
    got, notes = read(tiff([(small, {254: 1}), (full, {254: 0})]), tmp_path)
    assert got.shape == full.shape
    assert "its first picture is a preview, the first in full size is kept" in notes


def with_child(tags: dict[int, int], child: dict[int, int]) -> bytes:
    """A TIFF of 60 x 40 with another picture in a SubIFD."""
    preview, sensor = np.zeros((40, 60, 3), np.uint8), np.zeros((400, 600, 1), np.uint8)
    data = bytearray(tiff([(preview, {254: 1, 330: 0, **tags}), (sensor, child)]))
    first = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, first)[0]
    link = first + 2 + 12 * count
    second = struct.unpack_from("<I", data, link)[0]
    struct.pack_into("<I", data, link, 0)
    for place in range(first + 2, link, 12):
        if struct.unpack_from("<H", data, place)[0] == 330:
            struct.pack_into("<I", data, place + 8, second)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        with_child({}, {254: 0, 262: 32803}),
        with_child({}, {254: 0}),
        with_child({254: 0}, {254: 0, 262: 34892}),
        tiff([(np.zeros((4, 6, 3), np.uint8), {50706: 0x0401})]),
    ],
    ids=["sensor", "grey", "linear", "DNG"],
)
@pytest.mark.parametrize("name", ["a.nef", "a.dng", "a.tif"])
def test_camera_raw_files_are_refused(tmp_path: Path, data: bytes, name: str) -> None:
    with pytest.raises(PictureError, match="it is a camera raw file, of which only a preview of"):
        read(data, tmp_path, name)


def test_pyramid_is_no_raw_file(tmp_path: Path) -> None:
    full = with_child({254: 0}, {254: 1})
    assert read(full, tmp_path)[0].shape == (40, 60, 3)


def test_damaged_second_page(tmp_path: Path) -> None:
    page = np.full((6, 5, 3), 80, np.uint8), dict[int, int]()
    data = bytearray(tiff([page, page]))
    first = struct.unpack_from("<I", data, 4)[0]
    link = first + 2 + 12 * struct.unpack_from("<H", data, first)[0]
    struct.pack_into("<I", data, link, len(data) - 7)
    got, _ = read(bytes(data), tmp_path)
    assert (got == 80).all()


def test_truncated_second_frame_of_a_gif(tmp_path: Path) -> None:
    stream = BytesIO()
    frames = [Image.new("RGB", (30, 30), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    for cut in range(1, 60, 7):
        got, _ = read(stream.getvalue()[:-cut], tmp_path)
        assert got[0, 0].tolist() == [255, 0, 0]


# --- JPEG


def adobe(transform: int) -> bytes:
    return b"\xff\xee" + struct.pack(">H5sHHHB", 14, b"Adobe", 100, 0, 0, transform)


def jpeg(mode: str, orientation: int, marker: bool, progressive: bool = False) -> tuple[bytes, np.ndarray]:
    """A smooth picture as a JPEG file, and its pixels upright."""
    rows, columns = np.mgrid[:40, :56]
    pixels = np.stack([columns * 4, rows * 5, 255 - columns * 4], axis=2).astype(np.uint8)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = BytesIO()
    options = {"keep_rgb": True} if mode == "RGB" else {}
    given = image.convert("CMYK") if mode == "CMYK" else image.convert("L") if mode == "L" else image
    given.save(stream, "JPEG", quality=98, subsampling=0, exif=exif.tobytes(), progressive=progressive, **options)
    data = stream.getvalue()
    if marker and mode == "YCbCr":
        data = data[:2] + adobe(1) + data[2:]
    if marker and mode == "RGB" and b"Adobe" not in data:
        data = data[:2] + adobe(0) + data[2:]
    shown = np.asarray(given.convert("RGB"))
    undone = {1: shown, 3: shown[::-1, ::-1], 6: np.rot90(shown, -1), 8: np.rot90(shown)}[orientation]
    return data, undone


@pytest.mark.parametrize("mode", ["L", "YCbCr", "RGB", "CMYK"])
@pytest.mark.parametrize("marker", [False, True], ids=["plain", "Adobe"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("trailer", ["none", "no EOI", "half an EOI", "garbage", "another", "damaged list"])
def test_jpeg(tmp_path: Path, mode: str, marker: bool, orientation: int, trailer: str) -> None:
    data, upright = jpeg(mode, orientation, marker, progressive=orientation == 3)
    note_allowed = ""
    if trailer == "no EOI":
        data, note_allowed = data[:-2], "its file ends early, after the last pixel"
    elif trailer == "half an EOI":
        data, note_allowed = data[:-1], "its file ends early, after the last pixel"
    elif trailer == "garbage":
        data += b"\xff\xff\0rubbish" * 50
    elif trailer == "another":
        data += data
    elif trailer == "damaged list":
        body = b"MPF\0MM\0*\0\0\0\x08\0\x02\xb0\0\0\7\0\0\0\4\xff\xff\xff\xff\xb0\1\0\4\0\0\0\1\0\0\0\7"
        data = data[:2] + b"\xff\xe2" + struct.pack(">H", 2 + len(body)) + body + data[2:]
    got, notes = read(data, tmp_path)
    assert got.shape == upright.shape
    assert np.abs(got.astype(int) - upright).mean() < 4
    assert set(notes) <= {note_allowed}


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("missing", [40, 400])
def test_jpeg_whose_pixels_are_missing_is_refused(tmp_path: Path, missing: int, progressive: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    stream = BytesIO()
    Image.fromarray(noise).save(stream, "JPEG", quality=90, progressive=progressive)
    with pytest.raises(PictureError, match="damaged"):
        read(stream.getvalue()[:-missing], tmp_path)


# --- programs that open pictures themselves


def test_a_picture_that_a_program_opened_is_read_like_its_file(tmp_path: Path) -> None:
    key = png(np.full((3, 4, 1), 5), 4, 0, chunk(b"tRNS", b"\0\5"))
    linear16 = png(np.full((3, 4, 3), 14135), 16, 2, chunk(b"gAMA", struct.pack(">I", 100000)))
    for data in (key, linear16, avif(np.full((16, 16, 3), (200, 100, 50)), 12, 13), bmp32(0), tga32(0, 8)):
        (tmp_path / "a").write_bytes(data)
        with Image.open(tmp_path / "a") as image:
            np.testing.assert_array_equal(
                np.asarray(to_rgb(image).image), np.asarray(read_picture(tmp_path / "a").image)
            )
            assert image.getpixel((0, 0)) is not None


@pytest.mark.parametrize(
    ("edit", "size"),
    [
        (lambda image: image, (60, 90)),
        (lambda image: image.rotate(270, expand=True), (60, 90)),
        (lambda image: image.crop((0, 0, 40, 60)), (40, 60)),
        (lambda image: image.resize((45, 30)), (45, 30)),
        (lambda image: image.transpose(Image.Transpose.ROTATE_90), (60, 90)),
        (lambda image: image.convert("L"), (90, 60)),
    ],
    ids=["as opened", "rotate", "crop", "resize", "transpose", "convert"],
)
def test_only_a_file_as_it_was_opened_is_turned(
    tmp_path: Path, codec: Codec, edit: object, size: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (90, 60), "red").save(tmp_path / "phone.jpg", exif=exif)
    with Image.open(tmp_path / "phone.jpg") as image:
        edited = edit(image)  # type: ignore[operator]
        assert codec.decode(codec.encode(edited)).size == size


# --- what is not read


@pytest.mark.parametrize(
    ("data", "name", "sentence"),
    [
        (b"\0\0\0\x18ftypcrx \0\0\0\0", "a.cr3", "CR3 is a camera raw file, which is not read: export a JPEG"),
        (b"rubbish", "a.raf", "RAF is a camera raw file"),
        (b"8BPS\0\1rubbish", "a.psb", "PSB is not read"),
        (b"rubbish", "a.jpg", "it is not a picture, or of an unknown kind"),
    ],
)
def test_kinds_that_are_not_read_are_named(tmp_path: Path, data: bytes, name: str, sentence: str) -> None:
    with pytest.raises(PictureError, match=sentence):
        read(data, tmp_path, name)


def test_heic_and_jxl_are_read_where_their_plugins_are(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    pytest.importorskip("pillow_jxl")
    pixels = np.broadcast_to(np.array([200, 100, 50], np.uint8), (64, 64, 3))
    for suffix in (".heic", ".jxl"):
        assert suffix in images.READS
        Image.fromarray(pixels).save(tmp_path / f"a{suffix}", quality=95)
        got = np.asarray(read_picture(tmp_path / f"a{suffix}").image)
        np.testing.assert_allclose(got[32, 32], pixels[32, 32], atol=5)
    assert SIGNATURE not in (tmp_path / "a.heic").read_bytes()


def test_srgb_profile_changes_nothing_at_sixteen_bits(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (4, 4, 3))
    plain = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    got, _ = read(png(values, 16, 2, chunk(b"iCCP", b"p\0\0" + zlib.compress(plain))), tmp_path)
    np.testing.assert_allclose(got, values / 257, atol=0.8)
