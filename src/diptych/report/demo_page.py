"""The demo's report: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from io import BytesIO
from string import Template
from typing import NamedTuple

import numpy as np
from PIL import Image

import diptych

LOUPE = 96
"""Side, in pixels, of the detail shown enlarged."""


class Row(NamedTuple):
    """One picture of the comparison.

    Attributes:
        name, detail: its title, and what it was decoded from.
        picture: as shown, which may be smaller than what was measured.
        length: size of its file in bytes.
        psnr: against the original, in dB.
        grid: grid score by stride.
    """

    name: str
    detail: str
    picture: Image.Image
    length: int
    psnr: float
    grid: Mapping[int, float]


class Story(NamedTuple):
    """All that a report tells.

    Attributes:
        photo, dip: names of the photo and of the file made from it.
        size: width and height of the photo in pixels.
        length: size of the ``.dip`` file in bytes.
        quality: it was made with.
        model_id: of the codec, in hexadecimal.
        rows: original, machine view, human view, JPEG.
        drawn: the first three with detections; empty without a task network.
    """

    photo: str
    dip: str
    size: tuple[int, int]
    length: int
    quality: float
    model_id: str
    rows: Sequence[Row]
    drawn: Sequence[Image.Image]


def report(story: Story) -> str:
    """The report as HTML, its pictures inside."""
    template = resources.files("diptych.report") / "demo.html"
    width, height = story.size
    square = detail(story.rows[1].picture, story.rows[2].picture)
    values = {
        "photo": escape(story.photo),
        "dip": escape(story.dip),
        "aspect": f"{width / height:.4f}",
        "size": f"{width:,} &times; {height:,}",
        "bytes": f"{story.length:,}",
        "bpp": f"{_bpp(story.length, story):.3f}",
        "quality": f"{story.quality:g}",
        "model": escape(story.model_id),
        "version": diptych.__version__,
        "shrunk": _shrunk(story),
        "ratio": _ratio(story),
        "cards": "".join(_card(row, story) for row in story.rows),
        "options": "".join(f"<option>{escape(row.name)}</option>" for row in story.rows),
        "loupes": "".join(_figure(row.picture.crop(square), row.name, "loupe") for row in story.rows),
        "detections": _detections(story),
        "table": "".join(_table_row(row, story) for row in story.rows),
    }
    return Template(template.read_text(encoding="utf-8")).substitute(values)


def _bpp(length: int, story: Story) -> float:
    return 8 * length / (story.size[0] * story.size[1])


def _shrunk(story: Story) -> str:
    shown = story.rows[0].picture.width / story.size[0]
    return "" if shown == 1 else f"Pictures are shown here at {shown:.0%} of their size. "


def _ratio(story: Story) -> str:
    ratio = story.rows[3].length / story.length
    if ratio > 1:
        return f"JPEG cannot make a file that small: its smallest is {ratio:.1f} times as large."
    return f"The JPEG has {story.rows[3].length:,} bytes, at the highest quality that fits into as many."


def _card(row: Row, story: Story) -> str:
    facts = f"{row.length:,} bytes · {_bpp(row.length, story):.3f} bpp"
    if math.isfinite(row.psnr):
        facts += f" · {row.psnr:.2f} dB"
    caption = f"<b>{escape(row.name)}</b><span>{escape(row.detail)}</span><span>{facts}</span>"
    return f"<figure>{_image(row.picture, row.name, 'whole')}<figcaption>{caption}</figcaption></figure>"


def _figure(picture: Image.Image, name: str, kind: str) -> str:
    caption = f"<figcaption><b>{escape(name)}</b></figcaption>"
    return f"<figure>{_image(picture, name, kind)}{caption}</figure>"


def _detections(story: Story) -> str:
    if not story.drawn:
        return "<p>The task network's weights are not in this installation, so nothing is drawn here.</p>"
    named = zip(story.drawn, story.rows, strict=False)
    return f'<div class="row">{"".join(_figure(drawn, row.name, "seen") for drawn, row in named)}</div>'


def _table_row(row: Row, story: Story) -> str:
    cells = [f"{row.length:,}", f"{_bpp(row.length, story):.3f}", _number(row.psnr)]
    cells += [_number(score) for score in row.grid.values()]
    return f"<tr><th scope=row>{escape(row.name)}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "&ndash;"


def detail(first: Image.Image, second: Image.Image) -> tuple[int, int, int, int]:
    """The square in which two pictures of one size differ most."""
    difference = np.abs(np.asarray(first, np.int16) - np.asarray(second, np.int16)).sum(axis=2)
    height, width = difference.shape
    high, wide = min(LOUPE, height), min(LOUPE, width)
    sums = np.pad(difference.astype(np.int64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    inside = sums[high:, wide:] - sums[:-high, wide:] - sums[high:, :-wide] + sums[:-high, :-wide]
    top, left = (int(place) for place in np.unravel_index(inside.argmax(), inside.shape))
    return left, top, left + wide, top + high


def _image(picture: Image.Image, name: str, kind: str) -> str:
    """An ``<img>`` with every pixel of the picture, or close to it where detections are drawn over it."""
    file = BytesIO()
    options = {"quality": 90} if kind == "seen" else {"lossless": True, "method": 2}
    picture.save(file, "WEBP", **options)
    data = base64.b64encode(file.getvalue()).decode()
    size = f'width="{picture.width}" height="{picture.height}"'
    return f'<img class="{kind}" alt="{escape(name)}" {size} src="data:image/webp;base64,{data}">'
