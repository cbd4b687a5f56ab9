"""What can be shown of a damaged file: whole tiles as ever, the others hatched.

Payloads of tiles know nothing of each other, so the latents of whole tiles are exact. So are their pixels, but for
those within 96 of a lost tile (:data:`diptych.codec.tiling.MARGIN` latents), which depend on its latents a little.
Without these, Kodak photos are off by up to a hundred levels within 16 pixels, which are hatched with the tile, by
ten within 32, by three beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from diptych.bitstream import unpack_whole_tiles
from diptych.codec import tiling
from diptych.codec.codec import Latents
from diptych.codec.tiling import Area
from diptych.errors import BitstreamError

if TYPE_CHECKING:
    from diptych.codec.codec import Codec

SPOILED = 1
"""Latents around a lost tile that are hatched with it."""
_DARK, _LIGHT, _STRIPE = 112, 144, 8


class Salvaged(NamedTuple):
    """What is left of a file.

    Attributes:
        pictures: one per view; lost tiles are hatched, in greys of 112 and 144.
        lost: rectangles of the lost tiles: x, y, width, height in pixels of the whole picture.
        tiles: how many there are in the file.
        problem: what is wrong with the file first, in a sentence; None if nothing is.
    """

    pictures: list[Image.Image]
    lost: list[tuple[int, int, int, int]]
    tiles: int
    problem: str | None


def salvage(
    codec: Codec,
    data: bytes,
    views: Sequence[str | float],
    region: tuple[int, int, int, int] | None = None,
) -> Salvaged:
    """Decode what is whole of a file. Of a file without damage: the same as :meth:`Codec.decode_views`.

    Args:
        codec, data, views, region: as :meth:`Codec.decode_views` takes them. All tiles are read.

    Raises:
        BitstreamError: if the header is damaged, no tile is whole, or the codec is not here.
        DiptychError: if a view or the region is impossible.
    """
    header, payloads, problem = unpack_whole_tiles(data)
    codec = codec.for_file(data)
    wanted = tiling.region_of(region, header) if region else tiling.whole_picture(header)
    values = np.zeros((codec.frozen.widths.latent, *tiling.plane(header).size), np.int32)
    lost = []
    for area, payload in zip(tiling.tiles(header), payloads, strict=True):
        try:
            if payload is None:
                raise BitstreamError("its checksum does not match")
            values[:, *area] = codec.frozen.entropy.decode(payload, area.size, header.quality)
        except BitstreamError as error:
            problem = problem or str(error)
            lost.append(area)
    if len(lost) == header.tiles:
        raise BitstreamError(f"Nothing of the file can be saved, as no tile is whole. {problem}")
    latents = Latents(values, header, wanted)
    pictures = [_hatched(codec.synthesize(latents, view), lost, latents) for view in views]
    return Salvaged(pictures, [_rectangle(area, latents) for area in lost], header.tiles, problem)


def _hatched(picture: Image.Image, lost: Sequence[Area], latents: Latents) -> Image.Image:
    """The picture with stripes where tiles are lost."""
    if not lost:
        return picture
    pixels = np.array(picture)
    top, left = latents.wanted.rows.start, latents.wanted.columns.start
    for area in lost:
        marked = area.grown(SPOILED, tiling.plane(latents.header)).in_pixels()
        y = np.arange(max(marked.rows.start, top), min(marked.rows.stop, top + picture.height))[:, None]
        x = np.arange(max(marked.columns.start, left), min(marked.columns.stop, left + picture.width))
        pixels[y - top, x - left] = np.where((y + x) // _STRIPE % 2, _LIGHT, _DARK)[:, :, None]
    return Image.fromarray(pixels)


def _rectangle(area: Area, latents: Latents) -> tuple[int, int, int, int]:
    rows, columns = area.in_pixels()
    width = min(columns.stop, latents.header.width) - columns.start
    height = min(rows.stop, latents.header.height) - rows.start
    return columns.start, rows.start, width, height
