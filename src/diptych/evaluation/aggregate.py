"""From rows of measurements to numbers with intervals: per variant, between variants, and along rates.

Every number is a function of the photos, taken over all of them and then over each resample: an array
``(1 + draws,)``. Differences, shares and means over qualities are taken array by array, so they are paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from diptych.evaluation.average_precision import AveragePrecision, Precision
from diptych.evaluation.measurements import Measurements
from diptych.evaluation.results import ORIGINAL, BdRate, Comparison, Interval, Needed, Point, Variant, View
from diptych.evaluation.statistics import Curve, bd_rate, interval, rate_for, resamples, sampled

SHARES = (0.9, 0.95, 0.99)
"""Parts of the task networks' scores on the originals for which the rate is given."""
PRECISIONS = Precision._fields
AGREEMENTS = ("agreement", "characters")
"""How task networks are scored without labels."""
LOWER_IS_BETTER = frozenset({"lpips", "butteraugli", "dists", "vgg", "features", "distance"})
COMPARED = (
    frozenset({"psnr", "ssim", "ms_ssim", "psnr_hvs", "ssimulacra2", "cvvdp", "vmaf", *PRECISIONS, *AGREEMENTS})
    | LOWER_IS_BETTER
)
"""What a BD-rate can be taken at equal values of."""
RELATIVE = frozenset({"features", "vgg", "distance", *PRECISIONS, *AGREEMENTS})
"""What is compared in percent as well."""
_SUMS_ONLY = {"bytes", "fits"}
Draws = dict[str, np.ndarray]
"""By metric, its value over all photos and over each resample: ``(1 + draws,)``."""


def kind_of(metric: str) -> str:
    """A metric without the name of its task network."""
    return metric.rpartition(".")[2]


