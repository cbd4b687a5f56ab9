"""Example photos: what each becomes in both views and in other codecs' files of as many bytes.

photo ──> .dip ──> machine view, human view ──> pictures, detections, difference map, grid maps
  └────────────> JPEG, AVIF of as many bytes ──┘
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diptych.checkerboard.detector import Measurement, grid_map, measure
from diptych.checkerboard.score import SMALLEST, TILE
from diptych.codec import view_difference
from diptych.evaluation.anchors import ANCHORS, at_bytes
from diptych.evaluation.tables import NAMES, Sheet
from diptych.io.heatmap import overlay
from diptych.io.images import read_picture
from diptych.report.draw import Found, draw_detections, found_in

if TYPE_CHECKING:
    from diptych.codec.codec import Codec
    from diptych.tasks import Task
    from diptych.tasks.detector import Detector

FITTED = ("jpeg", "avif")
"""Anchors that get as many bytes as the codec's file."""
DISPLAY = 1600
"""Longest side of the pictures as shown and of those the machine looks at."""
ENLARGED = 900
"""Smaller pictures are enlarged to about this size before detections are drawn on them."""
LOUPE = 96
"""Side, in pixels, of the detail shown enlarged."""


class Shot(NamedTuple):
    """One version of a photo.

    Attributes:
        name, detail: what it is, and which file it was decoded from.
        picture: as shown, at most :data:`DISPLAY` pixels long.
        layer: detections alone, on a transparent picture; None without a machine.
        seen: the detections in words.
        length: bytes of its file.
        bpp: bits per pixel.
        psnr: against the original, in dB; infinite for the original.
        grid: what the grid meter says; None for a photo too small for it.
    """

    name: str
    detail: str
    picture: Image.Image
    layer: Image.Image | None
    seen: str
    length: int
    bpp: float
    psnr: float
    grid: Measurement | None


class Map(NamedTuple):
    """A heat map over a picture, and what it says in words."""

    name: str
    detail: str
    picture: Image.Image


class Example(NamedTuple):
    """A photo in all its versions.

    Attributes:
        name, size: of the photo, in pixels.
        quality, length: of the ``.dip`` file, and its bytes.
        shots: original, machine view, human view, then the anchors.
        maps: where the views differ, where the grid is.
        square: the detail of the shown pictures in which the views differ most.
        grid: phase scores of all versions; None for a photo too small for the meter.
        scale: of the shown pictures; 1 if they have every pixel.
        notes: what was done to the photo on reading.
    """

    name: str
    size: tuple[int, int]
    quality: float
    length: int
    shots: list[Shot]
    maps: list[Map]
    square: tuple[int, int, int, int]
    grid: Sheet | None
    scale: float
    notes: list[str]


def example(photo: Path, quality: float, codec: Codec, task: Task | Detector | None) -> Example:
    """Make the example of one photo.

    Raises:
        DiptychError: if it cannot be read, the codec has no human view, or an anchor is not installed.
    """
    original, notes = read_picture(photo)
    data = codec.encode(original, quality)
    views = codec.decode_views(data, ["machine", "human"])
    return compared(photo, original, quality, len(data), views, task)._replace(notes=notes)


def compared(
    photo: Path,
    original: Image.Image,
    quality: float,
    length: int,
    views: Sequence[Image.Image],
    task: Task | Detector | None,
    fitted: Sequence[str] = FITTED,
) -> Example:
    """The example of a photo that is coded already.

    Args:
        photo, original: its file, and what was read from it.
        length: bytes of the ``.dip`` file.
        views: the machine view and the human view.
        fitted: anchors beside them.
    """
    machine, human = views
    name = f"{photo.stem}.dip, quality {quality:g}"
    versions = [
        ("Original", photo.name, original, photo.stat().st_size),
        ("Machine view", name, machine, length),
        ("Human view", name, human, length),
        *(_fitted(anchor, original, length) for anchor in fitted),
    ]
    shots = [_shot(*version, original, task) for version in versions]
    shown = [shot.picture for shot in shots]
    return Example(
        photo.name,
        original.size,
        quality,
        length,
        shots,
        _maps(machine, human, shots[1].grid),
        detail(shown[1], shown[2]),
        _grid(shots),
        shown[0].width / original.width,
        [],
    )


