"""What ``encode --focus`` names: where in each photo the objects are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from diptych.io.files import named

if TYPE_CHECKING:
    from PIL import Image

    from diptych.io.boxes import Box, BoxFile
    from diptych.io.places import Name

DETECTIONS = "detections"

FocusOn = Annotated[
    str | None,
    typer.Option(
        "--focus",
        metavar=f"{DETECTIONS}|FILE.json",
        help="Spend the bits on objects: what the task network in the package finds, or the boxes of a file.",
        show_default=False,
    ),
]


class Focus(Protocol):
    """Tells where the objects of a photo are; it can be pickled."""

    def boxes(self, source: Name, photo: Image.Image) -> Sequence[Box]:
        """Boxes in pixels of the upright photo; none if nothing is known of it.

        Raises:
            DiptychError: if they cannot be those of this photo.
        """
        ...


@dataclass(frozen=True)
class Detections:
    """What the task network in the package finds in a photo, be it sure or not."""

    likely = 0.3

    def boxes(self, source: Name, photo: Image.Image) -> Sequence[Box]:
        from diptych.tasks.detector import shipped_detector
        from diptych.tasks.view_hint import predicted

        found = predicted(shipped_detector(), photo)
        corners = found["boxes"][found["scores"] >= self.likely].tolist()
        return [(left, top, right - left, bottom - top) for left, top, right, bottom in corners]


@dataclass(frozen=True)
class Listed:
    """What a file tells."""

    file: BoxFile

    def boxes(self, source: Name, photo: Image.Image) -> Sequence[Box]:
        return self.file.of(source, photo.size)


def focus_of(focus: str) -> Focus:
    """What the option asks for.

    Raises:
        DiptychError: if it names a file that cannot be used.
    """
    if focus == DETECTIONS:
        return Detections()
    from diptych.io.boxes import read_boxes

    return Listed(read_boxes(named(focus)))
