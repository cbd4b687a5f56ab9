"""Everything a photo is turned into during an evaluation, by the codec and by anchors, through real files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from diptych.evaluation.anchors import ANCHORS, Anchor, at_bytes

View = str | float
ORIGINAL = "original"
CODEC = "diptych"


class Codec(Protocol):
    """What an evaluation needs of :class:`diptych.codec.codec.Codec`."""

    @property
    def model_id(self) -> bytes: ...

    def encode(self, image: Image.Image, quality: float) -> bytes: ...

    def decode_views(self, data: bytes, views: Sequence[View]) -> list[Image.Image]: ...


@dataclass(frozen=True)
class Variant:
    """One way to code every photo.

    Attributes:
        codec: ``original``, ``diptych`` or the name of an anchor.
        setting: quality of the codec, or setting of the anchor.
        view: view of the codec's file; None for others.
        matched: the anchor's files are the largest that fit the codec's files of quality ``setting``.
    """

    codec: str
    setting: float | None = None
    view: View | None = None
    matched: bool = False

    def __str__(self) -> str:
        if self.codec == ORIGINAL:
            return ORIGINAL
        if self.matched:
            return f"{self.codec} in the bytes of q{self.setting:g}"
        return f"{self.codec} q{self.setting:g}" + ("" if self.view is None else f" {self.view}")


@dataclass(frozen=True)
class Decoded:
    """A photo after one variant.

    Attributes:
        variant: what made it.
        picture: its RGB picture.
        size: bytes of its file; 0 for the original.
        fits: False for a matched anchor whose smallest file is larger than the codec's.
    """

    variant: Variant
    picture: Image.Image
    size: int
    fits: bool = True


def decoded(
    photo: np.ndarray,
    codec: Codec,
    qualities: Sequence[float],
    views: Sequence[View],
    anchors: Mapping[str, Sequence[int]],
    matched: Sequence[str],
    known: Mapping[str, Anchor] = ANCHORS,
) -> Iterator[Decoded]:
    """Code ``photo`` (uint8 ``(H, W, 3)``) in every way asked for; the original comes first.

    Args:
        anchors: settings to run by anchor name.
        matched: anchors to run again at the size of each of the codec's files.
        known: the anchors by name.
    """
    original = Image.fromarray(photo)
    yield Decoded(Variant(ORIGINAL), original, 0)
    sizes = {}
    for quality in qualities:
        data = codec.encode(original, quality=quality)
        sizes[quality] = len(data)
        for view, picture in zip(views, codec.decode_views(data, views), strict=True):
            yield Decoded(Variant(CODEC, quality, view), picture, len(data))
    for name in dict.fromkeys([*anchors, *matched]):
        anchor, files = known[name], dict[int, bytes]()
        for setting in anchors.get(name, ()):
            files[setting] = anchor.encode(original, setting)
            yield Decoded(Variant(name, setting), anchor.decode(files[setting]), len(files[setting]))
        for quality in qualities if name in matched else ():
            made = at_bytes(anchor, original, sizes[quality], files)
            picture = anchor.decode(made.data)
            yield Decoded(Variant(name, quality, matched=True), picture, len(made.data), made.fits)
