"""Where the human view tells something else than the machine view.

The human view is tuned to look right, so texture in it may be invented. How far it is from the machine view
says where that may be; a grid that it removed counts too.

    human, machine -> |difference of luma| -> a little blur -> map -> heat map, largest region
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from diptych.io.heatmap import heat_map

if TYPE_CHECKING:
    from diptych.codec.codec import Codec

FULL_SCALE = 16
"""Levels of 255 at which a map ends: larger differences count as this one. The same in every map."""
THRESHOLD = 4.0
"""From this difference on, in levels, a place belongs to a region."""
CELL = 8
"""Regions are made of squares with this side, in pixels."""
_BLUR = 2


class Region(NamedTuple):
    """A connected part of a picture in which the views differ.

    Attributes:
        x, y, width, height: its bounding box, in pixels, as ``decode --region`` takes it.
        pixels: its area.
        mean: difference of the views over it, in levels.
    """

    x: int
    y: int
    width: int
    height: int
    pixels: int
    mean: float


def difference_map(
    codec: Codec, data: bytes, region: tuple[int, int, int, int] | None = None
) -> NDArray[np.float32]:
    """How far the human view of a file is from its machine view.

    Args:
        codec: must have a human view.
        data: the bytes of a ``.dip`` file.
        region: x, y, width, height in pixels: only this part.

    Returns:
        ``(H, W)``: levels of luma, 0 to :data:`FULL_SCALE`.

    Raises:
        BitstreamError, DiptychError: as :meth:`Codec.decode`.
        ModelError: if the codec has no human view.
    """
    return difference(*codec.decode_views(data, ["machine", "human"], region))


def difference(machine: Image.Image, human: Image.Image) -> NDArray[np.float32]:
    """The map of two RGB pictures that were decoded already: ``(H, W)``, levels, 0 to :data:`FULL_SCALE`."""
    apart = ImageChops.difference(machine.convert("L"), human.convert("L"))
    fine = 255 / FULL_SCALE
    blurred = apart.point(lambda level: min(255, round(level * fine))).filter(ImageFilter.GaussianBlur(_BLUR))
    return np.asarray(blurred, np.float32) / np.float32(fine)


def as_picture(levels: NDArray[np.float32]) -> Image.Image:
    """The map as a heat map: black where the views agree, nearly white from :data:`FULL_SCALE` on."""
    return heat_map(levels / FULL_SCALE)


def largest_region(levels: NDArray[np.float32], threshold: float = THRESHOLD) -> Region | None:
    """The largest region of a map in which the views differ by ``threshold`` levels or more, if there is one."""
    cells = _cell_means(levels)
    regions = list(_connected(cells >= threshold))
    if not regions:
        return None
    height, width = levels.shape
    best = max(regions, key=len)
    rows, columns = best.T * CELL
    heights, widths = np.minimum(height - rows, CELL), np.minimum(width - columns, CELL)
    areas = heights * widths
    top, left = int(rows.min()), int(columns.min())
    return Region(
        left,
        top,
        int((columns + widths).max()) - left,
        int((rows + heights).max()) - top,
        int(areas.sum()),
        float((cells[tuple(best.T)] * areas).sum() / areas.sum()),
    )


def facts(levels: NDArray[np.float32]) -> dict[str, float | str]:
    """What ``diptych info --difference`` says of a map, in levels of 255."""
    region = largest_region(levels)
    said: dict[str, float | str] = {"views_differ": float(levels.mean()), "views_differ_most": float(levels.max())}
    if region is None:
        return {**said, "largest_region": f"none of {THRESHOLD:g} levels or more"}
    return {**said, "largest_region": ",".join(map(str, region[:4])), "largest_region_differs": region.mean}


def in_words(levels: NDArray[np.float32]) -> str:
    """A map in words: how far the views are apart, and where most."""
    region = largest_region(levels)
    where = "nowhere by" if region is None else f"most in {','.join(map(str, region[:4]))}, by"
    far = THRESHOLD if region is None else region.mean
    return f"the views differ by {levels.mean():.1f} levels, {where} {far:.1f}{' or more' * (region is None)}"


def _cell_means(levels: NDArray[np.float32]) -> NDArray[np.float64]:
    starts = [np.arange(0, side, CELL) for side in levels.shape]
    sums = np.add.reduceat(np.add.reduceat(levels.astype(np.float64), starts[0], 0), starts[1], 1)
    sides = [np.minimum(side - start, CELL) for side, start in zip(levels.shape, starts, strict=True)]
    return sums / np.outer(*sides)


def _connected(marked: NDArray[np.bool_]) -> Iterator[NDArray[np.intp]]:
    """Rows and columns ``(n, 2)`` of each group of marked cells that touch by their sides."""
    left = {(int(row), int(column)) for row, column in np.argwhere(marked)}
    while left:
        group, border = [], deque([left.pop()])
        while border:
            row, column = border.popleft()
            group.append((row, column))
            for neighbour in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if neighbour in left:
                    left.remove(neighbour)
                    border.append(neighbour)
        yield np.array(group, np.intp)
