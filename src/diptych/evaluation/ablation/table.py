"""The results as tables: the same cells in Markdown and on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

_WIDTH = 200
_NATURAL = "n"
_DIGITS = {"psnr": 2, "ssim": 3, "ms_ssim": 3}
_NETWORKS = {"efficientnet_lite1": "EfficientNet-Lite1"}
_OVERLAPS = {"segm": "mask", "bbox": "box"}
Interval = Mapping[str, float | None]


class Sheet(NamedTuple):
    """One table."""

    title: str
    header: list[str]
    lines: list[list[str]]


def sheets(results: Mapping[str, Any]) -> list[Sheet]:
    """What the rows change for task network and person, then what they leave of grid and detail."""
    return [_changes(results), _pictures(results)]


def markdown(results: Mapping[str, Any]) -> str:
    """All tables as Markdown, with what they are about and the command that made them."""
    parts = [f"`{results['provenance']['command']}`: {_about(results)}"]
    for sheet in sheets(results):
        rule = ["---", *("---:" for _ in sheet.header[1:])]
        lines = [sheet.header, rule, *sheet.lines]
        parts.append(f"**{sheet.title}**\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n\n".join(parts) + "\n"


def show(results: Mapping[str, Any], console: Console) -> None:
    """Print all tables."""
    console.width = max(console.width, _WIDTH)
    console.print(_about(results))
    for sheet in sheets(results):
        table = Table(title=sheet.title, title_justify="left", box=SIMPLE)
        for number, name in enumerate(sheet.header):
            table.add_column(name, justify="right" if number else "left", overflow="fold")
        for line in sheet.lines:
            table.add_row(*line)
        console.print(table)


def _about(results: Mapping[str, Any]) -> str:
    qualities = results["recipe"]["evaluation"]["qualities"]
    rates = ", ".join(
        f"{quality:g} ({rate['value']:.3f} bpp)" for quality, rate in zip(qualities, results["bpp"], strict=True)
    )
    return (
        f"{len(results['photos'])} photos, the same files in every row. Means over the qualities {rates}; in "
        "brackets 95 % intervals of the difference to the base codec, paired over the photos."
    )


def _changes(results: Mapping[str, Any]) -> Sheet:
    accuracy = _OVERLAPS[results["overlap"]]
    header = [
        *("row", f"{accuracy} AP50", "change, %", f"{accuracy} AP", "change, %", "PSNR, dB", "SSIM", "MS-SSIM"),
        f"distance of features ({_NETWORKS[results['features']]}), %",
        "the paper's change",
    ]
    return Sheet("Against the base codec", header, [_change(row) for row in results["rows"]])


def _change(row: Mapping[str, Any]) -> list[str]:
    summary, base = row["summary"], row["base"]
    cells = [row["name"]]
    for name in ("ap50", "ap"):
        cells += [_number(summary[name]["value"], ".3f"), "" if base else _spread(row["percent"][name], "+.1f")]
    for name, digits in _DIGITS.items():
        value = _number(summary[name]["value"], f".{digits}f")
        cells.append(value if base else _spread(row["difference"][name], f"+.{digits}f"))
    distance = f"{_number(summary['features']['value'], '.3f')} = 100 %"
    cells.append(distance if base else _spread(row["percent"]["features"], "+.1f"))
    return [*cells, _published(row["paper_change"], base)]


def _published(change: Mapping[str, float] | None, base: bool) -> str:
    if change is None or base:
        return ""
    return f"mAP {change['mAP_percent']:+.1f} %, {change['psnr']:+.2f} dB, SSIM {change['ssim']:+.3f}"


def _pictures(results: Mapping[str, Any]) -> Sheet:
    usual = results["natural"]
    header = ["row", *(f"grid, stride {name.split('_')[1]}" for name in usual), "sharpness", "detail"]
    lines = [["natural photos, 95 % are below", *(_number(value, ".2f") for value in usual.values()), "1", "1"]]
    for row in results["rows"]:
        guards = [_number(row["summary"][name]["value"], ".3f") for name in ("sharpness", "detail")]
        lines.append([row["name"], *(_grid(row, name, most) for name, most in usual.items()), *guards])
    return Sheet(
        f"What is left of the grid (median; {_NATURAL}: as in natural photos at every quality), and of the detail",
        header,
        lines,
    )


def _grid(row: Mapping[str, Any], name: str, usual: float) -> str:
    medians = [at["summary"][name]["value"] for at in row["at"]]
    natural = all(median is not None and median <= usual for median in medians)
    return _number(row["summary"][name]["value"], ".2f") + f" {_NATURAL}" * natural


def _spread(found: Interval, form: str) -> str:
    value, low, high = (_number(found[part], form) for part in ("value", "low", "high"))
    return f"{value} ({low} .. {high})"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
