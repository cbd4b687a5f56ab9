"""Pictures as a user expects them: any photo in, upright sRGB out, and back to a file.

    file -> first frame -> EXIF orientation -> 8 bits -> ICC profile to sRGB -> over white -> RGB

What cannot be kept is said in a note, a short sentence for the user.
"""

from __future__ import annotations

import math
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from diptych.bitstream.container import MAX_PIXELS
from diptych.errors import DiptychError, PictureError
from diptych.files import reason, replacing

BYTES_PER_PIXEL = 8
"""Memory a picture takes at the least: four bytes a pixel in Pillow, three in the codec, and its latents."""

_READS = """
    .apng .avif .bmp .dib .gif .ico .j2k .jfif .jp2 .jpe .jpeg .jpg .mpo
    .pbm .pfm .pgm .png .pnm .ppm .qoi .tga .tif .tiff .webp
"""
READS = frozenset(_READS.split())
"""Suffixes of the files taken from a folder; a file named by itself may have any."""

_EXACT = {"quality": 95, "subsampling": 0}
_WRITES: dict[str, tuple[str, dict[str, Any]]] = {
    "": ("PNG", {"compress_level": 4}),
    ".png": ("PNG", {"compress_level": 4}),
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

_readers = 0
_readers_lock = threading.Lock()
_pillow_settings = ExitStack()


class Picture(NamedTuple):
    """A picture ready for the codec.

    Attributes:
        image: RGB, 8 bits, sRGB, upright.
        notes: what of the original could not be kept, one sentence each, without a full stop.
    """

    image: Image.Image
    notes: list[str]


class Stored(NamedTuple):
    """A picture as it lies in its file.

    Attributes:
        image: RGB, 8 bits, sRGB.
        orientation: EXIF orientation, 1..8; 1 is upright.
    """

    image: Image.Image
    orientation: int

    def upright(self) -> Image.Image:
        """What :func:`read_picture` makes of the file."""
        return _turned(self.image, self.orientation)


def read_picture(path: str | Path) -> Picture:
    """Read a photo of any kind that Pillow knows.

    Raises:
        PictureError: if there is no such file, or it is damaged, not a picture, or has more pixels than a
            ``.dip`` file can hold (2**32) or this machine's memory (:data:`BYTES_PER_PIXEL`).
    """
    try:
        with _own_limit(), Image.open(path) as image:
            _refuse_giant(image)
            return _converted(image)
    except Exception as error:  # Pillow's readers raise nearly anything on damaged files
        raise PictureError(f"cannot read {path}: {_explain(error)}") from None


def read_stored(path: str | Path) -> Stored:
    """Read a photo as tools for labels do: its EXIF orientation is told, not applied.

    Raises:
        PictureError: as :func:`read_picture`.
    """
    try:
        with _own_limit(), Image.open(path) as image:
            _refuse_giant(image)
            image.load()  # Pillow turns TIFF files itself, and then says that they are upright
            orientation = _orientation(image, [])
            return Stored(_converted(image, upright=False).image, orientation)
    except Exception as error:
        raise PictureError(f"cannot read {path}: {_explain(error)}") from None


def stored_size(path: str | Path) -> tuple[int, int]:
    """Width and height of a photo as it lies in its file, from its header alone.

    Raises:
        PictureError: if there is no such file, or it does not begin like a picture.
    """
    try:
        with _own_limit(), Image.open(path) as image:
            return image.size
    except Exception as error:
        raise PictureError(f"cannot read {path}: {_explain(error)}") from None


def to_rgb(image: Image.Image) -> Picture:
    """Convert an opened picture of any mode; one that is ready already is returned as it is.

    Raises:
        PictureError: if its file turns out to be damaged, or too large, or its mode is unknown.
    """
    try:
        with _own_limit():
            _refuse_giant(image)
            return _converted(image.copy() if image.info else image)
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
    """Put :data:`MAX_PIXELS` in the place of Pillow's limit, and keep its warnings from the user.

    Both are settings of the whole process: the first thread that reads makes them, the last one undoes them.
    """
    global _readers
    with _readers_lock:
        if not _readers:
            _pillow_settings.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            _pillow_settings.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
            Image.MAX_IMAGE_PIXELS = MAX_PIXELS
        _readers += 1
    try:
        yield
    finally:
        with _readers_lock:
            _readers -= 1
            if not _readers:
                _pillow_settings.close()


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


def _memory() -> float:
    """Bytes of memory that the machine has; infinite where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return math.inf


def _refuse_giant(image: Image.Image) -> None:
    if image.width * image.height * BYTES_PER_PIXEL > _memory():
        raise MemoryError


def _converted(image: Image.Image, upright: bool = True) -> Picture:
    notes: list[str] = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"it holds {frames} pictures, only the first is kept")
    image.load()
    if upright:
        image = _turned(image, _orientation(image, notes))
    alpha = _alpha(image)
    rgb = _to_srgb(_eight_bits(image, notes), image.info.get("icc_profile"), notes)
    if alpha is not None:
        rgb = Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)
        notes.append("its transparent parts are shown on white")
    rgb.info = {}  # a profile or transparent colour left there would be applied again
    return Picture(rgb, notes)


def _orientation(image: Image.Image, notes: list[str]) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # anything can stand in an EXIF block
        notes.append("its EXIF data is damaged and was ignored")
        return 1
    return orientation if orientation in _UNDO else 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
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
        return _plain_rgb(image)
    try:
        own = ImageCms.ImageCmsProfile(BytesIO(profile))
        if own.profile.xcolor_space == "RGB " and image.mode == "L":
            image = image.convert("RGB")
        if ImageCms.getProfileDescription(own).startswith("sRGB"):
            return _plain_rgb(image)
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


def _plain_rgb(image: Image.Image) -> Image.Image:
    """``image`` itself where it can be: Pillow would copy it, which costs 400 MB for 100 megapixels."""
    return image if image.mode == "RGB" else image.convert("RGB")
