"""Pictures side by side, each with its caption and an enlarged detail: one PNG to show around."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from diptych.report.examples import Shot, detail

GAP = 12
CAPTION = 44
WIDTH = 480
"""Pictures are scaled to this width, details enlarged to it pixel by pixel."""


def side_by_side(rows: Sequence[Shot]) -> Image.Image:
    """``rows`` from left to right, all of one size; under each the square where the last two differ most."""
    width, height = rows[0].picture.size
    shown = (WIDTH, max(1, round(height * WIDTH / width)))
    square = detail(rows[-2].picture, rows[-1].picture)
    enlarged = (WIDTH, max(1, round((square[3] - square[1]) * WIDTH / (square[2] - square[0]))))
    canvas = Image.new(
        "RGB",
        (len(rows) * (WIDTH + GAP) + GAP, shown[1] + enlarged[1] + CAPTION + 3 * GAP),
        "white",
    )
    draw = ImageDraw.Draw(canvas)
    for column, row in enumerate(rows):
        left = GAP + column * (WIDTH + GAP)
        canvas.paste(row.picture.resize(shown, Image.Resampling.LANCZOS), (left, CAPTION + GAP))
        place = (left, CAPTION + 2 * GAP + shown[1])
        canvas.paste(row.picture.crop(square).resize(enlarged, Image.Resampling.NEAREST), place)
        draw.text((left, GAP), row.name, font=ImageFont.load_default(18), fill="black")
        draw.text((left, GAP + 22), _facts(row), font=ImageFont.load_default(14), fill="dimgrey")
    return canvas


def _facts(row: Shot) -> str:
    quality = f", {row.psnr:.2f} dB" if math.isfinite(row.psnr) else ""
    strides = {reading.stride: reading.phase for reading in row.grid.readings} if row.grid else {}
    grid = f", grid score at stride 4: {strides[4]:.1f}" if 4 in strides else ""
    return f"{row.length:,} bytes{quality}{grid}"
