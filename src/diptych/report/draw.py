"""Detections drawn on a picture: soft masks with an outline, boxes, labels."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

CERTAIN = 0.5
"""Detections with a lower score are not drawn."""
FILL = 0.38
"""Opacity of a mask."""

Colour = tuple[int, int, int]


class Found(NamedTuple):
    """One detection.

    Attributes:
        name: of its class.
        hue: 0..1, the same for all of its class.
        score: 0..1.
        box: left, top, right, bottom in pixels.
        mask: ``(H, W)`` in 0..1.
    """

    name: str
    hue: float
    score: float
    box: tuple[float, float, float, float]
    mask: np.ndarray


def found_in(prediction: Mapping[str, Any], classes: Sequence[str]) -> list[Found]:
    """The detections worth drawing, the most certain first.

    Args:
        prediction: of a :class:`~diptych.tasks.Task`: ``boxes`` (n, 4), ``labels`` (n,) counted from 1,
            ``scores`` (n,) and ``masks`` (n, 1, H, W).
        classes: names of the labels 1, 2, ...
    """
    boxes, labels, scores, masks = (np.asarray(prediction[k]) for k in ("boxes", "labels", "scores", "masks"))
    order = [i for i in np.argsort(-scores, kind="stable") if scores[i] >= CERTAIN]
    return [
        Found(
            name=classes[int(labels[i]) - 1],
            hue=(int(labels[i]) * 0.618034 + 0.2) % 1,
            score=float(scores[i]),
            box=(float(boxes[i, 0]), float(boxes[i, 1]), float(boxes[i, 2]), float(boxes[i, 3])),
            mask=masks[i].reshape(masks.shape[-2:]),
        )
        for i in order
    ]


def draw_detections(picture: Image.Image, found: Iterable[Found], scale: int = 1) -> Image.Image:
    """A copy of ``picture``, ``scale`` times as large, with detections drawn on it, the first on top."""
    size = (picture.width * scale, picture.height * scale)
    canvas = picture.resize(size, Image.Resampling.BICUBIC) if scale > 1 else picture.copy()
    unit = max(1, round(max(size) / 320))
    ordered = list(found)[::-1]
    for one in ordered:
        _paint_mask(canvas, one, unit)
    draw = ImageDraw.Draw(canvas)
    for one in ordered:
        box = [side * scale for side in one.box]
        draw.rounded_rectangle(_inside(box, size), radius=3 * unit, outline=_colour(one.hue), width=unit)
    for one in ordered:
        _write_label(draw, one, scale, unit, size)
    return canvas


def _paint_mask(canvas: Image.Image, one: Found, unit: int) -> None:
    mask = Image.fromarray((np.clip(one.mask, 0, 1) * 255).astype(np.uint8))
    mask = mask.resize(canvas.size, Image.Resampling.BILINEAR).point(lambda value: 255 * (value > 127))
    colour = _colour(one.hue)
    canvas.paste(colour, mask=mask.point(lambda value: round(value * FILL)))
    inner = mask.filter(ImageFilter.MinFilter(2 * unit + 1))
    outline = Image.fromarray(np.asarray(mask) - np.asarray(inner))
    canvas.paste(colour, mask=outline.filter(ImageFilter.GaussianBlur(unit / 3)))


def _write_label(draw: ImageDraw.ImageDraw, one: Found, scale: int, unit: int, size: tuple[int, int]) -> None:
    text, pad = f"{one.name} {one.score:.0%}", 3 * unit
    font = ImageFont.load_default(9 * unit)
    _, top, width, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = width + 2 * pad, bottom - top + 2 * pad
    left = max(0, min(one.box[0] * scale, size[0] - width))
    above = one.box[1] * scale - height
    upper = above if above >= 0 else max(0, min(one.box[1] * scale, size[1] - height))
    colour = _colour(one.hue)
    draw.rounded_rectangle((left, upper, left + width, upper + height), radius=2 * unit, fill=colour)
    ink = "black" if 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2] > 140 else "white"
    draw.text((left + pad, upper + pad - top), text, font=font, fill=ink)


def _inside(box: Sequence[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    left, top = min(max(box[0], 0), size[0] - 1), min(max(box[1], 0), size[1] - 1)
    right, bottom = min(max(box[2], left), size[0] - 1), min(max(box[3], top), size[1] - 1)
    return left, top, right, bottom


def _colour(hue: float) -> Colour:
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.72, 1.0))
    return red, green, blue
