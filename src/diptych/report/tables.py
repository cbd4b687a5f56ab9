"""Tables of a report: what was measured, as rows of text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from diptych.report.sources import (
    Ablation,
    BdRate,
    Comparison,
    Evaluation,
    Interval,
    Needed,
    Transfer,
    Variant,
    titled,
)

METRICS = {
    "bpp": "bits per pixel",
    "ap50": "AP50",
    "ap50_relative": "AP50, share of uncompressed",
    "ap": "AP",
    "ap_relative": "AP, share of uncompressed",
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
    "ssimulacra2": "SSIMULACRA 2.1",
    "lpips": "LPIPS",
    "butteraugli": "Butteraugli, 3-norm",
    "features": "distance of features",
    "sharpness": "sharpness",
    "detail": "detail",
    "grid_2": "grid, stride 2",
    "grid_4": "grid, stride 4",
    "grid_8": "grid, stride 8",
    "grid_16": "grid, stride 16",
    "spectral_2": "spectral, stride 2",
    "spectral_4": "spectral, stride 4",
    "spectral_8": "spectral, stride 8",
    "spectral_16": "spectral, stride 16",
}
"""Names of the metrics, in the order of the tables."""
_COARSE = ("psnr", "ssimulacra2", "grid", "spectral")


class Sheet(NamedTuple):
    """A table.

    Attributes:
        title: above it.
        head: names of the columns.
        rows: cells; the first of each names the row.
        note: what a reader has to know, one sentence, or nothing.
    """

    title: str
    head: list[str]
    rows: list[list[str]]
    note: str = ""


def of_evaluation(found: Evaluation) -> Iterator[Sheet]:
    """The tables of an evaluation, those without rows left out."""
    if found.bd_rate:
        yield _bd_rates(found.bd_rate)
    if found.needed:
        yield _needed(found.needed)
    if found.comparisons:
        yield _comparisons(found.comparisons)
    yield _points(found)


def of_transfer(found: Transfer) -> Sheet:
    """Change of every task network's score on every variant."""
    tasks = {point.task: point.measure for point in found.points}
    rows: dict[tuple[str, str], list[str]] = {}
    for point in found.points:
        original = point.codec == "original"
        cell = number(point.score.value, ".3f") if original else spread(point.change, "+.3f")
        bpp = "" if original else f"{point.bpp:.3f}"
        rows.setdefault((point.title, _setting(point)), [bpp]).append(cell)
    return Sheet(
        "Change of each task network's score",
        ["", "quality", "bits per pixel", *(f"{name}, {measure}" for name, measure in tasks.items())],
        [[*named, *cells] for named, cells in rows.items()],
        "The first row is the score on the originals; 'agreement' is with the network's detections there.",
    )


def of_ablation(found: Ablation) -> Sheet:
    """What every row changes in the base codec's pictures."""
    columns = _known(row.summary for row in found.rows)
    rows = [
        [row.name, *(number(row.summary[m].value, digits(m)) for m in columns)]
        if row.base
        else [row.name, *(spread(row.difference[m], f"+{digits(m)}") for m in columns)]
        for row in found.rows
    ]
    return Sheet(
        "Difference to the base codec, the same files in every row",
        ["", *map(metric_name, columns)],
        rows,
        "Means over the qualities; the base codec's own row holds its figures.",
    )


def of_costs(costs: Mapping[str, float]) -> Sheet:
    """What :meth:`diptych.codec.codec.Codec.complexity` says of a codec, a column for each network."""
    split = {tuple(name.split(" ", 1)): value for name, value in costs.items()}
    networks, kinds = (list(dict.fromkeys(part)) for part in zip(*split, strict=True))
    rows = [[kind, *(f"{_amount(split[network, kind])}" for network in networks)] for kind in kinds]
    return Sheet("What the codec costs", ["", *networks], rows)


def metric_name(metric: str) -> str:
    return METRICS.get(metric, metric)


def digits(metric: str) -> str:
    return ".2f" if metric.startswith(_COARSE) else ".3f"


def number(value: float | None, form: str) -> str:
    return "-" if value is None or not math.isfinite(value) else format(value, form)


def spread(found: Interval, form: str) -> str:
    """A number and its interval."""
    if found.value is None:
        return "-"
    return f"{format(found.value, form)} ({number(found.low, form)} .. {number(found.high, form)})"


def _points(found: Evaluation) -> Sheet:
    columns = _known(point.summary for point in found.points)
    rows = [
        [point.title, _setting(point)]
        + [spread(point.summary[m], digits(m)) if m in point.summary else "" for m in columns]
        for point in found.points
    ]
    return Sheet("Everything measured", ["", "setting", *map(metric_name, columns)], rows)


def _bd_rates(entries: list[BdRate]) -> Sheet:
    anchors = list(dict.fromkeys(entry.anchor for entry in entries))
    rows: dict[str, dict[str, str]] = {}
    for entry in entries:
        equal = metric_name(entry.metric).partition(",")[0]
        rows.setdefault(f"{entry.view} view, at equal {equal}", {})[entry.anchor] = _saving(entry)
    return Sheet(
        "BD-rate, % of bits",
        ["", *(f"against {titled(anchor, None)}" for anchor in anchors)],
        [[name, *(cells.get(anchor, "") for anchor in anchors)] for name, cells in rows.items()],
        "Negative: fewer bits than the anchor at equal quality.",
    )


def _saving(entry: BdRate) -> str:
    extra = entry.model_extra or {}
    if extra.get("problem"):
        return str(extra["problem"])
    part = extra.get("defined", 1)
    return spread(entry, "+.1f") + (f" in {part:.0%} of resamples" if part != 1 else "")


def _needed(entries: list[Needed]) -> Sheet:
    shares = sorted({entry.share for entry in entries})
    rows: dict[str, dict[float, str]] = {}
    for entry in entries:
        rows.setdefault(titled(entry.codec, entry.view), {})[entry.share] = _rate(entry)
    return Sheet(
        "Bits per pixel needed for a share of the uncompressed AP50",
        ["", *(f"{share:.0%}" for share in shares)],
        [[name, *(cells.get(share, "") for share in shares)] for name, cells in rows.items()],
        "With ≤, the smallest files tried reach it already.",
    )


def _rate(entry: Needed) -> str:
    if entry.value is None:
        some = f" (in {1 - entry.reached:.0%} of resamples)" if entry.reached else ""
        return f"not reached{some}"
    high = "not reached" if entry.high is None else f"{entry.high:.3f}"
    return f"{'≤ ' * entry.at_smallest}{entry.value:.3f} ({number(entry.low, '.3f')} .. {high})"


def _comparisons(entries: list[Comparison]) -> Sheet:
    columns = _known(entry.difference for entry in entries)
    rows = [
        [f"{entry.tested} minus {entry.reference}"]
        + [spread(entry.difference[m], f"+{digits(m)}") if m in entry.difference else "" for m in columns]
        for entry in entries
    ]
    return Sheet("Paired differences, photo by photo", ["", *map(metric_name, columns)], rows)


def _known(found: Iterable[dict[str, Interval]]) -> list[str]:
    """The metrics that occur, in the order of :data:`METRICS`, others behind them."""
    names = {name for one in found for name in one}
    return [name for name in METRICS if name in names] + sorted(names - METRICS.keys())


def _amount(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _setting(variant: Variant) -> str:
    return "" if variant.setting is None else f"{variant.setting:g}"
