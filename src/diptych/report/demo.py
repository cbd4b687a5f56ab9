"""The demo: one photo through everything a user can see.

photo ──encode──> .dip ──decode──> machine view, human view ──machine──> detections
  └──JPEG of as many bytes──────────────┴──────────────────────────────> report.html
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from diptych.checkerboard.score import grid_scores
from diptych.codec.defaults import CAT
from diptych.errors import DiptychError, PictureError
from diptych.evaluation.anchors import ANCHORS, at_bytes
from diptych.io.files import make_folder, refuse_existing, write_bytes
from diptych.io.images import read_picture
from diptych.report.demo_page import Row, Story, report
from diptych.report.draw import Found, draw_detections, found_in
from diptych.report.strip import side_by_side
from diptych.tasks import shipped_task

if TYPE_CHECKING:
    from diptych.codec.codec import Codec
    from diptych.tasks import Task

DISPLAY = 1600
"""Longest side of the pictures in the report and of those the task network sees."""
ENLARGED = 900
"""Smaller pictures are enlarged to about this size before detections are drawn on them."""
NO_TASK = "no detections are drawn: they need the task network's weights and pip install 'diptych[train]'"


class Demo(NamedTuple):
    """What a demo has written.

    Attributes:
        files: in the order they are worth naming, the report last.
        notes: what the user should know, one sentence each.
    """

    files: list[Path]
    notes: list[str]


def run(
    photo: Path | None,
    folder: Path,
    quality: float,
    codec: Codec,
    task: Task | None = None,
    overwrite: bool = False,
) -> Demo:
    """Make the demo of one photo.

    Args:
        photo: None for the cat that ships with the package.
        folder: where to write; created if it is not there.
        quality: 0..100.
        codec: must have a human view.
        task: the network that draws detections; None goes on without, with a note.
        overwrite: whether files in ``folder`` may be replaced.

    Raises:
        DiptychError: if the photo cannot be read, the codec has no human view, or a file cannot be written.
            Nothing is written unless everything could be computed.
    """
    source = photo or CAT
    image, notes = read_picture(source)
    dip = folder / f"{source.stem}.dip"
    names = ["machine.png", "human.png", "views.png"]
    names += ["machine-detections.png", "human-detections.png"] if task else []
    targets = [dip, *(folder / name for name in names), folder / "report.html"]
    for target in targets:
        if target.exists() and target.samefile(source):
            raise PictureError(f"{target} is to be read and written at once; choose another folder with -o")
        refuse_existing(target, overwrite)

    data = codec.encode(image, quality)
    machine, human = codec.decode_views(data, ["machine", "human"])
    rows = _rows(source, dip.name, image, machine, human, data)
    drawn = [_detections(row, task) for row in rows[:3]] if task else []
    story = Story(source.name, dip.name, image.size, len(data), quality, codec.model_id.hex(), rows, drawn)
    pictures = [machine, human, side_by_side(rows[:3]), *drawn[1:]]
    contents = [data, *map(_png, pictures), report(story).encode()]

    make_folder(folder)
    for target, content in zip(targets, contents, strict=True):
        write_bytes(content, target, overwrite)
    return Demo(targets, notes if task else [*notes, NO_TASK])


def task_if_installed() -> Task | None:
    """The shipped task network; None if its weights or what runs it are missing."""
    try:
        return shipped_task()
    except DiptychError:
        return None


def _rows(
    source: Path, dip: str, photo: Image.Image, machine: Image.Image, human: Image.Image, data: bytes
) -> list[Row]:
    jpeg = at_bytes(ANCHORS["jpeg"], photo, len(data))
    decoded = ANCHORS["jpeg"].decode(jpeg.data)
    kind = f"JPEG at quality {jpeg.setting}" if jpeg.fits else "the smallest JPEG there is"
    pictures = [
        ("Original", source.name, photo, source.stat().st_size),
        ("Machine view", dip, machine, len(data)),
        ("Human view", dip, human, len(data)),
        ("JPEG", kind, decoded, len(jpeg.data)),
    ]
    return [
        Row(name, detail, _display(picture), length, psnr(photo, picture), grid_scores(picture))
        for name, detail, picture, length in pictures
    ]


def psnr(photo: Image.Image, picture: Image.Image) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and channels; infinite for equal pictures."""
    difference = np.asarray(photo, np.float32) - np.asarray(picture, np.float32)
    error = float(np.mean(difference**2, dtype=np.float64))
    return 10 * math.log10(255**2 / error) if error else math.inf


def _display(picture: Image.Image) -> Image.Image:
    if max(picture.size) <= DISPLAY:
        return picture
    smaller = picture.copy()
    smaller.thumbnail((DISPLAY, DISPLAY), Image.Resampling.LANCZOS)
    return smaller


def _detections(row: Row, task: Task) -> Image.Image:
    from diptych.tasks.view_hint import predicted

    raw = predicted(task, row.picture)
    scale = min(4, max(1, round(ENLARGED / max(row.picture.size))))
    found: Iterable[Found] = found_in(raw, task.classes)
    return draw_detections(row.picture, found, scale)


def _png(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
