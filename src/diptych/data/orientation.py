"""In which orientation the labels of a file are, as far as its photos tell."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from diptych.data.photo_cache import in_parallel
from diptych.errors import PictureError
from diptych.io.images import Layout, stored_layout

_TRANSPOSED = range(5, 9)


class Entry(Protocol):
    """A photo as labels state it."""

    file_name: str
    width: int
    height: int


class Convention(NamedTuple):
    """How labels lie.

    Attributes:
        upright: they are those of upright photos, also where a photo's size does not tell: those turned by half,
            mirrored, or square.
        untold: names of photos that are turned in such a way, if nothing tells; they are taken as they lie.
    """

    upright: bool
    untold: list[str]


def convention(folder: Path, chosen: Sequence[Entry], every: Sequence[Entry]) -> Convention:
    """The one convention of a label file.

    Photos turned by a quarter tell it by the size that the labels state. Photos of the file that are not ``chosen``
    are looked at only if it matters and the chosen ones do not tell.
    """
    layouts = _layouts(folder, chosen)
    unclear = [entry.file_name for entry, layout in zip(chosen, layouts, strict=True) if _unclear(layout)]
    if not unclear:
        return Convention(False, [])
    told = _told(chosen, layouts)
    if not told:
        names = {entry.file_name for entry in chosen}
        others = [entry for entry in every if entry.file_name not in names]
        told = _told(others, _layouts(folder, others))
    return Convention(told == {True}, unclear if len(told) != 1 else [])


def _layouts(folder: Path, entries: Sequence[Entry]) -> list[Layout | None]:
    paths = [Path(os.path.join(folder, entry.file_name)) for entry in entries]
    return list(in_parallel(_layout, paths, "reading headers"))


def _layout(path: Path) -> Layout | None:
    try:
        return stored_layout(path)
    except PictureError:
        return None


def _unclear(layout: Layout | None) -> bool:
    if layout is None or layout.orientation == 1:
        return False
    return layout.orientation not in _TRANSPOSED or layout.size[0] == layout.size[1]


def _told(entries: Sequence[Entry], layouts: Sequence[Layout | None]) -> set[bool]:
    """Whether the labels of photos turned by a quarter are upright: nothing, one answer, or both."""
    answers = set()
    for entry, layout in zip(entries, layouts, strict=True):
        if layout and layout.orientation in _TRANSPOSED and layout.size[0] != layout.size[1]:
            stated = entry.width, entry.height
            answers |= {True} if stated == layout.size[::-1] else {False} if stated == layout.size else set()
    return answers
