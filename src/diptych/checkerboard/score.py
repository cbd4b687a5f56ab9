"""How much of a grid the upsampling strides have left in a picture.

Two scores, each meant to be read against natural photos measured the same way:

    luma -> high-pass -> tiles -> phase means modulo s -> their variance / that of noise     grid_score
    luma ------------> tiles -> power spectrum        -> peaks at k/s / surroundings        spectral_score

The phase score grows with the area it is taken over, hence tiles of one size. Blurring lowers both scores, so
neither should be reported without :func:`diptych.evaluation.metrics.sharpness`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from diptych.io.pixels import Picture, high_pass, luma

STRIDES = (2, 4, 8)
TILE = 160
BORDER = 8
SMALLEST = 32
ROUNDING = 1 / 12
"""Variance of rounding to 8 bits: no tile is taken to be quieter than that."""
_SURROUNDINGS = 7


def grid_score(picture: Picture, stride: int) -> float:
    """Variance of the ``stride`` x ``stride`` phase means of the high-passed luma over what noise would give.

    Noise without structure scores about 1, photos between 0 and about 3. The score is the median over tiles
    of 160 pixels (fewer in a smaller picture), the outermost 8 pixels left out.

    Returns:
        A number >= 0; NaN if a side of the picture is shorter than 32 pixels.
    """
    return _median(_phase_scores(high_pass(luma(picture)), stride))


def spectral_score(picture: Picture, stride: int) -> float:
    """Mean log10 of the power at the frequencies ``k / stride`` over the median power around them.

    Of each frequency the strongest of its 3 x 3 bins counts, so photos score about 0.5, and a picture with
    ten times their power at the grid's frequencies 1 more. Median over the tiles of :func:`grid_score`, each
    under a Hann window.

    Returns:
        A number >= 0; NaN if a side of the picture is shorter than 32 pixels.
    """
    return _median(_spectral_scores(luma(picture), stride))


def grid_scores(picture: Picture, strides: Sequence[int] = STRIDES) -> dict[int, float]:
    """:func:`grid_score` for several strides, the high-pass computed once."""
    rough = high_pass(luma(picture))
    return {stride: _median(_phase_scores(rough, stride)) for stride in strides}


def spectral_scores(picture: Picture, strides: Sequence[int] = STRIDES) -> dict[int, float]:
    """:func:`spectral_score` for several strides."""
    plane = luma(picture)
    return {stride: _median(_spectral_scores(plane, stride)) for stride in strides}


class TileScores(NamedTuple):
    """Phase and spectral score of every tile of a picture, in reading order; float64 ``(tiles,)`` each."""

    phase: np.ndarray
    spectral: np.ndarray


def tile_scores(picture: Picture, strides: Sequence[int] = STRIDES) -> dict[int, TileScores]:
    """What :func:`grid_scores` and :func:`spectral_scores` take the medians of; empty for too small a picture."""
    plane = luma(picture)
    rough = high_pass(plane)
    return {
        stride: TileScores(
            np.array(list(_phase_scores(rough, stride))), np.array(list(_spectral_scores(plane, stride)))
        )
        for stride in strides
    }


def _median(scores: Iterator[float]) -> float:
    found = list(scores)
    return float(np.median(found)) if found else math.nan


def _tiles(plane: np.ndarray, stride: int) -> Iterator[np.ndarray]:
    """Centred tiles of equal size, a multiple of ``stride``; none if the plane is too small."""
    if min(plane.shape) < SMALLEST:
        return
    inner = plane[BORDER:-BORDER, BORDER:-BORDER]
    sides = [min(TILE, length) // stride * stride for length in inner.shape]
    counts = [length // side for length, side in zip(inner.shape, sides, strict=True)]
    starts = [(length - count * side) // 2 for length, count, side in zip(inner.shape, counts, sides, strict=True)]
    for row in range(counts[0]):
        for column in range(counts[1]):
            top, left = starts[0] + row * sides[0], starts[1] + column * sides[1]
            yield inner[top : top + sides[0], left : left + sides[1]]


def _phase_scores(rough: np.ndarray, stride: int) -> Iterator[float]:
    for tile in _tiles(rough, stride):
        height, width = tile.shape
        phases = tile.reshape(height // stride, stride, width // stride, stride).mean(axis=(0, 2))
        by_noise = max(float(tile.var()), ROUNDING) * stride**2 / tile.size
        yield float(phases.var(ddof=1)) / by_noise


def _spectral_scores(plane: np.ndarray, stride: int) -> Iterator[float]:
    for tile in _tiles(plane, stride):
        height, width = tile.shape
        window = np.outer(np.hanning(height), np.hanning(width))
        power = np.abs(np.fft.fft2((tile - tile.mean()) * window)) ** 2
        power = np.maximum(power, ROUNDING * (window**2).sum())
        radius = max(2, min(_SURROUNDINGS, min(height, width) // stride // 2))
        rows, columns = np.divmod(np.arange(1, stride**2), stride)
        rows, columns = rows * height // stride, columns * width // stride
        peaks = _around(power, rows, columns, 1).max(axis=(1, 2))
        yield float(np.log10(peaks / np.median(_around(power, rows, columns, radius), axis=(1, 2))).mean())


def _around(power: np.ndarray, rows: np.ndarray, columns: np.ndarray, radius: int) -> np.ndarray:
    """The squares around some frequencies ``(n,)``: ``(n, 2 radius + 1, 2 radius + 1)``."""
    steps = np.arange(-radius, radius + 1)
    rows, columns = rows[:, None, None] + steps[:, None], columns[:, None, None] + steps
    return power[rows % power.shape[0], columns % power.shape[1]]
