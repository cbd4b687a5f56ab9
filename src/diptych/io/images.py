"""Pictures as a user expects them: any photo in, upright sRGB out, and back to a file.

What cannot be kept is said in a note, a short sentence for the user. What a file says about its pixels is in
:mod:`diptych.io.formats`, what their values mean in :mod:`diptych.io.colour`, the way to RGB in
:mod:`diptych.io.develop`.
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

from PIL import Image, ImageFile, UnidentifiedImageError

from diptych.bitstream.container import MAX_PIXELS
from diptych.errors import DiptychError, PictureError
from diptych.io import formats
from diptych.io.develop import Picture as Picture
from diptych.io.develop import converted, stored_orientation, turned
from diptych.io.files import STANDARD, named, read_bytes, reason, replacing
from diptych.io.formats import READS as READS
from diptych.io.places import Name, Place

BYTES_PER_PIXEL = 8
"""Memory a picture takes at the least: four bytes a pixel in Pillow, three in the codec, and its latents."""

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

_REREAD = frozenset({"AVIF", "BMP", "HEIF", "PNG", "TGA", "TIFF"})
"""Formats of which Pillow's pixels alone do not tell all."""

_readers = 0
_readers_lock = threading.Lock()
_pillow_settings = ExitStack()


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
        return turned(self.image, self.orientation)


class Layout(NamedTuple):
    """How a picture lies in its file.

    Attributes:
        size: width and height.
        orientation: EXIF orientation, 1..8; 1 is upright.
    """

    size: tuple[int, int]
    orientation: int


def read_picture(path: str | Name) -> Picture:
    """Read a photo of any kind that Pillow knows.

    Raises:
        PictureError: if there is no such file, or it is damaged, not a picture, or has more pixels than a
            ``.dip`` file can hold (2**32) or this machine's memory (:data:`BYTES_PER_PIXEL`).
    """
    with _reading(path) as (image, source):
        return converted(image, source)


def read_stored(path: str | Path) -> Stored:
    """Read a photo as tools for labels do: its EXIF orientation is told, not applied.

    Raises:
        PictureError: as :func:`read_picture`.
    """
    with _reading(path) as (image, source):
        orientation = stored_orientation(image)
        return Stored(converted(image, source, upright=False).image, orientation)


def stored_size(path: str | Path) -> tuple[int, int]:
    """Width and height of a photo as it lies in its file, from its header alone.

    Raises:
        PictureError: if there is no such file, or it does not begin like a picture.
    """
    return stored_layout(path).size


def stored_layout(path: str | Path) -> Layout:
    """How a photo lies in its file, from its header alone.

    Raises:
        PictureError: as :func:`stored_size`.
    """
    with _reading(path, header_only=True) as (image, _):
        left, upper, right, lower = image.info.get("crop", (0, 0, *image.size))
        return Layout((right - left, lower - upper), stored_orientation(image))


def to_rgb(image: Image.Image) -> Picture:
    """Convert an opened picture of any mode; one that is ready already is returned as it is.

    A picture that is still the file as ``Image.open`` gave it is read as :func:`read_picture` reads that file. Of
    one that was turned, cropped, resized or copied, nobody knows whether it is upright: it stays as it is.

    Raises:
        PictureError: if its file turns out to be damaged, or too large, or its mode is unknown.
    """
    try:
        with _own_limit():
            _refuse_giant(image)
            if _untouched(image):
                assert isinstance(image, ImageFile.ImageFile)
                assert image.fp is not None
                with formats.opened(image.fp) as again:
                    return converted(again, image.fp)
            upright = isinstance(image, ImageFile.ImageFile)
            return converted(image.copy() if image.info else image, upright=upright)
    except Exception as error:
        raise PictureError(f"cannot use the picture: {_explain(error)}") from None


def write_picture(image: Image.Image, path: str | Name, overwrite: bool = False) -> None:
    """Write a picture in the format its suffix names (PNG without one), completely or not at all.

    PNG, WebP, TIFF, BMP and PPM keep every pixel; JPEG and AVIF are written at quality 95.

    Raises:
        PictureError: if the suffix is unknown, or the file cannot be written or may not be replaced.
    """
    format, options = picture_format(path)
    try:
        with replacing(named(path), overwrite) as file:
            image.save(file, format, **options)
    except DiptychError as error:
        raise PictureError(str(error)) from None


def picture_format(path: str | Name) -> tuple[str, dict[str, Any]]:
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


@contextmanager
def _reading(path: str | Name, header_only: bool = False) -> Iterator[tuple[Image.Image, formats.Source]]:
    """The opened picture, and what can be read again: the file, or what came out of a stream."""
    path = named(path)
    source: formats.Source
    try:
        if isinstance(path, Place) or path == STANDARD or path.is_fifo() or path.is_char_device():
            source = BytesIO(read_bytes(path))
        else:
            source = path
        with _own_limit(), formats.opened(source) as image:
            if not header_only:
                _refuse_giant(image)
            yield image, source
    except UnidentifiedImageError:
        why = formats.why_unknown(formats.head_of(source), path.suffix.lower())
        raise PictureError(f"cannot read {path}: {why}") from None
    except Exception as error:  # Pillow's readers raise nearly anything on damaged files
        raise PictureError(f"cannot read {path}: {_explain(error)}") from None


def _untouched(image: Image.Image) -> bool:
    """Whether a picture is a file of one picture that was opened, and nothing else."""
    return (
        isinstance(image, ImageFile.ImageFile)
        and image._im is None
        and image.fp is not None
        and image.format in _REREAD
        and image.tell() == 0
    )


def _explain(error: Exception) -> str:
    if isinstance(error, PictureError):
        return str(error)
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
