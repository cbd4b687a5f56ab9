"""Curves of results: quality or accuracy against bits per pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from diptych.evaluation.anchors import ANCHORS
from diptych.evaluation.results import ORIGINAL, Point, Results
from diptych.io.files import write_bytes

LABELS = {
    "psnr": "PSNR (dB)",
    "ssimulacra2": "SSIMULACRA 2.1",
    "cvvdp": "CVVDP",
    "vmaf": "VMAF (NEG)",
    "lpips": "LPIPS (lower is better)",
    "butteraugli": "Butteraugli, 3-norm (lower is better)",
    "dists": "DISTS (lower is better)",
    "ap50": "AP50",
    "agreement": "agreement",
    "characters": "characters kept",
    "grid_4": "grid score, stride 4",
}
"""The metrics that get a figure where they were measured, and their names."""
MOST = 12
"""Curves that a figure can hold apart; results with more of them have none."""
_LOG = ("grid",)
_STYLES = {
    name: (f"C{number % 10}", marker)
    for number, (name, marker) in enumerate(zip(ANCHORS, "sv^Dx*Pp", strict=True), 2)
}
"""Colour and marker of each anchor, the same in every figure; the codecs' views take what is left."""
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def plot_all(found: Results, beside: Path) -> list[Path]:
    """Draw the :func:`figures` of results, as SVG beside their file.

    Returns:
        The files, ``<name of the results>-<metric>.svg``.
    """
    drawn = []
    for metric, figure in figures(found).items():
        drawn.append(beside.with_name(f"{beside.stem}-{metric.replace('.', '-')}.svg"))
        write_bytes(svg(figure, metric), drawn[-1], overwrite=True)
    return drawn


def svg(figure: Figure, name: str) -> bytes:
    """A figure as SVG with text as text; the same figures make the same bytes.

    Args:
        name: tells its parts from those of other figures on one page.
    """
    file = BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata=_NO_METADATA)
    return file.getvalue()


def figures(found: Results) -> dict[str, Figure]:
    """Figures of all metrics of :data:`LABELS` that have a curve: one per view and anchor, and the uncompressed
    photos as a line. Rates are on a logarithmic axis.

    95 % intervals are bands around the views and bars on the anchors; points without one are left out.
    """
    names = dict.fromkeys(name for point in found.points for name in point.summary if _kind(name) in LABELS)
    drawn = {}
    for metric in sorted(names, key=lambda name: list(LABELS).index(_kind(name))):
        curves = _curves(found, metric)
        if any(len(points) > 1 for points in curves.values()) and len(curves) <= MOST:
            drawn[metric] = _figure(found, metric, curves)
    return drawn


def _kind(metric: str) -> str:
    return metric.rpartition(".")[2]


def _figure(found: Results, metric: str, curves: Mapping[str, Sequence[Point]]) -> Figure:
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    for label, points in curves.items():
        _draw(axes, label, points, metric)
    task, _, kind = metric.rpartition(".")
    what = found.tasks.get(task, LABELS[kind]) if kind == "ap50" else LABELS[kind]
    axes.set_title(f"{len(found.photos.names)} photos, 95 % intervals", loc="left", fontsize="medium")
    axes.set_xlabel("bits per pixel (file size)")
    axes.set_ylabel(f"{task}: {what}" if task else what)
    axes.set_xscale("log")
    if _kind(metric).startswith(_LOG):
        axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis) if _kind(metric).startswith(_LOG) else (axes.xaxis,):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, fontsize="small", frameon=False)
    return figure


def _curves(found: Results, metric: str) -> dict[str, list[Point]]:
    """By label, the points that have a place in the figure."""
    log = _kind(metric).startswith(_LOG)
    curves: dict[str, list[Point]] = {}
    for point in found.points:
        ends = _ends(point, metric)
        drawable = None not in ends and (min(ends) > 0 or not log)
        of_a_file = point.setting is not None and point.matched is None and _ends(point, "bpp")[0]
        if drawable and (point.codec == ORIGINAL or of_a_file):
            curves.setdefault(_label(point), []).append(point)
    return curves


def _ends(point: Point, metric: str) -> list[Any]:
    """Value, low and high end of a metric; None where it is not defined."""
    found = point.summary.get(metric)
    return [found.value, found.low, found.high] if found else [None] * 3


def _label(point: Point) -> str:
    if point.codec == ORIGINAL:
        return "uncompressed"
    return point.codec if point.view is None else f"{point.codec}, {point.view}"


def _draw(axes: Axes, label: str, points: Sequence[Point], metric: str) -> None:
    codec = points[0].codec
    if codec == ORIGINAL:
        axes.axhline(_ends(points[0], metric)[0], color="black", linestyle=":", label=label)
        return
    rows = sorted((_ends(point, "bpp")[0], *_ends(point, metric)) for point in points)
    bpp, value, low, high = np.transpose(rows)
    if codec not in _STYLES:
        (line,) = axes.plot(bpp, value, marker="o", markersize=4, linewidth=2, label=label, zorder=3)
        axes.fill_between(bpp, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        return
    colour, marker = _STYLES[codec]
    look: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": "--", "linewidth": 1, "markersize": 4}
    axes.errorbar(bpp, value, np.abs([low - value, high - value]), label=label, elinewidth=0.6, capsize=2, **look)
