"""Curves of a results file: quality or accuracy against bits per pixel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from diptych.errors import DiptychError
from diptych.evaluation.anchors import ANCHORS
from diptych.evaluation.results import read
from diptych.evaluation.variants import CODEC, ORIGINAL

LABELS = {
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
    "ssimulacra2": "SSIMULACRA 2.1",
    "lpips": "LPIPS (lower is better)",
    "butteraugli": "Butteraugli, 3-norm (lower is better)",
    "ap": "AP",
    "ap50": "AP50",
    "grid_2": "grid score, stride 2",
    "grid_4": "grid score, stride 4",
    "grid_8": "grid score, stride 8",
    "grid_16": "grid score, stride 16",
}
DRAWN = ("psnr", "ssimulacra2", "lpips", "butteraugli", "ap50")
"""The metrics of which every evaluation gets a figure."""
_OVERLAPS = {"segm": "mask ", "bbox": "box "}
_LOG = ("grid",)
_STYLES = {
    name: (f"C{number}", marker) for number, (name, marker) in enumerate(zip(ANCHORS, "sv^Dx*P", strict=True), 2)
}
"""Colour and marker of each anchor, the same in every figure; the codec's views come first."""


def plot_all(source: Path) -> list[Path]:
    """Draw the curves of all :data:`DRAWN` metrics that a results file has, as SVG beside it.

    Returns:
        The files, ``<name of the results>-<metric>.svg``.
    """
    points = read(source)["points"]
    drawn = []
    for metric in DRAWN:
        if any(len(curve) > 1 for curve in _curves(points, metric).values()):
            drawn.append(source.with_name(f"{source.stem}-{metric}.svg"))
            plot_curves(source, drawn[-1], metric)
    return drawn


def plot_curves(source: Path, target: Path, metric: str = "psnr") -> None:
    """Draw one curve per view and anchor, and the uncompressed photos as a line.

    95 % intervals are bands around the views and bars on the anchors. Rates are on a logarithmic axis.

    Args:
        source: results file.
        target: picture to write; its suffix decides the format (``.png``, ``.svg``, ``.pdf``).
        metric: what to draw, a name in the results' summaries (``psnr``, ``ap50``, ``grid_4`` ...).

    Raises:
        DiptychError: if the results do not have it.
    """
    results = read(source)
    curves = _curves(results["points"], metric)
    if not curves:
        raise DiptychError(f"the results {source} have no '{metric}'")
    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
    axes = figure.subplots()
    for points in curves.values():
        _draw(axes, points, metric)
    overlap = _OVERLAPS.get(str(results.get("overlap")), "") if metric.startswith("ap") else ""
    axes.set_title(f"{len(results['photos']['names'])} photos, 95 % intervals", loc="left", fontsize="medium")
    axes.set_xlabel("bits per pixel (file size)")
    axes.set_ylabel(overlap + LABELS.get(metric, metric))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
    if metric.startswith(_LOG):
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    with matplotlib.rc_context({"svg.hashsalt": metric}):  # the same figures make the same file
        figure.savefig(target, dpi=160, metadata={"Date": None} if target.suffix == ".svg" else None)


def _curves(points: Sequence[dict[str, Any]], metric: str) -> dict[str, list[dict[str, Any]]]:
    curves: dict[str, list[dict[str, Any]]] = {}
    for point in points:
        if metric in point["summary"] and not point["matched"]:
            curves.setdefault(_label(point), []).append(point)
    return curves


def _label(point: dict[str, Any]) -> str:
    return f"{point['codec']}, {point['view']}" if point["codec"] == CODEC else str(point["codec"])


def _draw(axes: Axes, points: list[dict[str, Any]], metric: str) -> None:
    found = [point["summary"][metric] for point in points]
    if points[0]["codec"] == ORIGINAL:
        axes.axhline(found[0]["value"], color="black", linestyle=":", label="uncompressed")
        return
    rows = sorted(
        (point["summary"]["bpp"]["value"], f["value"], f["low"], f["high"])
        for point, f in zip(points, found, strict=True)
        if None not in f.values()
    )
    if not rows:
        return
    bpp, value, low, high = (list(column) for column in zip(*rows, strict=True))
    if points[0]["codec"] == CODEC:
        (line,) = axes.plot(bpp, value, marker="o", markersize=4, linewidth=2, label=_label(points[0]), zorder=3)
        axes.fill_between(bpp, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        return
    spread = np.abs(np.array([low, high]) - value)
    colour, marker = _STYLES[points[0]["codec"]]
    look: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": "--", "linewidth": 1, "markersize": 4}
    axes.errorbar(bpp, value, spread, label=_label(points[0]), elinewidth=0.6, capsize=2, **look)
