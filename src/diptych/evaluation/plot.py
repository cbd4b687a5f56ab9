"""Curves of a results file: quality or accuracy against bits per pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diptych.errors import DiptychError
from diptych.evaluation.results import read
from diptych.evaluation.variants import CODEC, ORIGINAL

LABELS = {
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
    "ap": "mask AP",
    "ap50": "mask AP50",
    "grid_2": "grid score, stride 2",
    "grid_4": "grid score, stride 4",
    "grid_8": "grid score, stride 8",
}
_LOG = ("grid",)


def plot_curves(source: Path, target: Path, metric: str = "psnr") -> None:
    """Draw one curve per view and anchor with its 95 % band, and the uncompressed photos as a line.

    Args:
        source: results file.
        target: picture to write; its suffix decides the format (``.png``, ``.svg``, ``.pdf``).
        metric: what to draw, a name in the results' summaries (``psnr``, ``ap50``, ``grid_4`` ...).

    Raises:
        DiptychError: if the results do not have it.
    """
    results = read(source)
    curves: dict[str, list[dict[str, Any]]] = {}
    for point in results["points"]:
        if metric in point["summary"] and not point["matched"]:
            curves.setdefault(_label(point), []).append(point)
    if not curves:
        raise DiptychError(f"the results {source} have no '{metric}'")
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    for label, points in curves.items():
        _draw(axes, label, points, metric)
    axes.set_xlabel("bits per pixel (file size)")
    axes.set_ylabel(LABELS.get(metric, metric))
    if metric.startswith(_LOG):
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(target, dpi=160)


def _label(point: dict[str, Any]) -> str:
    return f"{point['codec']}, {point['view']}" if point["codec"] == CODEC else str(point["codec"])


def _draw(axes: Axes, label: str, points: list[dict[str, Any]], metric: str) -> None:
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
    bpp, value, low, high = zip(*rows, strict=True)
    style = "-" if points[0]["codec"] == CODEC else "--"
    (line,) = axes.plot(bpp, value, marker="o", markersize=3, linestyle=style, label=label)
    axes.fill_between(bpp, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
