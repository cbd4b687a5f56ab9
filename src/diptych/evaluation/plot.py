"""Curves of a results file: quality or accuracy against bits per pixel."""

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
from diptych.evaluation.results import read
from diptych.evaluation.variants import CODEC, ORIGINAL
from diptych.io.files import write_bytes

LABELS = {
    "psnr": "PSNR (dB)",
    "ssimulacra2": "SSIMULACRA 2.1",
    "lpips": "LPIPS (lower is better)",
    "butteraugli": "Butteraugli, 3-norm (lower is better)",
    "ap50": "AP50",
    "grid_4": "grid score, stride 4",
}
"""The metrics that get a figure where they were measured, and their names."""
_OVERLAPS = {"segm": "mask ", "bbox": "box "}
_LOG = ("grid",)
_STYLES = {
    name: (f"C{number}", marker) for number, (name, marker) in enumerate(zip(ANCHORS, "sv^Dx*P", strict=True), 2)
}
"""Colour and marker of each anchor, the same in every figure; the codec's views come first."""
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))

Results = Mapping[str, Any]
"""What an evaluation's results file holds."""


def plot_all(source: Path) -> list[Path]:
    """Draw the :func:`figures` of a results file, as SVG beside it.

    Returns:
        The files, ``<name of the results>-<metric>.svg``.
    """
    drawn = []
    for metric, figure in figures(read(source)).items():
        drawn.append(source.with_name(f"{source.stem}-{metric}.svg"))
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


def figures(results: Results) -> dict[str, Figure]:
    """Figures of all metrics of :data:`LABELS` that have a curve: one per view and anchor, and the uncompressed
    photos as a line. Rates are on a logarithmic axis.

    95 % intervals are bands around the views and bars on the anchors; points without one are left out.
    """
    curves = {metric: _curves(results["points"], metric) for metric in LABELS}
    return {
        metric: _figure(results, metric, of)
        for metric, of in curves.items()
        if any(len(points) > 1 for points in of.values())
    }


def _figure(results: Results, metric: str, curves: Mapping[str, Sequence[Results]]) -> Figure:
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    for label, points in curves.items():
        _draw(axes, label, points, metric)
    overlap = _OVERLAPS.get(str(results.get("overlap")), "") if metric.startswith("ap") else ""
    axes.set_title(f"{len(results['photos']['names'])} photos, 95 % intervals", loc="left", fontsize="medium")
    axes.set_xlabel("bits per pixel (file size)")
    axes.set_ylabel(overlap + LABELS[metric])
    axes.set_xscale("log")
    if metric.startswith(_LOG):
        axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis) if metric.startswith(_LOG) else (axes.xaxis,):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, fontsize="small", frameon=False)
    return figure


def _curves(points: Sequence[Results], metric: str) -> dict[str, list[Results]]:
    """By label, the points that have a place in the figure."""
    log = metric.startswith(_LOG)
    curves: dict[str, list[Results]] = {}
    for point in points:
        found = _ends(point, metric)
        drawable = None not in found and (min(found) > 0 or not log)
        if drawable and not point["matched"] and (point["codec"] == ORIGINAL or _ends(point, "bpp")[0]):
            curves.setdefault(_label(point), []).append(point)
    return curves


def _ends(point: Results, metric: str) -> list[Any]:
    """Value, low and high end of a metric; None where it is not defined."""
    found = point["summary"].get(metric, {})
    return [found.get(end) for end in ("value", "low", "high")]


def _label(point: Results) -> str:
    if point["codec"] == ORIGINAL:
        return "uncompressed"
    return f"{point['codec']}, {point['view']}" if point["codec"] == CODEC else str(point["codec"])


def _draw(axes: Axes, label: str, points: Sequence[Results], metric: str) -> None:
    codec = points[0]["codec"]
    if codec == ORIGINAL:
        axes.axhline(_ends(points[0], metric)[0], color="black", linestyle=":", label=label)
        return
    rows = sorted((_ends(point, "bpp")[0], *_ends(point, metric)) for point in points)
    bpp, value, low, high = np.transpose(rows)
    if codec == CODEC:
        (line,) = axes.plot(bpp, value, marker="o", markersize=4, linewidth=2, label=label, zorder=3)
        axes.fill_between(bpp, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        return
    colour, marker = _STYLES.get(codec, ("C9", "."))
    look: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": "--", "linewidth": 1, "markersize": 4}
    axes.errorbar(bpp, value, np.abs([low - value, high - value]), label=label, elinewidth=0.6, capsize=2, **look)
