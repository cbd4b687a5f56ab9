"""Curves against bits per pixel, laid out for an SVG that the page draws in its own colours and fonts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from diptych.evaluation.anchors import ANCHORS
from diptych.evaluation.variants import CODEC, ORIGINAL
from diptych.report.sources import Evaluation, Point
from diptych.report.tables import digits, metric_name

DRAWN = ("ap50", "ap", "psnr", "ssimulacra2", "lpips", "butteraugli", "grid_4")
"""Metrics that get a chart where they were measured."""
WIDTH, HEIGHT = 560, 380
LEFT, RIGHT, TOP, BOTTOM = 66, 14, 14, 56
"""Margins, in the units of the drawing."""
_OVERLAPS = {"segm": "mask ", "bbox": "box "}
_LOG = ("grid",)
_SHAPES = {
    "circle": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0Z",
    "square": "M-3.5-3.5h7v7h-7Z",
    "down": "M-4.5-3.5h9l-4.5 7.5Z",
    "up": "M-4.5 3.5h9l-4.5-7.5Z",
    "diamond": "M0-5l5 5l-5 5l-5-5Z",
    "cross": "M-4-4l8 8M4-4l-8 8",
    "plus": "M-5 0h10M0-5v10",
    "left": "M3.5-4.5v9l-7.5-4.5Z",
}
_OF_ANCHORS = dict(zip(ANCHORS, [s for s in _SHAPES if s != "circle"], strict=True))


class Mark(NamedTuple):
    """A measured point: its place, the ends of its interval, and what it says."""

    x: float
    y: float
    low: float
    high: float
    text: str


class Curve(NamedTuple):
    """One codec's or view's points.

    Attributes:
        title: in the legend.
        style: class of its colour.
        shape: path of its markers.
        marks: from small to large files.
        line: path through the marks; empty for points that are not one curve.
        band: path around the intervals of a view; empty for others, whose intervals are bars.
    """

    title: str
    style: str
    shape: str
    marks: list[Mark]
    line: str
    band: str


class Tick(NamedTuple):
    """A label and its place along an axis."""

    at: float
    text: str


class Chart(NamedTuple):
    """A drawing, ready for the template."""

    title: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    curves: list[Curve]
    uncompressed: float | None


class _Ends(NamedTuple):
    value: float
    low: float
    high: float


class _Measured(NamedTuple):
    point: Point
    bpp: float
    ends: _Ends


class Axis:
    """A scale from data to the drawing, with a margin around the data.

    Args:
        values: that must be on it; above 0 if ``log``.
        start, end: where the axis begins and ends in the drawing.
        log: logarithmic.
    """

    def __init__(self, values: Sequence[float], start: float, end: float, log: bool) -> None:
        self._log, self._start, self._end = log, start, end
        low, high = self._flat(min(values)), self._flat(max(values))
        margin = 0.05 * (high - low) or 0.5
        self._low, self._high = low - margin, high + margin

    def place(self, value: float) -> float:
        part = (self._flat(value) - self._low) / (self._high - self._low)
        return round(self._start + part * (self._end - self._start), 1)

    def ticks(self) -> list[Tick]:
        """About five round numbers."""
        return [
            Tick(self.place(value), f"{value:g}") for value in (self._decades() if self._log else self._steps())
        ]

    def _flat(self, value: float) -> float:
        return math.log10(value) if self._log else value

    def _decades(self) -> list[float]:
        powers = range(math.floor(self._low), math.ceil(self._high) + 1)
        for leading in ((1, 2, 5), (1,)):
            found = [float(f"{digit}e{power}") for power in powers for digit in leading]
            inside = [value for value in found if self._low <= math.log10(value) <= self._high]
            if len(inside) <= 7:
                break
        return inside

    def _steps(self) -> list[float]:
        raw = (self._high - self._low) / 7
        power = 10 ** math.floor(math.log10(raw))
        step = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= raw)
        first, last = math.ceil(self._low / step), math.floor(self._high / step)
        return [round(count * step, 10) for count in range(first, last + 1)]


def charts(found: Evaluation) -> list[Chart]:
    """The charts of an evaluation: one for each of :data:`DRAWN` that it has."""
    made = (_chart(found, metric) for metric in DRAWN)
    return [chart for chart in made if chart is not None]


def _chart(found: Evaluation, metric: str) -> Chart | None:
    log = metric.startswith(_LOG)
    groups: dict[str, list[_Measured]] = {}
    uncompressed = None
    for point in found.points:
        ends, bpp = _ends(point, metric, log), _ends(point, "bpp", log=True)
        if ends and point.codec == ORIGINAL:
            uncompressed = ends.value
        elif ends and bpp:
            groups.setdefault(point.title, []).append(_Measured(point, bpp.value, ends))
    if not groups:
        return None
    shown = [one for group in groups.values() for one in group]
    heights = [end for one in shown for end in one.ends] + ([] if uncompressed is None else [uncompressed])
    x = Axis([one.bpp for one in shown], LEFT, WIDTH - RIGHT, log=True)
    y = Axis(heights, HEIGHT - BOTTOM, TOP, log)
    views = [title for title, group in groups.items() if group[0].point.codec == CODEC]
    curves = [
        _curve(title, [_mark(one, digits(metric), x, y) for one in group], group[0].point, views)
        for title, group in groups.items()
    ]
    overlap = _OVERLAPS.get(str(found.overlap), "") if metric.startswith("ap") else ""
    place = None if uncompressed is None else y.place(uncompressed)
    return Chart(overlap + metric_name(metric), x.ticks(), y.ticks(), curves, place)


def _ends(point: Point, metric: str, log: bool) -> _Ends | None:
    """What can be drawn of a metric: nothing if it, or an end of its interval, has no place on the axis."""
    found = point.summary.get(metric)
    values = (found.value, found.low, found.high) if found else ()
    drawable = [end for end in values if end is not None and math.isfinite(end) and (end > 0 or not log)]
    return _Ends(*drawable) if len(drawable) == len(_Ends._fields) else None


def _curve(title: str, marks: list[Mark], of: Point, views: list[str]) -> Curve:
    own, marks = of.codec == CODEC, sorted(marks)
    joined = len(marks) > 1 and not of.matched
    band = [(m.x, m.low) for m in marks] + [(m.x, m.high) for m in reversed(marks)] if own and joined else []
    return Curve(
        title,
        f"view-{views.index(title)}" if own else f"anchor-{of.codec}",
        _SHAPES["circle"] if own else _SHAPES[_OF_ANCHORS.get(of.codec, "plus")],
        marks,
        _path((m.x, m.y) for m in marks) if joined else "",
        f"{_path(band)}Z" if band else "",
    )


def _mark(one: _Measured, form: str, x: Axis, y: Axis) -> Mark:
    value, low, high = one.ends
    setting = "" if one.point.setting is None else f" {one.point.setting:g}"
    text = f"{one.point.title}{setting}: {value:{form}} ({low:{form}} .. {high:{form}}) at {one.bpp:.3f} bpp"
    return Mark(x.place(one.bpp), y.place(value), y.place(low), y.place(high), text)


def _path(places: Iterable[tuple[float, float]]) -> str:
    steps = [f"{across:g} {down:g}" for across, down in places]
    return f"M{'L'.join(steps)}"
