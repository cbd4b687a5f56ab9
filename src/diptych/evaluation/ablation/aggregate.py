"""From entries to numbers: each row, and each row less the base codec, with paired bootstrap intervals.

Every number is a function of the photos, taken over all of them and then over each resample: an array
``(1 + draws,)``. Differences and means over qualities are taken array by array, so they are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from diptych.evaluation.ablation.recipe import Published
from diptych.evaluation.ablation.runner import Entry, Table
from diptych.evaluation.average_precision import AveragePrecision, Precision
from diptych.evaluation.statistics import interval, resamples, sampled

RELATIVE = (*Precision._fields, "features")
"""What is also given relative to the base codec, in percent."""
Draws = dict[str, np.ndarray]
"""By metric, its value over all photos and over each resample: ``(1 + draws,)``."""


class Summary:
    """Statistics of all rows over the same resamples of the photos.

    Means over the photos; of grid scores, medians. Over several qualities the mean of theirs.

    Args:
        tables: one per photo.
        pixels: of each photo.
        base: number of the row that all are compared with.
        draws: how many resamples.
        seed: of the resamples.
    """

    def __init__(self, tables: Sequence[Table], pixels: Sequence[int], base: int, draws: int, seed: int) -> None:
        self._drawn, self._base = resamples(len(tables), draws, seed), base
        self._bits = 8 / np.array(pixels)
        qualities, rows = range(len(tables[0])), range(len(tables[0][0]))
        self._draws = [[self._of([table[q][row] for table in tables]) for q in qualities] for row in rows]
        self._bpp = [
            sampled(np.array([table[q][base].size for table in tables]) * self._bits, self._drawn)
            for q in qualities
        ]

    def row(self, number: int) -> dict[str, Any]:
        """One row: over all qualities, and at each (``at``, in their order)."""
        own, base = self._draws[number], self._draws[self._base]
        return _compared(_mean(own), _mean(base)) | {
            "at": [_compared(ours, theirs) for ours, theirs in zip(own, base, strict=True)]
        }

    def bpp(self) -> list[dict[str, float]]:
        """Bits per pixel of the files at each quality."""
        return [interval(float(rates[0]), rates[1:])._asdict() for rates in self._bpp]

    def _of(self, entries: Sequence[Entry]) -> Draws:
        """All statistics of one row at one quality."""
        found = {
            name: sampled([entry.metrics[name] for entry in entries], self._drawn, _statistic(name))
            for name in entries[0].metrics
        }
        precision = AveragePrecision([entry.matches for entry in entries])
        values = np.vstack([precision.over(), precision.resampled(self._drawn)])
        return dict(zip(Precision._fields, values.T, strict=True)) | found


def against(published: Published, base: Published) -> dict[str, float]:
    """A row of the paper against its base codec: accuracy in percent, PSNR in dB, SSIM."""
    return {
        "mAP_percent": round(100 * (published.mAP / base.mAP - 1), 2),
        "psnr": round(published.psnr - base.psnr, 3),
        "ssim": round(published.ssim - base.ssim, 3),
    }


def _compared(own: Draws, base: Draws) -> dict[str, Any]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "summary": _intervals(own),
            "difference": _intervals({name: own[name] - base[name] for name in own}),
            "percent": _intervals({name: 100 * (own[name] / base[name] - 1) for name in RELATIVE}),
        }


def _mean(at: Sequence[Draws]) -> Draws:
    return {name: np.mean([draws[name] for draws in at], axis=0) for name in at[0]}


def _intervals(draws: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    return {name: interval(float(values[0]), values[1:])._asdict() for name, values in draws.items()}


def _statistic(name: str) -> Callable[..., np.ndarray]:
    return np.nanmedian if name.startswith("grid") else np.nanmean
