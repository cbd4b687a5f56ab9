"""From rows of measurements to numbers with intervals: per variant, between variants, and along rates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from diptych.evaluation.average_precision import AveragePrecision, Precision
from diptych.evaluation.measurements import LOWER_IS_BETTER, Measurements
from diptych.evaluation.statistics import (
    Curve,
    Interval,
    bd_rate,
    bootstrap,
    interval,
    rate_for,
    resamples,
    sampled,
)
from diptych.evaluation.variants import CODEC, ORIGINAL, Variant

PRECISIONS = Precision._fields
SHARES = (0.9, 0.95, 0.99)
"""Parts of the uncompressed photos' accuracy for which the rate is given."""
COMPARED = ("psnr", "ssim", "ms_ssim", "ssimulacra2", "lpips", "butteraugli", "features", *PRECISIONS)
"""What a BD-rate can be taken at equal values of."""
_SUMS_ONLY = {"bytes", "fits"}


class Summary:
    """All statistics of an evaluation, every one over the same resamples of its photos.

    Grid and spectral scores are medians over the photos, everything else means.

    Args:
        measured: the rows.
        draws: number of resamples behind each interval.
        seed: of the resamples.
        bpp_range: where BD-rates are taken.
    """

    def __init__(self, measured: Measurements, draws: int, seed: int, bpp_range: tuple[float, float]) -> None:
        self._measured, self._bpp_range = measured, bpp_range
        self._drawn = resamples(len(measured.names), draws, seed)
        pixels = np.array(measured.pixels)
        self._columns = {
            variant: {"bpp": np.array(row["bytes"]) * 8 / pixels}
            | {k: np.array(v, dtype=float) for k, v in row.items() if k not in _SUMS_ONLY}
            for variant, row in measured.rows.items()
        }
        self._precisions = {variant: self._task(variant) for variant in measured.matches}

    def points(self) -> list[dict[str, Any]]:
        """One entry per variant: what it is, its statistics, and its rows in the order of the photos."""
        return [
            {
                "codec": variant.codec,
                "setting": variant.setting,
                "view": variant.view,
                "matched": variant.matched,
                "summary": {k: i._asdict() for k, i in self._statistics(variant)},
                "rows": dict(self._measured.rows[variant]),
            }
            for variant in self._columns
        ]

    def comparisons(self) -> list[dict[str, Any]]:
        """Paired differences at equal bytes: every view minus the machine view and minus matched anchors."""
        pairs = [
            (tested, reference)
            for tested in self._columns
            for reference in self._columns
            if tested.codec == CODEC and tested.setting == reference.setting and tested != reference
            if reference.matched or (reference.codec == CODEC and reference.view == "machine")
        ]
        return [
            {
                "tested": str(tested),
                "reference": str(reference),
                "difference": {k: i._asdict() for k, i in self._differences(tested, reference)},
            }
            for tested, reference in pairs
        ]

    def bd_rates(self) -> list[dict[str, Any]]:
        """Rate of each view against each anchor, in percent, at equal quality by all metrics both have.

        Each with the qualities it is an average over (``shared``), the part of the resamples in which it is
        defined (``defined``) and, if it has no value, why (``problem``).
        """
        curves = self._along_rates()
        return [
            {"view": view, "anchor": anchor, "metric": metric, "bpp_range": list(self._bpp_range)}
            | self._bd_rate(other, tested, metric)
            for (codec, view), tested in curves.items()
            if codec == CODEC
            for (anchor, _), other in curves.items()
            if anchor != CODEC and min(len(tested), len(other)) > 1
            for metric in COMPARED
            if self._has(tested[0], metric) and self._has(other[0], metric)
        ]

    def needed(self) -> list[dict[str, Any]]:
        """Bits per pixel that each view and anchor needs for a share of the AP50 on uncompressed photos.

        The rate is None where the share is not reached, and so is the upper end of an interval in which it is
        not; ``reached`` is the part of the resamples in which it is. With ``at_smallest`` the smallest files
        reach it already and the rate is an upper bound.
        """
        return [
            {"codec": codec, "view": view, "metric": "ap50", "share": share} | self._needed(variants, share)
            for (codec, view), variants in self._along_rates().items()
            if self._has(variants[0], "ap50")
            for share in SHARES
        ]

    def _statistics(self, variant: Variant) -> Iterator[tuple[str, Interval]]:
        for name, values in self._columns[variant].items():
            if variant.codec != ORIGINAL or name != "bpp":
                yield name, bootstrap(values, self._drawn, _statistic(name))
        for name in PRECISIONS if variant in self._precisions else ():
            ours, of_original = (self._precisions[v][name] for v in (variant, Variant(ORIGINAL)))
            yield name, interval(float(ours[0]), ours[1:])
            if variant.codec != ORIGINAL:
                with np.errstate(invalid="ignore", divide="ignore"):
                    relative = np.where(of_original > 0, ours / of_original, np.nan)
                yield f"{name}_relative", interval(float(relative[0]), relative[1:])

    def _differences(self, tested: Variant, reference: Variant) -> Iterator[tuple[str, Interval]]:
        ours, theirs = self._columns[tested], self._columns[reference]
        for name in ours.keys() & theirs.keys():
            with np.errstate(invalid="ignore"):
                yield name, bootstrap(ours[name] - theirs[name], self._drawn, _statistic(name))
        for name in PRECISIONS if tested in self._precisions else ():
            difference = self._precisions[tested][name] - self._precisions[reference][name]
            yield name, interval(float(difference[0]), difference[1:])

    def _along_rates(self) -> dict[tuple[str, Any], list[Variant]]:
        """The variants of each codec and view that differ in their setting only."""
        curves: dict[tuple[str, Any], list[Variant]] = {}
        for variant in self._columns:
            if variant.codec != ORIGINAL and not variant.matched:
                curves.setdefault((variant.codec, variant.view), []).append(variant)
        return curves

    def _bd_rate(self, anchor: list[Variant], tested: list[Variant], metric: str) -> dict[str, Any]:
        theirs, ours = (self._curves(variants, metric) for variants in (anchor, tested))
        whole, *drawn = (bd_rate(*pair, self._bpp_range) for pair in zip(theirs, ours, strict=True))
        percent = np.array([one.percent for one in drawn])
        return interval(whole.percent, percent)._asdict() | {
            "shared": sorted(_sign(metric) * quality for quality in whole.shared),
            "defined": float(np.mean(~np.isnan(percent))),
            "problem": whole.problem,
        }

    def _needed(self, variants: list[Variant], share: float) -> dict[str, Any]:
        targets = share * self._precisions[Variant(ORIGINAL)]["ap50"]
        curves = self._curves(variants, "ap50")
        rates = np.array([rate_for(*pair) for pair in zip(curves, targets, strict=True)])
        return interval(rates[0], rates[1:])._asdict() | {
            "target": float(targets[0]),
            "reached": float(np.mean(np.isfinite(rates[1:]))),
            "at_smallest": bool(rates[0] == np.min(curves[0][0])),
        }

    def _curves(self, variants: list[Variant], metric: str) -> list[Curve]:
        """The curve over all photos, then over each resample; higher is better in all of them."""
        rates = np.stack([self._means(v, "bpp") for v in variants], axis=1)
        if metric in PRECISIONS:
            qualities = np.stack([self._precisions[v][metric] for v in variants], axis=1)
        else:
            qualities = _sign(metric) * np.stack([self._means(v, metric) for v in variants], axis=1)
        return list(zip(rates, qualities, strict=True))

    def _means(self, variant: Variant, name: str) -> np.ndarray:
        return sampled(self._columns[variant][name], self._drawn)

    def _task(self, variant: Variant) -> dict[str, np.ndarray]:
        """Precisions ``(1 + draws,)``: over all photos, then over each resample."""
        precision = AveragePrecision(self._measured.matches[variant])
        values = np.vstack([precision.over(), precision.resampled(self._drawn)])
        return dict(zip(PRECISIONS, values.T, strict=True))

    def _has(self, variant: Variant, metric: str) -> bool:
        return metric in self._columns[variant] or (metric in PRECISIONS and variant in self._precisions)


def _sign(metric: str) -> int:
    return -1 if metric in LOWER_IS_BETTER else 1


def _statistic(name: str) -> Any:
    return np.nanmedian if name.startswith(("grid", "spectral")) else np.nanmean
