"""Heat maps: numbers from 0 to 1 as colours, alone or over a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_STOPS = np.array(
    [(0, 0, 0), (52, 18, 110), (150, 32, 110), (232, 84, 48), (252, 186, 40), (255, 252, 220)], dtype=np.float64
)
"""Black, violet, magenta, orange, yellow, nearly white: ever brighter, so that it can be read in grey too."""
_PALETTE = np.stack(
    [np.interp(np.linspace(0, len(_STOPS) - 1, 256), range(len(_STOPS)), channel) for channel in _STOPS.T], axis=1
).round()


def heat_map(values: NDArray[np.floating]) -> Image.Image:
    """RGB picture of ``values`` ``(H, W)``: 0 and less is black, 1 and more nearly white."""
    return Image.fromarray(_PALETTE.astype(np.uint8)[_levels(values)])


def overlay(values: NDArray[np.floating], picture: Image.Image) -> Image.Image:
    """``picture`` in dark grey under its heat map.

    Args:
        values: ``(h, w)``, stretched over the picture without smoothing; where they are 0 only the grey shows.
        picture: RGB, any size.
    """
    heat = heat_map(values).resize(picture.size, Image.Resampling.NEAREST)
    opacity = Image.fromarray(np.minimum(_levels(values) * 4, 170).astype(np.uint8))
    grey = picture.convert("L").point(lambda level: level * 0.6).convert("RGB")
    return Image.composite(heat, grey, opacity.resize(picture.size, Image.Resampling.NEAREST))


def _levels(values: NDArray[np.floating]) -> NDArray[np.intp]:
    return np.rint(np.nan_to_num(values).clip(0, 1) * 255).astype(np.intp)
