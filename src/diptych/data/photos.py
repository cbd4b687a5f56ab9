"""Photos without labels: any folder of them."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from diptych.data.photo_cache import MEMORY, PhotoFile, PhotoStore, Sample
from diptych.data.problems import summary
from diptych.data.sampling import Split, in_split
from diptych.errors import RecipeError
from diptych.io.files import below, files_below
from diptych.io.formats import READS, left_out


class Photos:
    """All photos under a folder, upright and in sRGB, decoded when needed.

    A broken photo never stops a run: another one stands in for it, and it is named in the log and in
    :attr:`problems`.

    Args:
        folder: searched with its subfolders and what links in it lead to, without hidden files.
        limit: use only this many photos, 0 for all.
        split: ``train`` and ``validation`` divide the photos by name, ``all`` takes every one.
        memory: bytes of decoded photos to keep.

    Raises:
        RecipeError: if there is no photo, or none that can be read.
    """

    def __init__(self, folder: Path, limit: int = 0, split: Split = "all", memory: int = MEMORY) -> None:
        self.folder = folder
        self.limit = limit
        self.split = split
        if not self.paths:
            if split != "all" and files_below(folder, READS):
                raise RecipeError(f"so few photos under {folder} leave none for '{split}': set split=all")
            unread = "; ".join(left_out(below(folder, READS).others).pictures)
            raise RecipeError(f"no photos under {folder}{f': {unread}' if unread else ''}")
        self._store = PhotoStore([PhotoFile(self._name(path), path) for path in self.paths], memory)
        if all(self.pixels(index) is None for index in range(len(self))):
            raise RecipeError(f"none of the photos under {folder} can be read: {self._store.broken[0]}")

    @cached_property
    def paths(self) -> list[Path]:
        found = [path for path in files_below(self.folder, READS) if in_split(path.name, self.split)]
        return found[: self.limit] if self.limit else found

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def broken(self) -> dict[str, str]:
        """Why photos cannot be read, by name, as far as they have been needed."""
        return {self._store.files[k].name: why for k, why in sorted(self._store.broken.items())}

    @property
    def problems(self) -> list[str]:
        """A sentence per broken photo."""
        return self._store.problems()

    def summary(self, file: Path | None = None) -> str:
        """How many photos there are, and the first problems; see :func:`diptych.data.problems.summary`."""
        unread = left_out(below(self.folder, READS).others)
        more = [f"{sentence}." for sentence in (*unread.pictures, *unread.others)]
        return summary(f"{len(self):,} photos in {self.folder}, without labels", [*more, *self.problems], file)

    def pixels(self, index: int) -> np.ndarray | None:
        """Photo ``index``: uint8 (height, width, 3), shared, or None if it is broken."""
        return self._store.get(index)

    def sample(self, index: int, random: np.random.Generator) -> Sample:
        """Photo ``index`` with nothing in it, for what trains on photos with or without labels.

        Raises:
            RecipeError: if no photo can be read.
        """
        _, photo = self._store.usable(index, random)
        boxes, labels = np.zeros((0, 4), dtype=np.float32), np.zeros(0, dtype=np.int64)
        return Sample(photo, boxes, labels, np.zeros((0, *photo.shape[:2]), dtype=np.uint8))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()
