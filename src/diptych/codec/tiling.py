"""Where things lie: tiles and windows of the plane of latents, and the pixels they stand for.

The latents of a picture form one plane, one latent per square of ``STRIDE`` pixels. Entropy coding cuts it into
tiles that know nothing of each other; the transforms run over windows of it, each with a margin as wide as their
receptive field, so that windows leave no seam.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from operator import index
from typing import NamedTuple

from diptych.bitstream import Header
from diptych.codec.architecture import STRIDE
from diptych.errors import DiptychError

WINDOW = 96
"""Side, in latents, of the windows in which the transforms run: larger ones outgrow what allocators reuse."""
MARGIN = 6
"""Latents of context around a window: the receptive field of ``g_s``, which is wider than that of ``g_a``."""


class Area(NamedTuple):
    """A rectangle of a plane, in latents or in pixels."""

    rows: slice
    columns: slice

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def inside(self, outer: Area) -> Area:
        """The same rectangle counted from the corner of ``outer``."""
        return Area(_shifted(self.rows, outer.rows.start), _shifted(self.columns, outer.columns.start))

    def grown(self, margin: int, bounds: Area) -> Area:
        """With ``margin`` on every side, but not beyond ``bounds``."""
        return Area(*(_grown(side, margin, bound) for side, bound in zip(self, bounds, strict=True)))

    def meets(self, other: Area) -> bool:
        """Whether the two have anything in common."""
        return all(a.start < b.stop and b.start < a.stop for a, b in zip(self, other, strict=True))

    def in_pixels(self) -> Area:
        """Of an area of latents: the pixels it stands for, which may reach beyond the picture."""
        return Area(*(slice(side.start * STRIDE, side.stop * STRIDE) for side in self))


def whole_picture(header: Header) -> Area:
    """All pixels of a picture."""
    return Area(slice(0, header.height), slice(0, header.width))


def plane(header: Header) -> Area:
    """All latents of a picture."""
    return latents_of(whole_picture(header))


def latents_of(pixels: Area) -> Area:
    """The latents that stand for an area of pixels."""
    return Area(*(slice(side.start // STRIDE, math.ceil(side.stop / STRIDE)) for side in pixels))


def region_of(region: tuple[int, int, int, int], header: Header) -> Area:
    """The pixels of a region given as x, y, width, height.

    Raises:
        DiptychError: if it is empty or reaches beyond the picture, or is not made of whole numbers.
    """
    try:
        x, y, width, height = map(index, region)
    except (TypeError, ValueError):
        raise DiptychError(f"a region is x, y, width, height in whole pixels, not {region}") from None
    if min(x, y) < 0 or min(width, height) < 1 or x + width > header.width or y + height > header.height:
        raise DiptychError(
            f"the region {x},{y},{width},{height} is not inside the picture of {header.width} x {header.height}"
        )
    return Area(slice(y, y + height), slice(x, x + width))


def tiles(header: Header) -> Iterator[Area]:
    """The latents of every tile, in reading order."""
    everything = plane(header)
    side = header.tile // STRIDE or max(everything.size)
    yield from _cut(everything, side)


def windows(area: Area, bounds: Area, side: int = WINDOW, margin: int = MARGIN) -> Iterator[tuple[Area, Area]]:
    """Windows that cover ``area``, each alone and with its margin inside ``bounds``."""
    for inner in _cut(area, side):
        yield inner, inner.grown(margin, bounds)


def _cut(area: Area, side: int) -> Iterator[Area]:
    for top in range(area.rows.start, area.rows.stop, side):
        for left in range(area.columns.start, area.columns.stop, side):
            yield Area(
                slice(top, min(top + side, area.rows.stop)),
                slice(left, min(left + side, area.columns.stop)),
            )


def _shifted(side: slice, start: int) -> slice:
    return slice(side.start - start, side.stop - start)


def _grown(side: slice, margin: int, bound: slice) -> slice:
    return slice(max(side.start - margin, bound.start), min(side.stop + margin, bound.stop))
