"""The folder whose pictures the page lists."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from diptych.errors import DiptychError
from diptych.files import files_below
from diptych.images import READS
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
        """Name of the folder, its files, and how many were left out."""
        files = self._files()
        rows = [{"name": name, "bytes": _size(path)} for name, path in list(files.items())[:LISTED]]
        return {"name": self.path.resolve().name, "files": rows, "left_out": len(files) - len(rows)}

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
        root = os.path.realpath(self.path)
        found = files_below(self.path, READS | {".dip"})
        inside = (path for path in found if path.is_file() and Path(os.path.realpath(path)).is_relative_to(root))
        return {path.relative_to(self.path).as_posix(): path for path in inside}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # it was there a moment ago
        return 0
