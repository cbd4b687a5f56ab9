"""Decoded photos, as many as a budget of memory holds."""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from torch.utils.data import get_worker_info

from diptych.errors import PictureError, RecipeError
from diptych.io.images import read_picture, read_stored
from diptych.io.progress import progress

MEMORY = 2 << 30
"""Bytes of decoded photos that a data set keeps, over all its worker processes."""

Item = TypeVar("Item")
Result = TypeVar("Result")
_log = logging.getLogger(__name__)


class PhotoFile(NamedTuple):
    """A photo to be decoded.

    Attributes:
        name: what to call it in messages.
        path: of its file.
        size: width and height that its labels state, or None for a photo without labels.
        upright: its labels are those of the upright photo, where their size does not tell.
    """

    name: str
    path: Path
    size: tuple[int, int] | None = None
    upright: bool = False


class Sample(NamedTuple):
    """A photo and what is known about it.

    Attributes:
        photo: uint8 (height, width, 3), sRGB. Shared: do not write into it.
        boxes: float32 (n, 4) in pixels as x0, y0, x1, y1.
        labels: int64 (n,), 1 and up, or ``IGNORE`` for crowds.
        masks: uint8 (n, height, width) of 0 and 1.
    """

    photo: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    masks: np.ndarray


def read_pixels(file: PhotoFile) -> np.ndarray:
    """sRGB pixels of a photo, uint8 (height, width, 3).

    A photo without labels is turned upright by its EXIF orientation. One with labels is left as it lies in its
    file, as COCO's own tools read it; only if its labels state the size of the upright photo, and not that of
    the stored one, or are known to be upright, it is turned.

    Raises:
        PictureError: it cannot be read, or has not the size of its labels.
    """
    if file.size is None:
        return np.asarray(read_picture(file.path).image)
    stored = read_stored(file.path)
    ways = (stored.image, stored.upright())
    for image in reversed(ways) if file.upright else ways:
        if image.size == file.size:
            return np.asarray(image)
    raise PictureError(wrong_size(file.path, stored.image.size, file.size))


def wrong_size(path: Path, found: tuple[int, int], wanted: tuple[int, int]) -> str:
    """The message about a photo whose labels state another size."""
    return f"{path} has {found[0]}x{found[1]} pixels, its labels are for {wanted[0]}x{wanted[1]}"


class PhotoStore:
    """Photos by index, decoded when asked for; the least recently used make room for new ones.

    Threads may share it. Worker processes of a ``DataLoader`` share what is decoded before they start, and
    divide the budget for what they decode themselves.

    Args:
        files: the photos.
        memory: bytes of decoded photos to keep.

    Attributes:
        broken: why each photo that was found to be broken cannot be decoded, by index.
    """

    def __init__(self, files: Sequence[PhotoFile], memory: int = MEMORY) -> None:
        self.files = files
        self.broken: dict[int, str] = {}
        self._memory = memory
        self._start()

    def __len__(self) -> int:
        return len(self.files)

    def get(self, index: int) -> np.ndarray | None:
        """Pixels of photo ``index``, uint8 (height, width, 3), or None if it is broken: it is then noted in
        ``broken`` and named in the log."""
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
            if index in self.broken:
                return None
        try:
            pixels = read_pixels(self.files[index])
        except PictureError as error:
            self.broken[index] = str(error)
            _log.warning("Photo %s was left out: %s.", self.files[index].name, error)
            return None
        self.keep(index, pixels)
        return pixels

    def keep(self, index: int, pixels: np.ndarray) -> None:
        """Hold on to the pixels of photo ``index`` while the budget allows."""
        worker = get_worker_info()
        budget = self._memory // (worker.num_workers if worker else 1)
        with self._lock:
            if index in self._kept or pixels.nbytes > budget:
                return
            self._kept[index] = pixels
            self._bytes += pixels.nbytes
            while self._bytes > budget:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= oldest.nbytes

    def usable(self, index: int, random: np.random.Generator) -> tuple[int, np.ndarray]:
        """Photo ``index`` and its pixels, or, if it is broken, another one drawn by ``random``.

        Raises:
            RecipeError: all photos are broken.
        """
        while (pixels := self.get(index)) is None:
            if len(self.broken) == len(self):
                raise RecipeError(f"None of the photos can be read: {self.broken[index]}.")
            index = int(random.integers(len(self)))
        return index, pixels

    def problems(self) -> list[str]:
        """A sentence per broken photo."""
        return [f"Photo {self.files[k].name} was left out: {self.broken[k]}." for k in sorted(self.broken)]

    def _start(self) -> None:
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Spawned processes decode anew: sending them the pixels would cost more."""
        return {"files": self.files, "broken": self.broken, "_memory": self._memory}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()


def in_parallel(work: Callable[[Item], Result], items: Sequence[Item], what: str) -> Iterator[Result]:
    """``work`` on every item, on all cores; few results are made before they are asked for.

    Args:
        what: is being done; said beside the progress bar on a terminal.

    Returns:
        the results, in order.
    """
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        chunks = (items[start : start + 2 * workers] for start in range(0, len(items), 2 * workers))
        results = chain.from_iterable(pool.map(work, chunk) for chunk in chunks)
        with progress(len(items), what) as advance:
            for result in results:
                advance()
                yield result
