"""Everything a photo is turned into during an evaluation, by codecs and by anchors, through real files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from diptych.evaluation.anchors import ANCHORS, Anchor, at_bytes
from diptych.evaluation.results import ORIGINAL, Variant, View


class Codec(Protocol):
    """What an evaluation needs of :class:`diptych.codec.codec.Codec`.

    Attributes:
        model_id: codecs with one id write the same files and read each other's.
    """

    @property
    def model_id(self) -> bytes: ...

    def encode(self, image: Image.Image, quality: float) -> bytes: ...

    def decode_views(self, data: bytes, views: Sequence[View]) -> list[Image.Image]: ...


@dataclass(frozen=True)
class Shown:
    """A codec, and the views of its files that are measured."""

    codec: Codec
    views: Sequence[View]


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
    codecs: Mapping[str, Shown],
    qualities: Sequence[float],
    anchors: Mapping[str, Sequence[int]],
    matched: Sequence[str],
    known: Mapping[str, Anchor] = ANCHORS,
) -> Iterator[Decoded]:
    """Code ``photo`` (uint8 ``(H, W, 3)``) in every way asked for; the original comes first.

    Codecs that write the same files share them.

    Args:
        codecs: by name.
        anchors: settings to run by anchor name.
        matched: anchors to run again at the size of each of the codecs' files.
        known: the anchors by name.
    """
    original = Image.fromarray(photo)
    yield Decoded(Variant(codec=ORIGINAL), original, 0)
    written: dict[bytes, tuple[str, dict[float, bytes]]] = {}
    for name, shown in codecs.items():
        writer, files = written.setdefault(shown.codec.model_id, (name, {}))
        for quality in qualities:
            if writer == name:
                files[quality] = shown.codec.encode(original, quality=quality)
            pictures = shown.codec.decode_views(files[quality], shown.views)
            for view, picture in zip(shown.views, pictures, strict=True):
                variant = Variant(codec=name, setting=quality, view=view)
                yield Decoded(variant, picture, len(files[quality]))
    for name in dict.fromkeys([*anchors, *matched]):
        anchor, made = known[name], dict[int, bytes]()
        for setting in anchors.get(name, ()):
            made[setting] = anchor.encode(original, setting)
            picture = anchor.decode(made[setting])
            yield Decoded(Variant(codec=name, setting=setting), picture, len(made[setting]))
        for writer, files in written.values() if name in matched else ():
            for quality, data in files.items():
                fitted = at_bytes(anchor, original, len(data), made)
                variant = Variant(codec=name, setting=quality, matched=writer)
                yield Decoded(variant, anchor.decode(fitted.data), len(fitted.data), fitted.fits)
