"""Work that takes long and always gives the same, kept on disk between evaluations.

Entries are never changed, only added, each put in place at once: processes may share a cache, and one that is
killed leaves no half entry. The folder may be deleted at any time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from diptych.evaluation.anchors import Anchor
from diptych.io.files import make_folder, write_bytes
from diptych.io.pixels import Picture, pixels

Found = TypeVar("Found")

_DIGEST = 32


class Cache:
    """Bytes by what they were made of.

    Args:
        folder: created if needed, with a ``.gitignore`` that keeps it out of every repository.

    Raises:
        DiptychError: if it cannot be created.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_folder(folder)
        if not (folder / ".gitignore").exists():
            write_bytes(b"*\n", folder / ".gitignore", overwrite=True)

    def get(self, *parts: str | bytes) -> bytes | None:
        """The entry made of ``parts``; None if there is none, or only a damaged one."""
        try:
            content = self._path(parts).read_bytes()
        except OSError:
            return None
        data = content[_DIGEST:]
        return data if hashlib.sha256(data).digest() == content[:_DIGEST] else None

    def put(self, data: bytes, *parts: str | bytes) -> None:
        """Keep ``data`` as what is made of ``parts``.

        Raises:
            DiptychError: if it cannot be written.
        """
        path = self._path(parts)
        make_folder(path.parent)
        write_bytes(hashlib.sha256(data).digest() + data, path, overwrite=True)

    def _path(self, parts: Sequence[str | bytes]) -> Path:
        key = hashlib.sha256()
        for part in parts:
            raw = part.encode() if isinstance(part, str) else part
            key.update(hashlib.sha256(raw).digest())
        name = key.hexdigest()
        return self._folder / name[:2] / name[2:]


def last_kept(see: Callable[[np.ndarray], Found]) -> Callable[[np.ndarray], Found]:
    """``see`` that remembers the last picture it was given: a photo, whose variants come one after another."""

    @lru_cache(maxsize=1)
    def seen(data: bytes, shape: tuple[int, ...]) -> Found:
        return see(np.frombuffer(data, np.uint8).reshape(shape))

    return lambda picture: seen(picture.tobytes(), picture.shape)


class CachedAnchor:
    """An anchor that makes no file twice.

    A file is known by the pixels, the setting, and the encoder's version and options.
    """

    def __init__(self, anchor: Anchor, cache: Cache) -> None:
        self.name, self.settings = anchor.name, anchor.settings
        self.decode = anchor.decode
        self._anchor, self._cache = anchor, cache

    @cached_property
    def made_with(self) -> str:
        return self._anchor.made_with

    def encode(self, picture: Picture, setting: int) -> bytes:
        array = pixels(picture)
        parts = (self.name, str(setting), self.made_with, str(array.shape), array.tobytes())
        data = self._cache.get(*parts)
        if data is None:
            data = self._anchor.encode(array, setting)
            self._cache.put(data, *parts)
        return data
