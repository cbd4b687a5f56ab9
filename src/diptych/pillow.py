"""``.dip`` files in Pillow: after ``import diptych.pillow``, ``Image.open`` and ``image.save`` know them.

    import diptych.pillow
    from PIL import Image

    image = Image.open("photo.dip")     # reads the header: size, quality, model
    image.use_view("machine")           # optional, before pixels are used; the view for people otherwise
    image.save("again.dip", quality=25)

Torch is imported when pixels are decoded or encoded, not before. Pillow finds no plug-ins by itself, so the import
is needed once in a program.
"""

from __future__ import annotations

from functools import cache
from typing import IO, TYPE_CHECKING

from PIL import Image, ImageFile

import diptych
from diptych.bitstream import read_header, unpack
from diptych.bitstream.container import MAGIC, MEDIA_TYPE
from diptych.codec import defaults
from diptych.errors import DiptychError

if TYPE_CHECKING:
    from diptych.codec.codec import Codec

FORMAT = "DIP"
_HEADER_BYTES = 64


@cache
def shipped_codec() -> Codec:
    """The default codec, loaded once in a process; it decodes files of every codec that is here."""
    return diptych.load()


class DipImageFile(ImageFile.ImageFile):
    """An opened ``.dip`` file, RGB. Its ``info`` has ``quality`` (0 to 100) and ``model_id`` (hexadecimal).

    As Pillow's own formats do, it raises ``OSError`` for a damaged file: for the header when it is opened, for the
    rest when pixels are first used, or by :meth:`verify`.
    """

    format = FORMAT
    format_description = "Diptych"

    _view: str | float = defaults.VIEW
    _codec: Codec | None = None

    def _open(self) -> None:
        assert self.fp is not None
        try:
            header = read_header(self.fp.read(_HEADER_BYTES))
        except DiptychError as error:
            raise OSError(str(error)) from error
        self._mode = "RGB"
        self._size = header.width, header.height
        self.info = {"quality": header.quality, "model_id": header.model_id.hex()}

    def use_view(self, view: str | float, codec: Codec | None = None) -> None:
        """Choose what the pixels will be, before they are used.

        Args:
            view: ``machine``, ``human``, or a position from 0 (machine) to 1 (human).
            codec: None for the one that the file names.

        Raises:
            ValueError: if the pixels have been decoded already.
        """
        if self._im is not None:
            raise ValueError("the picture has been decoded; choose the view right after Image.open")
        self._view, self._codec = view, codec

    def load(self) -> Image.core.PixelAccess | None:
        """Decode the file, once."""
        if self._im is None:
            try:
                decoded = (self._codec or shipped_codec()).decode(self._data(), self._view)
            except DiptychError as error:
                raise OSError(str(error)) from error
            self.im = decoded.im
            self.readonly = 0
            self._close_own()
        return super().load()

    def verify(self) -> None:
        """Check all of the file's checksums, without decoding it.

        Raises:
            OSError: if one does not match.
        """
        try:
            unpack(self._data())
        except DiptychError as error:
            raise OSError(str(error)) from error
        super().verify()

    def _data(self) -> bytes:
        if self.fp is None:
            raise ValueError("Operation on closed image")
        self.fp.seek(0)
        return self.fp.read()

    def _close_own(self) -> None:
        if self._exclusive_fp and self.fp:
            self.fp.close()
        self.fp = None


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """``image.save(path, quality=0..100, codec=...)``, any mode: see :func:`diptych.io.images.to_rgb`."""
    quality = image.encoderinfo.get("quality", defaults.QUALITY)
    codec = image.encoderinfo.get("codec") or shipped_codec()
    if not isinstance(quality, (int, float)):
        raise ValueError(f"the quality is a number from 0 to 100, not {quality!r}")
    try:
        data = codec.encode(image, quality)
    except DiptychError as error:
        raise OSError(str(error)) from error
    file.write(data)


Image.register_open(FORMAT, DipImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, ".dip")
Image.register_mime(FORMAT, MEDIA_TYPE)
