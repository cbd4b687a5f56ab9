"""Tables of results: rows of text, and three ways to show them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import NamedTuple

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from diptych.evaluation.results import BdRate, Comparison, Interval, Needed, Results, Variant, View

NAMES = {
    "jpeg": "JPEG",
    "webp": "WebP",
    "avif": "AVIF",
    "heic": "HEIC",
    "jxl": "JPEG XL",
    "vvc": "VVC",
    "avif-default": "AVIF, tuned for people",
    "vvc-slower": "VVC, preset slower",
}
"""Anchors as people write them."""
METRICS = {
    "bpp": "bits per pixel",
    "ap50": "AP50",
    "ap50_relative": "AP50, share of uncompressed",
    "ap": "AP",
    "ap_relative": "AP, share of uncompressed",
    "agreement": "agreement",
    "characters": "characters kept",
    "distance": "distance of its features",
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
    "psnr_hvs": "PSNR-HVS, dB",
    "ssimulacra2": "SSIMULACRA 2.1",
    "cvvdp": "CVVDP",
    "vmaf": "VMAF (NEG)",
    "lpips": "LPIPS",
    "butteraugli": "Butteraugli, 3-norm",
    "dists": "DISTS",
    "vgg": "distance of VGG's features",
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
"""Names of the metrics, in the order of the tables; a task network's have its name before them."""
_COARSE = ("psnr", "ssimulacra2", "vmaf", "grid", "spectral")
_WIDE = 32
"""Cells longer than this are text, to be broken."""
_NEARLY_ALL = 0.995
"""Part of the resamples from which on it is written as all."""
_WIDEST = 500
"""Columns that a table may take on a terminal, where a broken line can still be read and a cut cell cannot."""


class Sheet(NamedTuple):
    """A table.

    Attributes:
        title: above it.
        head: names of the columns.
        rows: cells; the first of each names the row.
        note: what a reader has to know, one sentence, or nothing.
        who: the table is for, ``people`` or ``machines``; nobody alone if empty.
    """

    title: str
    head: list[str]
    rows: list[list[str]]
    note: str = ""
    who: str = ""

    def terminal(self) -> Table:
        table = Table(
            title=self.title, title_justify="left", caption=self.note or None, caption_justify="left", box=SIMPLE
        )
        for number, name in enumerate(self.head):
            table.add_column(name, justify="right" if number else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """Without title and note."""
        lines = [self.head, ["---" for _ in self.head], *self.rows]
        return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)

    def html(self) -> str:
        """A region that scrolls, without title and note."""
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in self.head)
        body = "\n".join(f"<tr>{''.join(_cell(row, k) for k in range(len(row)))}</tr>" for row in self.rows)
        region = f'class="wide" tabindex="0" role="region" aria-label="{escape(self.title)}"'
        table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
        return f"<div {region}>{table}</div>"


def sheets(found: Results, spreads: bool = True) -> Iterator[Sheet]:
    """All tables of results, those without rows left out.

    Args:
        spreads: whether the table of everything has intervals, too.
    """
    machines = [entry for entry in found.bd_rate if "." in entry.metric]
    people = [entry for entry in found.bd_rate if "." not in entry.metric]
    if machines:
        yield _bd_rates(found, "machines", ", worst first", worst_first(machines))
    if people:
        yield _bd_rates(found, "people", "", people)
    if found.needed:
        yield _needed(found)
    means = [entry for entry in found.comparisons if entry.tested.setting is None]
    if means:
        yield _comparisons(found, "Means over the qualities, the same files in every row", means)
    paired = [entry for entry in found.comparisons if entry.tested.setting is not None]
    if paired:
        yield _comparisons(found, "Paired differences in the same bytes, photo by photo", paired)
    yield _points(found, spreads)


def show(found: Results, console: Console | None = None) -> None:
    """Print the tables as wide as they are."""
    console = console or Console()
    console.width = max(console.width, _WIDEST)
    console.print(f"{len(found.photos.names)} photos, 95 % intervals")
    for sheet in sheets(found, spreads=False):
        console.print(sheet.terminal())
    if any("grid_4" in point.summary for point in found.points):
        bars = ", ".join(f"{metric_name(name)} {bar:.2f}" for name, bar in found.natural.items())
        console.print(f"95 % of photos score at most: {bars}")


def title(variant: Variant) -> str:
    """Codec and view, and for an anchor that it was fitted to the codec's files."""
    fitted = "" if variant.matched is None else ", in the same bytes"
    mean = ", mean" if variant.view is not None and variant.setting is None else ""
    return titled(variant.codec, variant.view) + fitted + mean


def titled(codec: str, view: View | None) -> str:
    """Name of a codec, with the view of its files."""
    name = NAMES.get(codec, codec)
    return name if view is None else f"{name}, {view} view"


def metric_name(metric: str) -> str:
    task, _, kind = metric.rpartition(".")
    return f"{task}: {METRICS.get(kind, kind)}" if task else METRICS.get(kind, kind)


def digits(metric: str) -> str:
    return ".2f" if metric.rpartition(".")[2].startswith(_COARSE) else ".3f"


def number(value: float | None, form: str) -> str:
    return "-" if value is None or not math.isfinite(value) else format(value, form)


def spread(found: Interval, form: str) -> str:
    """A number and its interval."""
    if found.value is None:
        return "-"
    return f"{format(found.value, form)} ({number(found.low, form)} .. {number(found.high, form)})"


