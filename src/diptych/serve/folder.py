"""The folder whose pictures the page lists."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from diptych.errors import DiptychError
from diptych.io.files import below
from diptych.io.formats import READS, left_out
from diptych.serve.limits import Refusal

LISTED = 2000
"""Files that are listed at most."""


class Folder:
    """Photos and ``.dip`` files in a folder and its subfolders, by their names relative to it.

    Raises:
        DiptychError: if it is not a folder.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise DiptychError(f"there is no folder {path}")
        self.path = path

    def listing(self) -> dict[str, Any]:
        """Name of the folder, its files, how many were left out, and a sentence on each kind of these."""
        found = below(self.path, READS | {".dip"})
        files = self._named(found.files)
        rows = [{"name": name, "bytes": _size(path)} for name, path in list(files.items())[:LISTED]]
        unread = left_out(found.others)
        sentences = [*unread.pictures, *unread.others]
        odd = [path for path in found.files if not _in_unicode(path.name)]
        if odd:
            sentences.append(f"{len(odd):,} of the names are no Unicode: rename these files")
        left = len(found.files) - len(rows) + len(found.others)
        return {"name": _shown(self.path.resolve().name), "files": rows, "left_out": left, "why": sentences}

    def file(self, name: str) -> Path:
        """The file of this name: one of those that are in the folder now, so that no name leads out of it.

        Raises:
            Refusal: 404 if there is none.
        """
        path = self._files().get(name)
        if path is None:
            raise Refusal(404, "there is no such picture in the folder")
        return path

    def _files(self) -> dict[str, Path]:
        return self._named(below(self.path, READS | {".dip"}).files)

    def _named(self, found: Iterable[Path]) -> dict[str, Path]:
        """Files that lie inside, by names that JSON and addresses can hold."""
        root = os.path.realpath(self.path)
        inside = (path for path in found if path.is_file() and Path(os.path.realpath(path)).is_relative_to(root))
        named = {path.relative_to(self.path).as_posix(): path for path in inside}
        return {name: path for name, path in named.items() if _in_unicode(name)}


def _in_unicode(name: str) -> bool:
    """Whether a name is text: others hold bytes that are no UTF-8, which Python keeps as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _shown(name: str) -> str:
    return name.encode(errors="replace").decode()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # it was there a moment ago
        return 0
