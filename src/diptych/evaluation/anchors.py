"""Other codecs to measure against, as real files."""

from __future__ import annotations

import io
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from PIL import Image

from diptych.evaluation.pixels import Picture, pixels


class Anchor(Protocol):
    """A codec with one integer setting."""

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> Sequence[int]:
        """All settings, from the smallest file to the largest."""
        ...

    def encode(self, picture: Picture, setting: int) -> bytes:
        """The whole file, metadata of the photo left out."""
        ...

    def decode(self, data: bytes) -> Image.Image:
        """The RGB picture of a file."""
        ...


@dataclass(frozen=True)
class PillowAnchor:
    """A format that Pillow writes, its ``quality`` being the setting."""

    name: str
    format: str
    settings: range
    options: dict[str, Any] = field(default_factory=dict)

    def encode(self, picture: Picture, setting: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels(picture)).save(file, self.format, quality=setting, **self.options)
        return file.getvalue()

    def decode(self, data: bytes) -> Image.Image:
        with Image.open(io.BytesIO(data), formats=(self.format,)) as picture:
            return picture.convert("RGB")


ANCHORS: dict[str, Anchor] = {
    anchor.name: anchor
    for anchor in (
        PillowAnchor("jpeg", "JPEG", range(1, 96), {"optimize": True, "progressive": True, "subsampling": "4:2:0"}),
        PillowAnchor("webp", "WEBP", range(0, 101), {"method": 6}),
        PillowAnchor("avif", "AVIF", range(0, 101), {"speed": 6, "subsampling": "4:2:0"}),
    )
}
"""The anchors by name, each at the best compression it has short of taking seconds per photo."""


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
