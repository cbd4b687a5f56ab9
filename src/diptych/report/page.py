"""The page of a report: one HTML file with its pictures, style and script inside."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup
from PIL import Image

from diptych.checkerboard.detector import HOTTEST
from diptych.codec.view_difference import FULL_SCALE
from diptych.io.heatmap import heat_map
from diptych.report import chart, tables
from diptych.report.examples import Example
from diptych.report.sources import Ablation, Source, Transfer
from diptych.report.tables import Sheet

_LOWERED = 2
"""Levels by which headings of the model card sink below those of the page."""
FOLDED = 12
"""Longer tables are folded."""


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


class Section(NamedTuple):
    """One results file, on how many photos of which folder."""

    name: str
    source: Source
    photos: int
    folder: str
    charts: Sequence[chart.Chart]
    sheets: Sequence[Sheet]


def page(sources: Mapping[str, Source], examples: Sequence[Example], codec: Codec, making: Making) -> str:
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
    measured = {source.model_id for source in sources.values()}
    return world.get_template("report.html").render(
        sections=[_section(name, source) for name, source in sources.items()],
        examples=examples,
        codec=codec,
        foreign=codec.model_id not in measured,
        making=making,
        drawing=chart,
        scale=_scale(),
        full_scale=FULL_SCALE,
        hottest=HOTTEST,
        folded=FOLDED,
    )


def _section(name: str, source: Source) -> Section:
    if isinstance(source, Ablation):
        folder = str(source.recipe.get("evaluation", {}).get("photos", "unknown"))
        return Section(name, source, len(source.photos), folder, [], [tables.of_ablation(source)])
    folder = str(source.recipe.get("photos", "unknown"))
    if isinstance(source, Transfer):
        return Section(name, source, source.photos, folder, [], [tables.of_transfer(source)])
    sheets = list(tables.of_evaluation(source))
    return Section(name, source, len(source.photos.names), folder, chart.charts(source), sheets)


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
