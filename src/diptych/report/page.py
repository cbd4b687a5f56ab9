"""The page of a report: one HTML file with its pictures, style and script inside."""

from __future__ import annotations

import base64
import math
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup
from PIL import Image

import diptych
from diptych.checkerboard.detector import HOTTEST
from diptych.codec import defaults
from diptych.codec.view_difference import FULL_SCALE
from diptych.evaluation.anchors import ANCHORS
from diptych.evaluation.results import Results
from diptych.evaluation.tables import NAMES, Sheet, metric_name, sheets
from diptych.io.heatmap import heat_map
from diptych.report.examples import Example

if TYPE_CHECKING:
    from diptych.codec.codec import Codec as LoadedCodec

_PACKAGES = ("numpy", "pillow")
_LOWERED = 2
"""Levels by which headings of the model card sink below those of the page."""
FOLDED = 12
"""Longer tables are folded, where they are for nobody alone."""


class Codec(NamedTuple):
    """The codec of the examples.

    Attributes:
        model_id: in hexadecimal.
        costs: parameters and multiply-accumulates per pixel of its networks, as a table.
        card: its model card in Markdown; empty if it has none.
    """

    model_id: str
    costs: Sheet
    card: str


class Making(NamedTuple):
    """How the page was made: command, date, versions of packages, encoders of the anchors."""

    command: str
    date: str
    versions: Mapping[str, str]
    encoders: Mapping[str, str]


def card(codec: LoadedCodec, model: str | None) -> Codec:
    """What a page says of a codec; ``model`` is its file as the user named it, None for the shipped one."""
    text = "" if model else (defaults.WEIGHTS / "README.md").read_text(encoding="utf-8")
    return Codec(codec.model_id.hex(), _costs(codec.complexity()), text)


def making(command: Sequence[str], codec: LoadedCodec, fitted: Sequence[str]) -> Making:
    """How a page is made now: by which command, with which anchors beside the codec."""
    versions = {"diptych": diptych.__version__, "python": platform.python_version()}
    engine, _, version = codec.transforms.engine.name.partition(" ")
    versions |= {engine: version} | {package: metadata.version(package) for package in _PACKAGES}
    encoders = {NAMES[name]: ANCHORS[name].made_with for name in fitted}
    return Making(shlex.join(command), datetime.now(UTC).date().isoformat(), versions, encoders)


class Section(NamedTuple):
    """What one results file says to somebody, or to nobody alone."""

    name: str
    found: Results
    charts: Mapping[str, Markup]
    sheets: Sequence[Sheet]


READERS = ("people", "machines")


def page(sources: Mapping[str, Results], examples: Sequence[Example], codec: Codec, making: Making) -> str:
    """The report as HTML.

    Args:
        sources: results by the names of their files.
        examples: photos to show.
        codec: that shows them.
        making: of the page.
    """
    world = Environment(
        loader=PackageLoader("diptych.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    world.filters |= {"uri": _uri, "markdown": _markdown, "decibels": _decibels}
    parts = _sections(sources)
    sections = parts.pop("")
    measured = {model for found in sources.values() for model in found.models.values()}
    return world.get_template("report.html").render(
        parts=parts,
        sections=sections,
        examples=examples,
        codec=codec,
        foreign=bool(measured) and codec.model_id not in measured,
        making=making,
        scale=_scale(),
        full_scale=FULL_SCALE,
        hottest=HOTTEST,
        folded=FOLDED,
    )


def _sections(sources: Mapping[str, Results]) -> dict[str, list[Section]]:
    """What the results say to each of :data:`READERS`, those that say nothing left out, and to nobody alone."""
    parts: dict[str, list[Section]] = {who: [] for who in (*READERS, "")}
    for name, found in sources.items():
        charts, tables = _charts(name, found), list(sheets(found))
        for who, sections in parts.items():
            drawn = {metric_name(metric): each for metric, each in charts.items() if _reader(metric) == who}
            said = [sheet for sheet in tables if sheet.who == who]
            if drawn or said:
                sections.append(Section(name, found, drawn, said))
    return parts


def _reader(metric: str) -> str:
    return "machines" if "." in metric else "people"


def _charts(name: str, found: Results) -> dict[str, Markup]:
    """Figures of results by metric, as SVG in the page's colours (``style.css``); none without matplotlib."""
    if not find_spec("matplotlib"):
        return {}
    from diptych.evaluation.plot import figures, svg

    drawn = {metric: svg(figure, f"{name} {metric}") for metric, figure in figures(found).items()}
    return {metric: _inline(picture.decode()) for metric, picture in drawn.items()}


def _costs(costs: Mapping[str, float]) -> Sheet:
    """What :meth:`diptych.codec.codec.Codec.complexity` says of a codec, a column for each network."""
    split = {tuple(name.split(" ", 1)): value for name, value in costs.items()}
    networks, kinds = (list(dict.fromkeys(part)) for part in zip(*split, strict=True))
    rows = [[kind, *(_amount(split[network, kind]) for network in networks)] for kind in kinds]
    return Sheet("What the codec costs", ["", *networks], rows)


def _amount(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _inline(svg: str) -> Markup:
    """An SVG file as a part of a page: without its head, and without names of groups, which all files share."""
    return Markup(re.sub(r'<g id="[^"]*"', "<g", svg[svg.index("<svg") :]))


def _uri(picture: Image.Image, exact: bool = True) -> str:
    """A picture as a ``data:`` address: every pixel as it is, or close to it."""
    file = BytesIO()
    options: dict[str, Any] = {"lossless": True, "method": 2} if exact else {"quality": 90}
    picture.save(file, "WEBP", **options)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _scale() -> Image.Image:
    """The colours of a heat map from 0 to 1."""
    return heat_map(np.linspace(0, 1, 256)[None])


def _markdown(text: str) -> Markup:
    """Markdown as HTML, its headings two levels lower; HTML in it is text."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse(text)
    for token in tokens:
        if token.type.startswith("heading"):
            token.tag = f"h{min(6, int(token.tag[1]) + _LOWERED)}"
    return Markup(reader.renderer.render(tokens, reader.options, {}))


def _decibels(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "-"
