"""Pictures as a user expects them: any photo in, upright sRGB out, and back to a file.

    file -> first frame -> EXIF orientation -> 8 bits -> ICC profile to sRGB -> over white -> RGB

What cannot be kept is said in a note, a short sentence for the user.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from diptych.errors import DiptychError, PictureError
from diptych.files import reason, replacing

MAX_PIXELS = 1 << 28
"""Largest picture that is read, in pixels."""

_READS = """
    .apng .avif .bmp .dib .gif .ico .j2k .jfif .jp2 .jpe .jpeg .jpg .mpo
    .pbm .pfm .pgm .png .pnm .ppm .qoi .tga .tif .tiff .webp
"""
READS = frozenset(_READS.split())
"""Suffixes of the files taken from a folder; a file named by itself may have any."""

_EXACT = {"quality": 95, "subsampling": 0}
_WRITES: dict[str, tuple[str, dict[str, Any]]] = {
    "": ("PNG", {}),
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", _EXACT),
    ".jpeg": ("JPEG", _EXACT),
    ".webp": ("WEBP", {"lossless": True}),
    ".avif": ("AVIF", {"quality": 95, "subsampling": "4:4:4"}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".bmp": ("BMP", {}),
    ".ppm": ("PPM", {}),
}

_UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture upright, by its EXIF orientation."""

_pillow_limit = threading.RLock()


class Picture(NamedTuple):
    """A picture ready for the codec.

    Attributes:
        image: RGB, 8 bits, sRGB, upright.
        notes: what of the original could not be kept, one sentence each, without a full stop.
    """

    image: Image.Image
    notes: list[str]


def read_picture(path: str | Path) -> Picture:
    """Read a photo of any kind that Pillow knows.

    Raises:
        PictureError: if there is no such file, or it is damaged, not a picture, or has more than
            :data:`MAX_PIXELS` pixels.
    """
    try:
        with _own_limit(), Image.open(path) as image:
            return _converted(image)
    except Exception as error:  # Pillow's readers raise nearly anything on damaged files
        raise PictureError(f"cannot read {path}: {_explain(error)}") from None


def to_rgb(image: Image.Image) -> Picture:
    """Convert an opened picture of any mode.

    Raises:
        PictureError: if its file turns out to be damaged, or its mode is unknown.
    """
    try:
        with _own_limit():
            return _converted(image)
    except Exception as error:
        raise PictureError(f"cannot use the picture: {_explain(error)}") from None


def write_picture(image: Image.Image, path: str | Path, overwrite: bool = False) -> None:
    """Write a picture in the format its suffix names (PNG without one), completely or not at all.

    PNG, WebP, TIFF, BMP and PPM keep every pixel; JPEG and AVIF are written at quality 95.

    Raises:
        PictureError: if the suffix is unknown, or the file cannot be written or may not be replaced.
    """
    format, options = picture_format(path)
    try:
        with replacing(Path(path), overwrite) as file:
            image.save(file, format, **options)
    except DiptychError as error:
        raise PictureError(str(error)) from None


def picture_format(path: str | Path) -> tuple[str, dict[str, Any]]:
    """Pillow's name of the format that a path's suffix stands for, and the options it is written with.

    Raises:
        PictureError: if pictures are not written with this suffix.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITES:
        known = ", ".join(name for name in _WRITES if name)
        raise PictureError(f"cannot write {path}: '{suffix}' is not one of {known}")
    return _WRITES[suffix]


@contextmanager
def _own_limit() -> Iterator[None]:
    """Put :data:`MAX_PIXELS` in the place of Pillow's limit, and keep its warnings from the user."""
    with _pillow_limit, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_PIXELS
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _explain(error: Exception) -> str:
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"it has more than {MAX_PIXELS:,} pixels"
    if isinstance(error, UnidentifiedImageError):
        return "it is not a picture, or of an unknown kind"
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    if isinstance(error, OSError) and error.strerror:
        return reason(error)
    return f"it is damaged ({reason(error)})"


def _converted(image: Image.Image) -> Picture:
    notes: list[str] = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"it holds {frames} pictures, only the first is kept")
    image = _upright(image, notes)
    alpha = _alpha(image)
    rgb = _to_srgb(_eight_bits(image, notes), image.info.get("icc_profile"), notes)
    if alpha is not None:
        rgb = Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)
        notes.append("its transparent parts are shown on white")
    rgb.info = {}  # a profile or transparent colour left there would be applied again
    return Picture(rgb, notes)


def _upright(image: Image.Image, notes: list[str]) -> Image.Image:
    image.load()
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # anything can stand in an EXIF block
        notes.append("its EXIF data is damaged and was ignored")
        return image
    return image.transpose(_UNDO[orientation]) if orientation in _UNDO else image


def _alpha(image: Image.Image) -> Image.Image | None:
    """Opacity as a picture of mode L, or None for an opaque picture."""
    if not image.has_transparency_data:
        return None
    if image.mode.startswith("I"):
        opaque = np.asarray(image) != image.info["transparency"]
        alpha = Image.fromarray(np.where(opaque, 255, 0).astype(np.uint8))
    else:
        straight = image.convert("LA") if image.mode == "La" else image
        alpha = straight.convert("RGBA").getchannel("A")
    return None if alpha.getextrema() == (255, 255) else alpha


def _eight_bits(image: Image.Image, notes: list[str]) -> Image.Image:
    """Colours without transparency, in mode L, RGB, CMYK or LAB."""
    mode = image.mode
    if mode in ("L", "RGB", "CMYK", "LAB"):
        return image
    if mode in ("LA", "La"):
        return image.convert("LA").getchannel("L")
    if mode == "1":
        return image.convert("L")
    if mode in ("P", "PA", "RGBa"):
        return image.convert("RGBA").convert("RGB")
    if mode.startswith("I;16"):
        return _grey(np.asarray(image), 65535)
    if mode in ("I", "F"):
        return _wide_grey(np.asarray(image), notes)
    return image.convert("RGB")


def _wide_grey(values: np.ndarray, notes: list[str]) -> Image.Image:
    """Grey from 32-bit values, whose range no file states: the narrowest usual one that holds them."""
    finite = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(finite.min()), float(finite.max())
    usual = (1, 255, 65535) if values.dtype.kind == "f" else (65535,)
    top = next((top for top in usual if low >= 0 and high <= top), None)
    if top is None:
        notes.append(f"its values from {low:g} to {high:g} were stretched from black to white")
        return _grey(finite - low, (high - low) or 1.0)
    if top != usual[0]:
        notes.append(f"its values were taken as 0 for black to {top} for white")
    return _grey(finite, top)


def _grey(values: np.ndarray, top: float) -> Image.Image:
    """Round values of 0..top to a picture of mode L."""
    if values.dtype.kind == "u":
        return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """RGB of colours of mode L, RGB, CMYK or LAB, which mean what their ICC profile says."""
    if not profile:
        return image.convert("RGB")
    try:
        own = ImageCms.ImageCmsProfile(BytesIO(profile))
        if own.profile.xcolor_space == "RGB " and image.mode == "L":
            image = image.convert("RGB")
        if ImageCms.getProfileDescription(own).startswith("sRGB"):
            return image.convert("RGB")
        converted = ImageCms.profileToProfile(
            image,
            own,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notes.append("its colour profile does not fit and was ignored")
        return image.convert("RGB")
    assert converted is not None
    return converted
