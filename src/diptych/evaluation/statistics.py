"""Intervals by resampling photos, and the rate saved at equal quality."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import bjontegaard
import numpy as np
from scipy.interpolate import PchipInterpolator

Curve = tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]
"""Rates in bpp and the quality reached at each."""


class Interval(NamedTuple):
    """A statistic of the photos and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def resamples(photos: int, draws: int = 1000, seed: int = 0) -> np.ndarray:
    """Indices of ``draws`` sets of ``photos`` photos drawn with replacement: int64 ``(draws, photos)``.

    Depends on the arguments alone; using one such array for two codecs makes their difference a paired one.
    """
    return np.random.default_rng(seed).integers(0, photos, (draws, photos))


def interval(value: float, draws: Sequence[float] | np.ndarray) -> Interval:
    """The interval of ``value`` from the values it took in the draws; NaN draws do not count."""
    known = np.asarray(draws, dtype=float)
    known = known[~np.isnan(known)]
    if not len(known):
        return Interval(value, math.nan, math.nan)
    low, high = np.quantile(known, (0.025, 0.975), method="inverted_cdf")
    return Interval(value, float(low), float(high))


def bootstrap(
    values: Sequence[float] | np.ndarray, drawn: np.ndarray, statistic: Callable[..., np.ndarray] = np.nanmean
) -> Interval:
    """A statistic of one value per photo, with its interval.

    Args:
        values: one per photo; NaN where there is none.
        drawn: the :func:`resamples` of the photos.
        statistic: ``np.nanmean`` or ``np.nanmedian``.
    """
    found = sampled(values, drawn, statistic)
    return interval(float(found[0]), found[1:])


def sampled(
    values: Sequence[float] | np.ndarray, drawn: np.ndarray, statistic: Callable[..., np.ndarray] = np.nanmean
) -> np.ndarray:
    """The statistic of all values, then of each resample: float64 ``(1 + draws,)``; see :func:`bootstrap`."""
    known = np.asarray(values, dtype=float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of samples without any value, which give NaN
        return np.append(statistic(known), statistic(known[drawn], axis=1))


_ROUNDING = 1e-9
"""Two points that differ by less are one."""


class BdRate(NamedTuple):
    """A Bjontegaard-delta rate.

    Attributes:
        percent: rate of the tested curve over that of the anchor, less 100; negative where it saves bits. NaN if
            it is not defined.
        shared: the qualities, lowest and highest, over which it is an average; those that both curves reach.
        problem: why it is not defined; empty if it is.
    """

    percent: float
    shared: tuple[float, float]
    problem: str = ""


def bd_rate(anchor: Curve, tested: Curve, bpp_range: tuple[float, float] = (0.1, 0.8)) -> BdRate:
    """Bjontegaard-delta rate of ``tested`` against ``anchor``.

    Both curves are cut to ``bpp_range`` first: points outside are dropped, and where a curve crosses a bound
    the point on it (pchip over log-rate) takes their place. Points that do not raise the quality of all
    cheaper ones are left out. The average log-rate difference is then taken, by pchip interpolation, over the
    qualities that both cut curves reach.
    """
    (rates, qualities), (other_rates, other_qualities) = (_cut(*c, bpp_range) for c in (anchor, tested))
    if min(len(rates), len(other_rates)) < 2:
        which = "anchor" if len(rates) < 2 else "tested codec"
        return BdRate(math.nan, (math.nan, math.nan), f"the {which} has no curve in this range of bpp")
    shared = float(max(qualities[0], other_qualities[0])), float(min(qualities[-1], other_qualities[-1]))
    if shared[0] >= shared[1]:
        lower = "anchor" if qualities[-1] <= other_qualities[0] else "tested codec"
        return BdRate(math.nan, (math.nan, math.nan), f"no quality in common: the {lower} stays below the other")
    percent = bjontegaard.bd_rate(
        rates,
        qualities,
        other_rates,
        other_qualities,
        method="pchip",
        require_matching_points=False,
        min_overlap=0,
    )
    return BdRate(float(percent), shared)


def rate_for(curve: Curve, quality: float) -> float:
    """The rate at which ``curve`` first reaches ``quality``, in bpp.

    Interpolated (pchip, log-rate over quality) between the points that raise the quality of all cheaper ones.

    Returns:
        Infinity if it never does, the smallest rate if that is enough already, NaN without points or quality.
    """
    rates, qualities = _rising(*curve)
    if not len(rates) or math.isnan(quality):
        return math.nan
    if quality <= qualities[0]:
        return float(rates[0])
    if quality > qualities[-1]:
        return math.inf
    return float(10 ** PchipInterpolator(qualities, np.log10(rates))(quality))


def _cut(
    rates: Sequence[float] | np.ndarray, qualities: Sequence[float] | np.ndarray, bounds: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    rate, quality = _rising(rates, qualities)
    if len(rate) < 2:
        return np.empty(0), np.empty(0)
    ends = np.array([bound for bound in bounds if rate[0] < bound < rate[-1]])
    inside = (rate >= bounds[0]) & (rate <= bounds[1]) & ~np.isin(rate, ends)
    at_ends = PchipInterpolator(np.log10(rate), quality)(np.log10(ends))
    # beside a point that is nearly on a bound, what is interpolated there is no better or worse
    return _rising(np.append(rate[inside], ends), np.append(quality[inside], at_ends))


def _rising(
    rates: Sequence[float] | np.ndarray, qualities: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The points that are better than all cheaper ones, by rate."""
    points: list[tuple[float, float]] = []
    for rate, quality in sorted(zip(rates, qualities, strict=True)):
        dearer_and_better = not points or (
            rate > points[-1][0] * (1 + _ROUNDING) and quality > points[-1][1] + _ROUNDING
        )
        if rate > 0 and math.isfinite(quality) and dearer_and_better:
            points.append((float(rate), float(quality)))
    rate_column, quality_column = np.array(points, dtype=float).reshape(-1, 2).T
    return rate_column, quality_column