class Summary:
    """All statistics of an evaluation, every one over the same resamples of its photos.

    Grid and spectral scores are medians over the photos, everything else means.

    Args:
        measured: the rows.
        writers: of every codec by name, the one whose files it reads.
        draws: number of resamples behind each interval.
        seed: of the resamples.
        bpp_range: where BD-rates are taken.
    """

    def __init__(
        self,
        measured: Measurements,
        writers: Mapping[str, str],
        draws: int,
        seed: int,
        bpp_range: tuple[float, float],
    ) -> None:
        self._measured, self._writers, self._bpp_range = measured, writers, bpp_range
        self._drawn = resamples(len(measured.names), draws, seed)
        self._draws = {variant: self._of(variant) for variant in measured.rows}
        self._curves: dict[tuple[str, View | None], list[Variant]] = {}
        for variant in self._draws:
            if variant.codec != ORIGINAL and variant.matched is None:
                self._curves.setdefault((variant.codec, variant.view), []).append(variant)

    def points(self) -> list[Point]:
        """Every variant, with its rows in the order of the photos; then the means over a codec's qualities."""
        rows = self._measured.rows
        measured = [self._point(variant, draws, dict(rows[variant])) for variant, draws in self._draws.items()]
        return measured + [self._point(variant, draws, {}) for variant, draws in self._means().items()]

    def comparisons(self) -> list[Comparison]:
        """Paired differences at equal bytes, at each quality and in the mean of all.

        Every view of every codec, minus the first view of the first codec that writes the same files, and minus the
        anchors that were matched to these.
        """
        everything = self._draws | self._means()
        return [
            self._compared(tested, reference, everything)
            for tested in everything
            for reference in everything
            if self._in_the_same_bytes(tested, reference)
        ]

    def bd_rates(self) -> Iterator[BdRate]:
        """Every view of every codec against every anchor, and against the first codec unless it writes the same
        files, at equal values of all metrics that both have."""
        first = next(iter(self._writers))
        for (codec, view), tested in self._curves.items():
            for (against, other_view), others in self._curves.items() if codec in self._writers else ():
                foreign = self._writers[codec] != first and against == first and other_view == view
                comparable = against not in self._writers or foreign
                if comparable and min(len(tested), len(others)) > 1:
                    for metric in self._draws[tested[0]]:
                        if kind_of(metric) in COMPARED and metric in self._draws[others[0]]:
                            yield self._bd_rate(codec, view, against, tested, others, metric)

    def needed(self) -> Iterator[Needed]:
        """Bits per pixel that each view and anchor needs for a share of the scores on the originals."""
        for metric, on_originals in self._draws[Variant(codec=ORIGINAL)].items():
            for (codec, view), variants in self._curves.items() if kind_of(metric) in ("ap50", *AGREEMENTS) else ():
                for share in SHARES:
                    yield self._needed(codec, view, variants, metric, share, share * on_originals)

    def _of(self, variant: Variant) -> Draws:
        """All statistics of one variant."""
        rows = self._measured.rows[variant]
        draws = {}
        if variant.codec != ORIGINAL:
            draws["bpp"] = sampled(np.array(rows["bytes"]) * 8 / np.array(self._measured.pixels), self._drawn)
        for name, values in rows.items():
            if name not in _SUMS_ONLY:
                draws[name] = sampled(values, self._drawn, _statistic(name))
        for task, matches in self._measured.matches.items():
            precision = AveragePrecision(matches[variant])
            columns = np.vstack([precision.over(), precision.resampled(self._drawn)]).T
            draws |= {f"{task}.{name}": column for name, column in zip(PRECISIONS, columns, strict=True)}
        return draws

    def _means(self) -> dict[Variant, Draws]:
        """The codecs' means over several qualities."""
        found = {}
        for (codec, view), variants in self._curves.items():
            if codec in self._writers and len(variants) > 1:
                at = [self._draws[variant] for variant in variants]
                means = {metric: np.mean([draws[metric] for draws in at], axis=0) for metric in at[0]}
                found[Variant(codec=codec, view=view)] = means
        return found

    def _point(self, variant: Variant, draws: Draws, rows: dict[str, Any]) -> Point:
        summary = {name: _interval(values) for name, values in draws.items()}
        for name, on_originals in self._draws[Variant(codec=ORIGINAL)].items():
            if kind_of(name) in PRECISIONS and variant.codec != ORIGINAL:
                summary[f"{name}_relative"] = _interval(_share(draws[name], on_originals))
        return Point(**variant.model_dump(), summary=summary, rows=rows)

    def _in_the_same_bytes(self, tested: Variant, reference: Variant) -> bool:
        writer = self._writers.get(tested.codec)
        if writer is None or tested.setting != reference.setting or tested == reference:
            return False
        if reference.matched is not None:
            return reference.matched == writer
        return (reference.codec, reference.view) == next(pair for pair in self._curves if pair[0] == writer)

    def _compared(self, tested: Variant, reference: Variant, of: Mapping[Variant, Draws]) -> Comparison:
        ours, theirs = of[tested], of[reference]
        common = [name for name in ours if name in theirs and name != "bpp"]
        with np.errstate(invalid="ignore"):
            difference = {name: _interval(ours[name] - theirs[name]) for name in common}
        percent = {
            name: _interval(100 * (_share(ours[name], theirs[name]) - 1))
            for name in common
            if kind_of(name) in RELATIVE
        }
        return Comparison(tested=tested, reference=reference, difference=difference, percent=percent)

    def _bd_rate(
        self,
        codec: str,
        view: View | None,
        against: str,
        tested: list[Variant],
        others: list[Variant],
        metric: str,
    ) -> BdRate:
        assert view is not None
        theirs, ours = (self._along(variants, metric) for variants in (others, tested))
        whole, *drawn = (bd_rate(*pair, self._bpp_range) for pair in zip(theirs, ours, strict=True))
        percent = np.array([one.percent for one in drawn])
        low, high = sorted(_sign(metric) * score for score in whole.shared)
        return BdRate(
            **interval(whole.percent, percent)._asdict(),
            codec=codec,
            view=view,
            against=against,
            metric=metric,
            bpp_range=self._bpp_range,
            shared=(low, high),
            defined=float(np.mean(~np.isnan(percent))),
            problem=whole.problem,
        )

    def _needed(
        self,
        codec: str,
        view: View | None,
        variants: list[Variant],
        metric: str,
        share: float,
        targets: np.ndarray,
    ) -> Needed:
        curves = self._along(variants, metric)
        rates = np.array([rate_for(*pair) for pair in zip(curves, targets, strict=True)])
        return Needed(
            **interval(rates[0], rates[1:])._asdict(),
            codec=codec,
            view=view,
            metric=metric,
            share=share,
            target=float(targets[0]),
            reached=float(np.mean(np.isfinite(rates[1:]))),
            at_smallest=bool(rates[0] == np.min(curves[0][0])),
        )

    def _along(self, variants: list[Variant], metric: str) -> list[Curve]:
        """The curve over all photos, then over each resample; higher is better in all of them."""
        rates = np.stack([self._draws[variant]["bpp"] for variant in variants], axis=1)
        scores = _sign(metric) * np.stack([self._draws[variant][metric] for variant in variants], axis=1)
        return list(zip(rates, scores, strict=True))


def _share(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(theirs > 0, ours / theirs, np.nan)


def _interval(values: np.ndarray) -> Interval:
    return Interval(**interval(float(values[0]), values[1:])._asdict())


def _sign(metric: str) -> int:
    return -1 if kind_of(metric) in LOWER_IS_BETTER else 1


def _statistic(name: str) -> Any:
    return np.nanmedian if kind_of(name).startswith(("grid", "spectral")) else np.nanmean
