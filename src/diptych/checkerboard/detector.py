"""The grid meter: both scores of a picture at every stride, set against those of photos, and a heat map.

::

    picture -> tiles -> phase and spectral scores -> medians -> percentiles of photos -> verdict
    picture -> phase scores of overlapping tiles, cell by cell -> over the photos' 95 % -> heat map
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diptych.checkerboard.baseline import STRIDES, natural
from diptych.checkerboard.score import ROUNDING, SMALLEST, TILE, TileScores, tile_scores
from diptych.errors import PictureError
from diptych.io.heatmap import overlay
from diptych.io.pixels import high_pass, luma

VERDICTS = ("as photos", "doubtful", "grid")
"""From good to bad: both scores are within the photos' 95th percentile; within the 99th; one is beyond it."""
CELL = 32
"""Side, in pixels, of the cells of a heat map."""
HOTTEST = 100
"""How many times the photos' 95th percentile is shown as the hottest colour."""


class Reading(NamedTuple):
    """What the meter says about one stride.

    Attributes:
        stride: in pixels.
        phase, spectral: the scores of :mod:`diptych.checkerboard.score`.
        usual_phase, usual_spectral: the photos' 95th percentiles.
        verdict: one of :data:`VERDICTS`.
    """

    stride: int
    phase: float
    spectral: float
    usual_phase: float
    usual_spectral: float
    verdict: str


class Measurement(NamedTuple):
    """What the meter says about a picture: how many tiles it has, and a reading per stride."""

    tiles: int
    readings: list[Reading]

    @property
    def verdict(self) -> str:
        """The worst of all readings."""
        return VERDICTS[max(VERDICTS.index(reading.verdict) for reading in self.readings)]

    @property
    def worst(self) -> Reading:
        """The reading whose phase score is farthest above the photos'."""
        return max(self.readings, key=lambda reading: reading.phase / reading.usual_phase)


def measure(picture: Image.Image, strides: Sequence[int] = STRIDES) -> Measurement:
    """Look for the grids that upsampling by ``strides`` leaves.

    Args:
        picture: RGB.
        strides: of 2, 4, 8 and 16.

    Raises:
        PictureError: if a side is shorter than 32 pixels.
    """
    if min(picture.size) < SMALLEST:
        raise PictureError(f"a grid cannot be measured on less than {SMALLEST} x {SMALLEST} pixels")
    scored = tile_scores(picture, strides)
    tiles = len(scored[strides[0]].phase)
    return Measurement(tiles, [_reading(stride, scores) for stride, scores in scored.items()])


def grid_map(picture: Image.Image, stride: int) -> Image.Image:
    """Where in a picture the grid is: a heat map over the picture in grey.

    A cell of 32 pixels shows the phase score of the tile of 160 pixels around it, over the 95th percentile of
    such tiles of photos: grey without colour up to there, the hottest colour from 100 times that, logarithmic
    between.

    Raises:
        PictureError: if a side is shorter than 160 pixels.
    """
    if min(picture.size) < TILE:
        raise PictureError(f"a map needs at least {TILE} x {TILE} pixels")
    excess = _cell_scores(high_pass(luma(picture)), stride) / natural("phase", stride, 95, tiles=1)
    heat = np.log10(np.maximum(excess, 1)) / math.log10(HOTTEST)
    width, height = picture.size
    rows = np.minimum(np.arange(height) // CELL, heat.shape[0] - 1)
    columns = np.minimum(np.arange(width) // CELL, heat.shape[1] - 1)
    return overlay(heat[np.ix_(rows, columns)], picture)


def _reading(stride: int, scores: TileScores) -> Reading:
    tiles = len(scores.phase)
    phase, spectral = float(np.median(scores.phase)), float(np.median(scores.spectral))
    usual, rare = (
        (natural("phase", stride, percentile, tiles), natural("spectral", stride, percentile, tiles))
        for percentile in (95, 99)
    )
    level = sum(phase > bars[0] or spectral > bars[1] for bars in (usual, rare))
    return Reading(stride, phase, spectral, *usual, VERDICTS[level])


def _cell_scores(rough: NDArray[np.float64], stride: int) -> NDArray[np.float64]:
    """Phase score of the tile around each whole cell of a high-passed plane, or of the tile nearest to it."""
    rows, columns = (side // CELL for side in rough.shape)
    blocks = CELL // stride
    whole = rough[: rows * CELL, : columns * CELL]
    cells = whole.reshape(rows, blocks, stride, columns, blocks, stride)
    phases = _over_tiles(cells.sum((1, 4)).transpose(0, 2, 1, 3)) / (TILE / stride) ** 2
    squares = _over_tiles((cells**2).sum((1, 2, 4, 5))) / TILE**2
    by_noise = np.maximum(squares - phases.mean((2, 3)) ** 2, ROUNDING) * (stride / TILE) ** 2
    scores = phases.var((2, 3), ddof=0) * stride**2 / (stride**2 - 1) / by_noise
    reach = TILE // CELL // 2
    return np.pad(scores, reach, mode="edge")


def _over_tiles(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over all squares of as many cells as a tile has, along the first two axes."""
    side = TILE // CELL
    windows = np.lib.stride_tricks.sliding_window_view(cells, (side, side), axis=(0, 1))
    return windows.sum((-2, -1))
