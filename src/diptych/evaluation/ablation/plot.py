"""Figures of an ablation: what fidelity costs in accuracy, and what the dial does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diptych.evaluation.plot import svg
from diptych.io.files import write_bytes

_MARKERS = "os^vDPX*<>"
_PANELS = {"psnr": "PSNR (dB)", "grid_4": "grid score, stride 4", "ap50": "AP50"}
Rows = Sequence[Mapping[str, Any]]


def plot_all(results: Mapping[str, Any], beside: Path) -> list[Path]:
    """Draw PSNR against AP50, and the dial if there are blends, as SVG beside the results file.

    Returns:
        The files.
    """
    drawn = {"psnr-ap50": _trade_off(results["rows"])}
    blends = dial(results["rows"])
    if blends:
        drawn["dial"] = _along(blends, results["natural"])
    paths = []
    for name, figure in drawn.items():
        paths.append(beside.with_name(f"{beside.stem}-{name}.svg"))
        write_bytes(svg(figure, name), paths[-1], overwrite=True)
    return paths


def dial(rows: Rows) -> Rows:
    """The base codec, then the blends of the view that has most of them, by position; empty if there are none."""
    by_view: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["view"]:
            by_view.setdefault(row["view"], []).append(row)
    blends = max(by_view.values(), key=len, default=[])
    if len(blends) < 2:
        return []
    return sorted([*(row for row in rows if row["base"]), *blends], key=lambda row: row["position"])


def _trade_off(rows: Rows) -> Figure:
    figure = Figure(figsize=(8.4, 5.2), layout="constrained")
    axes = figure.subplots()
    for number, row in enumerate(row for row in rows if not row["base"]):
        psnr, accuracy = row["difference"]["psnr"], row["percent"]["ap50"]
        if None not in (*psnr.values(), *accuracy.values()):
            look: dict[str, Any] = {"color": f"C{number % 10}", "marker": _MARKERS[number // 10 % len(_MARKERS)]}
            look |= {"xerr": _error(psnr), "yerr": _error(accuracy), "linestyle": "none", "elinewidth": 0.6}
            axes.errorbar(psnr["value"], accuracy["value"], **look, label=row["name"])
    axes.axhline(0, color="black", linewidth=0.6)
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_title("Against the base codec, same files; 95 % intervals", loc="left", fontsize="medium")
    axes.set_xlabel("PSNR (dB)")
    axes.set_ylabel("AP50 (%)")
    axes.grid(alpha=0.3)
    if axes.containers:
        axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _along(blends: Rows, usual: Mapping[str, float]) -> Figure:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, (name, label) in zip(figure.subplots(1, len(_PANELS)), _PANELS.items(), strict=True):
        _panel(axes, blends, name)
        axes.set_ylabel(label)
        if name in usual:
            axes.axhline(usual[name], color="black", linestyle=":", label="95 % of natural photos")
            axes.set_yscale("log")
            axes.legend(fontsize="x-small")
    return figure


def _panel(axes: Axes, blends: Rows, name: str) -> None:
    known = [row for row in blends if None not in row["summary"][name].values()]
    places = [row["position"] for row in known]
    low, value, high = ([row["summary"][name][key] for row in known] for key in ("low", "value", "high"))
    (line,) = axes.plot(places, value, marker="o")
    axes.fill_between(places, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set_xlabel("view: 0 machine, 1 human")
    axes.grid(alpha=0.3)


def _error(found: Mapping[str, float]) -> list[list[float]]:
    return [[found["value"] - found["low"]], [found["high"] - found["value"]]]