def saving(entry: BdRate) -> str:
    """Bits against another codec, in percent, or why there is no number."""
    if entry.problem:
        return entry.problem
    part = f" in {entry.defined:.0%} of resamples" if entry.defined < _NEARLY_ALL else ""
    return spread(entry, "+.1f") + part


def worst_first(entries: Sequence[BdRate]) -> list[BdRate]:
    """Sorted by the largest of each curve's values against any codec; those without a value come first."""
    worst: dict[tuple[str, View, str], float] = {}
    for entry in entries:
        value = math.inf if entry.value is None else entry.value
        worst[_curve(entry)] = max(value, worst.get(_curve(entry), -math.inf))
    return sorted(entries, key=lambda entry: -worst[_curve(entry)])


def _curve(entry: BdRate) -> tuple[str, View, str]:
    return entry.codec, entry.view, entry.metric


def _bd_rates(found: Results, who: str, order: str, entries: Sequence[BdRate]) -> Sheet:
    against = list(dict.fromkeys(entry.against for entry in entries))
    rows: dict[str, dict[str, str]] = {}
    for entry in entries:
        whose = f"{titled(entry.codec, entry.view) if len(found.models) > 1 else f'{entry.view} view'}"
        rows.setdefault(f"{whose}, {_equal(found, entry.metric)}", {})[entry.against] = saving(entry)
    return Sheet(
        f"For {who}: % of bits at equal score{order}",
        ["", *(f"against {titled(name, None)}" for name in against)],
        [[name, *(cells.get(each, "") for each in against)] for name, cells in rows.items()],
        "Negative: fewer bits at equal score.",
        who,
    )


def _equal(found: Results, metric: str) -> str:
    task, _, kind = metric.rpartition(".")
    how = found.tasks.get(task, "")
    return f"{task}: {how if kind == 'ap50' else METRICS.get(kind, kind)}" if task else metric_name(metric)


def _needed(found: Results) -> Sheet:
    shares = sorted({entry.share for entry in found.needed})
    rows: dict[tuple[str, str], dict[float, str]] = {}
    for entry in found.needed:
        named = _equal(found, entry.metric), titled(entry.codec, entry.view)
        rows.setdefault(named, {})[entry.share] = rate(entry)
    return Sheet(
        "Bits per pixel needed for a share of the score on the originals",
        ["", "", *(f"{share:.0%}" for share in shares)],
        [[*named, *(cells.get(share, "") for share in shares)] for named, cells in rows.items()],
        "With ≤, the smallest files tried reach it already.",
        "machines",
    )


def rate(entry: Needed) -> str:
    if entry.value is None:
        some = f" (in {1 - entry.reached:.0%} of resamples)" if 1 - entry.reached < _NEARLY_ALL else ""
        return f"not reached{some}"
    high = "not reached" if entry.high is None else f"{entry.high:.3f}"
    return f"{'≤ ' * entry.at_smallest}{entry.value:.3f} ({number(entry.low, '.3f')} .. {high})"


def _comparisons(found: Results, heading: str, entries: Sequence[Comparison]) -> Sheet:
    columns = known(entry.difference for entry in entries)
    rows, values = [], {_key(point): point.summary for point in found.points}
    for reference in dict.fromkeys(entry.reference for entry in entries):
        rows.append([str(reference), *(_value(values.get(_key(reference), {}), m) for m in columns)])
        for entry in entries:
            if entry.reference == reference:
                rows.append([f"{entry.tested} minus that", *(_change(entry, m) for m in columns)])
    relative = {name for entry in entries for name in entry.percent}
    names = [f"{metric_name(name)}{', change in %' * (name in relative)}" for name in columns]
    return Sheet(heading, ["", *names], rows)


def _change(entry: Comparison, metric: str) -> str:
    if metric in entry.percent:
        return spread(entry.percent[metric], "+.1f")
    return spread(entry.difference[metric], f"+{digits(metric)}") if metric in entry.difference else ""


def _value(summary: dict[str, Interval], metric: str) -> str:
    return number(summary[metric].value, digits(metric)) if metric in summary else ""


def _key(variant: Variant) -> tuple[object, ...]:
    return variant.codec, variant.setting, variant.view, variant.matched


def _points(found: Results, spreads: bool) -> Sheet:
    columns = known(point.summary for point in found.points)
    rows = []
    for point in found.points:
        cells = [point.summary.get(name) for name in columns]
        texts = [
            "" if cell is None else (spread if spreads else _alone)(cell, digits(name))
            for name, cell in zip(columns, cells, strict=True)
        ]
        rows.append([title(point), "" if point.setting is None else f"{point.setting:g}", *texts])
    return Sheet("Everything measured", ["", "setting", *map(metric_name, columns)], rows)


def _alone(found: Interval, form: str) -> str:
    return number(found.value, form)


def known(found: Iterable[dict[str, Interval]]) -> list[str]:
    """The metrics that occur: each task network's, then those of :data:`METRICS` in their order, then others."""
    order = list(METRICS)
    names = dict.fromkeys(name for one in found for name in one)
    tasks = list(dict.fromkeys(name.rpartition(".")[0] for name in names))

    def place(name: str) -> tuple[bool, bool, int, int]:
        task, _, kind = name.rpartition(".")
        return name != "bpp", not task, tasks.index(task), order.index(kind) if kind in METRICS else len(order)

    return sorted(names, key=place)


def _cell(row: Sequence[str], column: int) -> str:
    text = escape(row[column])
    if column == 0:
        return f'<th scope="row">{text}</th>'
    return f'<td class="text">{text}</td>' if len(row[column]) > _WIDE else f"<td>{text}</td>"