def psnr(photo: Image.Image, picture: Image.Image) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and channels; infinite for equal pictures."""
    difference = np.asarray(photo, np.float32) - np.asarray(picture, np.float32)
    error = float(np.mean(difference**2, dtype=np.float64))
    return 10 * math.log10(255**2 / error) if error else math.inf


def detail(first: Image.Image, second: Image.Image) -> tuple[int, int, int, int]:
    """The square in which two pictures of one size differ most."""
    difference = np.abs(np.asarray(first, np.int16) - np.asarray(second, np.int16)).sum(axis=2)
    height, width = difference.shape
    high, wide = min(LOUPE, height), min(LOUPE, width)
    sums = np.pad(difference.astype(np.int64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    inside = sums[high:, wide:] - sums[:-high, wide:] - sums[high:, :-wide] + sums[:-high, :-wide]
    top, left = (int(place) for place in np.unravel_index(inside.argmax(), inside.shape))
    return left, top, left + wide, top + high


def _fitted(anchor: str, photo: Image.Image, length: int) -> tuple[str, str, Image.Image, int]:
    made = at_bytes(ANCHORS[anchor], photo, length)
    larger = f"the smallest there is, {len(made.data) / length:.1f} times the bytes"
    what = f"quality {made.setting}" if made.fits else larger
    return NAMES[anchor], what, ANCHORS[anchor].decode(made.data), len(made.data)


def _shot(
    name: str, source: str, picture: Image.Image, length: int, original: Image.Image, task: Task | Detector | None
) -> Shot:
    shown, layer, seen = _shrunk(picture), None, ""
    if task is not None:
        found = _found(shown, task)
        layer = layer_of(found, shown.size)
        seen = ", ".join(f"{one.name} {one.score:.0%}" for one in found) or "nothing"
    bpp = 8 * length / (picture.width * picture.height)
    grid = measure(picture) if min(picture.size) >= SMALLEST else None
    return Shot(name, source, shown, layer, seen, length, bpp, psnr(original, picture), grid)


def _found(picture: Image.Image, task: Task | Detector) -> list[Found]:
    from diptych.tasks.view_hint import predicted

    return found_in(predicted(task, picture), task.classes)


def layer_of(found: Sequence[Found], size: tuple[int, int]) -> Image.Image:
    """Detections on a transparent picture (RGBA), enlarged for a small one.

    What drawing them does to black and to white tells their colour and opacity.
    """
    scale = min(4, max(1, round(ENLARGED / max(size))))
    black, white = (
        np.asarray(draw_detections(Image.new("RGB", size, colour), found, scale), np.float32)
        for colour in ("black", "white")
    )
    opacity = 255 - (white - black).max(axis=2, keepdims=True)
    colours = np.divide(255 * black, opacity, out=np.zeros_like(black), where=opacity > 0)
    pixels = np.concatenate([colours.clip(0, 255), opacity], axis=2)
    return Image.fromarray(pixels.round().astype(np.uint8), "RGBA")


def with_detections(shot: Shot) -> Image.Image:
    """The picture under its layer, as large as that."""
    assert shot.layer is not None
    large = shot.picture.resize(shot.layer.size, Image.Resampling.BICUBIC).convert("RGBA")
    return Image.alpha_composite(large, shot.layer).convert("RGB")


def _grid(shots: Sequence[Shot]) -> Sheet | None:
    scored = {shot.name: shot.grid for shot in shots if shot.grid is not None}
    if not scored:
        return None
    usual = next(iter(scored.values())).readings
    rows = [
        [name, *(f"{reading.phase:.2f}" for reading in grid.readings), grid.verdict]
        for name, grid in scored.items()
    ]
    return Sheet(
        "Is there a grid?",
        ["", *(f"stride {reading.stride}" for reading in usual), "verdict"],
        [*rows, ["photos", *(f"{reading.usual_phase:.2f}" for reading in usual), ""]],
        "Phase scores of the grid meter; what 95 of 100 photos stay below is in the last row.",
    )


def _maps(machine: Image.Image, human: Image.Image, grid: Measurement | None) -> list[Map]:
    levels = view_difference.difference(machine, human)
    maps = [Map("Difference map", _apart(levels), overlay(levels / view_difference.FULL_SCALE, human))]
    if grid is not None and min(machine.size) >= TILE:
        stride = grid.worst.stride
        for name, picture in (("machine", machine), ("human", human)):
            found = measure(picture, (stride,)).worst
            words = f"Stride {stride}: phase score {found.phase:.1f}, photos up to {found.usual_phase:.1f}"
            maps.append(Map(f"Grid, {name} view", words, grid_map(picture, stride)))
    return [each._replace(picture=_shrunk(each.picture)) for each in maps]


def _apart(levels: NDArray[np.float32]) -> str:
    region = view_difference.largest_region(levels)
    most = f"nowhere by {view_difference.THRESHOLD:g} or more"
    if region is not None:
        most = f"most, by {region.mean:.1f}, in {region.width} x {region.height} pixels at {region.x}, {region.y}"
    return f"The views differ by {levels.mean():.1f} of 255 levels, {most}"


def _shrunk(picture: Image.Image) -> Image.Image:
    smaller = picture.copy()
    smaller.thumbnail((DISPLAY, DISPLAY), Image.Resampling.LANCZOS)
    return smaller
