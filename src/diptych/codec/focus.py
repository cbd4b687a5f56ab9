"""More of the bits where objects are: around them, a photo is put out of focus before it is encoded.

What is blurred takes few bits, and the encoder finds them by itself: latents are small there, hyper-latents say so,
and the entropy model expects nothing else. Format and decoders stay as they are, and so does what is inside a box.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from diptych.codec.architecture import STRIDE
from diptych.errors import DiptychError

if TYPE_CHECKING:
    from diptych.io.boxes import Box

BLUR = 5.0
"""Standard deviation of the blur in pixels at quality 0; it falls evenly to none at quality 100."""
MARGIN, RAMP = 8, 32
"""Pixels around a box that stay as they are, and over which the blur then sets in. The blur's share is interpolated
between cells of STRIDE pixels; half of one as MARGIN leaves all of a box alone."""
_STRIP, _REACH = 512, 32


def focused(pixels: NDArray[np.uint8], boxes: Sequence[Box], quality: float) -> NDArray[np.uint8]:
    """The photo ``(H, W, 3)``, blurred outside of the boxes, the less the better the quality.

    Raises:
        DiptychError: if these are no boxes.
    """
    height, width = pixels.shape[:2]
    blur = ImageFilter.GaussianBlur(BLUR * (1 - quality / 100))
    outside = Image.fromarray(_outside(boxes, -(-height // STRIDE), -(-width // STRIDE)))
    found = np.empty_like(pixels)
    for top in range(0, height, _STRIP):
        first, last, stop = max(0, top - _REACH), min(height, top + _STRIP + _REACH), min(height, top + _STRIP)
        strip = Image.fromarray(pixels[first:last])
        box = (0, first / STRIDE, width / STRIDE, last / STRIDE)
        mask = outside.resize(strip.size, Image.Resampling.BILINEAR, box)
        strip.paste(strip.filter(blur), mask=mask)
        found[top:stop] = np.asarray(strip)[top - first : stop - first]
    return found


def _outside(boxes: Sequence[Box], rows: int, columns: int) -> NDArray[np.uint8]:
    """Share of the blur in each cell of STRIDE pixels, by its distance to the nearest box: 0..255."""
    distance = np.full((rows, columns), np.inf, np.float32)
    for x, y, width, height in _checked(boxes):
        down, along = (_gap(start, side, count) for start, side, count in ((y, height, rows), (x, width, columns)))
        np.minimum(distance, np.hypot(down[:, None], along), out=distance)
    return np.rint(255 * ((distance - MARGIN) / RAMP).clip(0, 1)).astype(np.uint8)


def _checked(boxes: Sequence[Box]) -> NDArray[np.float64]:
    try:
        found = np.asarray(boxes, np.float64)
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.ndim != 2 or found.shape[1] != 4 or not np.isfinite(found).all() or found[:, 2:].min() <= 0:
        raise DiptychError("a focus is a list of boxes, each x, y, width, height in pixels")
    return found


def _gap(start: float, side: float, count: int) -> NDArray[np.float32]:
    """Pixels between each of ``count`` cells and a box, along one axis."""
    cells = STRIDE * np.arange(count, dtype=np.float32)
    return np.maximum(np.maximum(start - (cells + STRIDE), cells - (start + side)), 0)
