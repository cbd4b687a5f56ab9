"""What photos score on the grid meter: the percentiles that a picture is compared with.

``natural.json`` beside this module is the table; ``benchmarks/natural_grid.py`` makes it from photos::

    {"strides": [2, 4, 8, 16], "percentiles": [50, 75, ...],
     "sets": {"kodak": {"photos": 24, "tiles": {"phase": [[...], ...], "spectral": ...}, "pictures": {...}}}}

where a row holds the percentiles for one stride: of the scores of single tiles, and of whole photos.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

STRIDES = (2, 4, 8, 16)
"""Strides that the meter knows: all that are usual in decoders."""
PERCENTILES = (5, 25, 50, 75, 90, 95, 99)
TABLE = Path(str(resources.files("diptych") / "checkerboard" / "natural.json"))
FEW_TILES = 4
"""The median over fewer tiles scatters as single tiles do, and is compared with those."""


def natural(score: str, stride: int, percentile: float, tiles: int) -> float:
    """A percentile of what photos score: the higher one of all sets in the table.

    The sets are ``kodak``, 24 photos never compressed, and ``voc``, 400 JPEGs as cameras and web sites make them.

    Args:
        score: ``phase`` or ``spectral``.
        stride: one of :data:`STRIDES`.
        percentile: one of :data:`PERCENTILES`.
        tiles: how many the compared score is the median of.
    """
    kind = "tiles" if tiles < FEW_TILES else "pictures"
    place = STRIDES.index(stride), PERCENTILES.index(percentile)
    return max(photos[kind][score][place[0]][place[1]] for photos in _table()["sets"].values())


def percentiles(scores: np.ndarray) -> list[float]:
    """Entries of one row of the table, for scores ``(n,)``."""
    return [round(float(value), 3) for value in np.percentile(scores, PERCENTILES)]


@cache
def _table() -> Any:
    return json.loads(TABLE.read_text())
