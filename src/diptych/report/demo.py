"""The demo: one photo through everything a user can see.

photo ──encode──> .dip ──decode──> machine view, human view ──machine──> detections
  └──JPEG of as many bytes──────────────┴──────────────────────────────> report.html
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from diptych.codec.defaults import CAT
from diptych.errors import PictureError
from diptych.io.files import make_folder, refuse_existing, write_bytes
from diptych.io.images import read_picture
from diptych.report.examples import compared, with_detections
from diptych.report.page import card, making, page
from diptych.report.strip import side_by_side

if TYPE_CHECKING:
    from diptych.codec.codec import Codec
    from diptych.tasks import Task
    from diptych.tasks.detector import Detector

FITTED = ("jpeg",)
"""Anchors that get as many bytes as the codec's file."""
NO_TASK = "no detections are drawn: there is no task network to draw them"


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
    task: Task | Detector | None = None,
    model: str | None = None,
    overwrite: bool = False,
) -> Demo:
    """Make the demo of one photo.

    Args:
        photo: None for the cat that ships with the package.
        folder: where to write; created if it is not there.
        quality: 0..100.
        codec: must have a human view.
        task: the machine that draws detections; None goes on without, with a note.
        model: the codec's file as the user named it; None for the shipped one.
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
    views = codec.decode_views(data, ["machine", "human"])
    shown = compared(source, image, quality, len(data), views, task, FITTED)
    drawn = [with_detections(shot) for shot in shown.shots[1:3]] if task else []
    words = ["diptych", "demo", *([str(photo)] if photo else []), "-o", str(folder), "-q", f"{quality:g}"]
    words += ["--model", model] if model else []
    html = page({}, [shown], card(codec, model), making(words, codec, FITTED))
    contents = [data, *map(_png, [*views, side_by_side(shown.shots[:3]), *drawn]), html.encode()]

    make_folder(folder)
    for target, content in zip(targets, contents, strict=True):
        write_bytes(content, target, overwrite)
    return Demo(targets, notes if task else [*notes, NO_TASK])


def _png(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
