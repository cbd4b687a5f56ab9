"""Other codecs to measure against, as real files.

Where an encoder can be tuned for people or for the squared error, it is tuned for the error: anchors are compared
at equal PSNR and at equal accuracy of a task network, and both suffer from the other tuning. For what people
see there is ``avif-default``, AVIF as it is tuned by default: for people.
"""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Callable, MutableMapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import metadata
from typing import Any, NamedTuple, Protocol

from PIL import AvifImagePlugin, Image, features

from diptych.errors import DiptychError, extra
from diptych.evaluation.vvc import VvcAnchor
from diptych.io.pixels import Picture, pixels


class Anchor(Protocol):
    """A codec with one integer setting."""

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> Sequence[int]:
        """All settings, from the smallest file to the largest."""
        ...

    @property
    def made_with(self) -> str:
        """The encoder, its version and how it is run; equal descriptions make equal files.

        Raises:
            DiptychError: naming what has to be installed, if it is not.
        """
        ...

    def encode(self, picture: Picture, setting: int) -> bytes:
        """The whole file, metadata of the photo left out. Runs in one thread.

        Raises:
            DiptychError: as :attr:`made_with`, or if the encoder refuses the picture.
        """
        ...

    def decode(self, data: bytes) -> Image.Image:
        """The RGB picture of a file."""
        ...


@dataclass(frozen=True)
class PillowAnchor:
    """A format that Pillow writes, by itself or with a plug-in, its ``quality`` being the setting.

    Attributes:
        library: makes the format known to Pillow and returns the encoder's version.
    """

    name: str
    format: str
    settings: range
    library: Callable[[], str]
    options: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def made_with(self) -> str:
        return f"{self._loaded()}; {json.dumps(self.options)}"

    def encode(self, picture: Picture, setting: int) -> bytes:
        self._loaded()
        file = io.BytesIO()
        # a plug-in writes into nested options
        Image.fromarray(pixels(picture)).save(file, self.format, quality=setting, **deepcopy(self.options))
        return file.getvalue()

    def decode(self, data: bytes) -> Image.Image:
        self._loaded()
        with Image.open(io.BytesIO(data), formats=(self.format,)) as picture:
            return picture.convert("RGB")

    def _loaded(self) -> str:
        with extra("eval", f"the anchor {self.name}"):
            return self.library()


def _libjpeg() -> str:
    turbo = features.version_feature("libjpeg_turbo")
    return f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version_codec('jpg')}"


def _libwebp() -> str:
    return f"libwebp {_version_in_pillow('webp')}"


def _libavif() -> str:
    aom = AvifImagePlugin.get_codec_version("aom") if features.check_module("avif") else None
    if not aom:
        raise DiptychError("the anchor avif needs a Pillow with libavif and aom: pip install --upgrade pillow")
    return f"libavif {_version_in_pillow('avif')}, aom {aom}"


def _version_in_pillow(module: str) -> str:
    if not features.check_module(module):
        raise DiptychError(f"the anchor {module} needs a Pillow with lib{module}: pip install --upgrade pillow")
    return str(features.version_module(module))


@cache
def _libheif() -> str:
    import pillow_heif

    pillow_heif.register_heif_opener()
    found = pillow_heif.libheif_info()
    if not found["HEIF"].startswith("x265"):
        raise DiptychError("the anchor heic needs a pillow-heif that encodes with x265")
    return f"libheif {found['libheif']}, {found['HEIF']}"


@cache
def _libjxl() -> str:
    importlib.import_module("pillow_jxl")  # makes the format known
    return f"pillow-jxl-plugin {metadata.version('pillow-jxl-plugin')}"


ANCHORS: dict[str, Anchor] = {
    anchor.name: anchor
    for anchor in (
        PillowAnchor(
            "jpeg",
            "JPEG",
            range(1, 96),
            _libjpeg,
            {"optimize": True, "progressive": True, "subsampling": "4:2:0"},
        ),
        PillowAnchor("webp", "WEBP", range(0, 101), _libwebp, {"method": 6}),
        PillowAnchor(
            "avif",
            "AVIF",
            range(0, 101),
            _libavif,
            {"codec": "aom", "speed": 6, "subsampling": "4:2:0", "max_threads": 1, "advanced": {"tune": "psnr"}},
        ),
        PillowAnchor(
            "heic",
            "HEIF",
            range(0, 101),
            _libheif,
            {"subsampling": "4:2:0", "enc_params": {"preset": "slow", "tune": "psnr", "x265:pools": "1"}},
        ),
        PillowAnchor("jxl", "JXL", range(0, 100), _libjxl, {"effort": 7, "num_threads": 0}),
        VvcAnchor("vvc", "fast"),
        PillowAnchor(
            "avif-default",
            "AVIF",
            range(0, 101),
            _libavif,
            {"codec": "aom", "speed": 6, "subsampling": "4:2:0", "max_threads": 1},
        ),
        VvcAnchor("vvc-slower", "slower"),
    )
}
"""The anchors by name, each at the best compression it has short of taking seconds per photo; ``vvc-slower`` takes
half a minute, to tell what ``vvc`` leaves."""


class Fitted(NamedTuple):
    """A file made for a byte budget; ``fits`` is False if even the smallest one is larger."""

    setting: int
    data: bytes
    fits: bool


def at_bytes(
    anchor: Anchor, picture: Picture, target: int, made: MutableMapping[int, bytes] | None = None
) -> Fitted:
    """The largest setting of ``anchor`` whose file has at most ``target`` bytes, by bisection.

    The file fits and that of the next setting does not, which is the largest one wherever size grows with the
    setting.

    Args:
        made: files of this picture by setting; those in it are not made again, new ones are added.
    """
    files = {} if made is None else made
    settings = anchor.settings

    def file(position: int) -> bytes:
        setting = settings[position]
        if setting not in files:
            files[setting] = anchor.encode(picture, setting)
        return files[setting]

    if len(file(0)) > target:
        return Fitted(settings[0], file(0), fits=False)
    fitting, beyond = 0, len(settings)
    while beyond - fitting > 1:
        middle = (fitting + beyond) // 2
        if len(file(middle)) <= target:
            fitting = middle
        else:
            beyond = middle
    return Fitted(settings[fitting], file(fitting), fits=True)
