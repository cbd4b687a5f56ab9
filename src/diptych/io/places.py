"""Files that are not on this machine, by fsspec: ``s3://bucket/key``, ``gs://``, ``sftp://host/path``, ``memory://``.

:mod:`diptych.io.files` hands over to these functions what has a scheme. Settings and secrets are those that fsspec
and the packages behind it know: ``AWS_PROFILE``, ``FSSPEC_S3_ENDPOINT_URL`` and the like.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeAlias

from diptych.errors import DiptychError, extra

SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://")
"""How the name of a file begins that may be elsewhere."""
_IN_EXTRA = ("s3fs", "gcsfs", "paramiko")
_SAVED_EVERY = 10.0
"""Seconds between two versions of a :class:`Growing` file."""
_ONE_BY_ONE = 8
"""Files of a folder that are asked for each, rather than listing it."""


class Place(PurePosixPath):
    """The name of a file that is not on this machine: a path that begins with a scheme, and says so as text."""

    __slots__ = ()

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)  # paths have no double slashes


Name: TypeAlias = Path | Place
"""A file or a folder, here or elsewhere."""


class Listed(NamedTuple):
    """What is in a folder and those below: names relative to it, and the folder's own.

    Attributes:
        folder: they are relative to.
        names: in alphabetical order.
    """

    folder: Place
    names: list[PurePosixPath]


def is_folder(place: Place) -> bool:
    with _saying("read", place):
        system, path = _opened(place)
        return bool(system.isdir(path))


def exists(place: Place) -> bool:
    with _saying("read", place):
        system, path = _opened(place)
        return bool(system.exists(path))


def existing(places: Collection[Place]) -> set[Place]:
    """Those that exist, found by listing their folders where several are asked for."""
    folders: dict[Place, set[Place]] = {}
    for place in places:
        folders.setdefault(place.parent, set()).add(place)
    found: set[Place] = set()
    for folder, wanted in folders.items():
        if len(wanted) <= _ONE_BY_ONE:
            found |= {place for place in wanted if exists(place)}
            continue
        with _saying("read", folder):
            system, path = _opened(folder)
            with suppress(FileNotFoundError):
                found |= wanted & {folder / name.rpartition("/")[2] for name in system.ls(path, detail=False)}
    return found


def below(folder: Place) -> Listed:
    """All files in a folder and its subfolders, hidden ones left out."""
    with _saying("read", folder):
        system, path = _opened(folder)
        return _listed(folder, path, system.find(path))


def matching(pattern: Place, fixed: Place) -> Listed:
    """The files that a pattern matches, relative to the part of it that is ``fixed``."""
    with _saying("read", pattern):
        system, path = _opened(pattern)
        found = system.glob(path, detail=True).items()
        return _listed(fixed, _opened(fixed)[1], [name for name, about in found if about["type"] == "file"])


def read(place: Place) -> bytes:
    """The whole content of a file.

    Raises:
        DiptychError: if it cannot be read.
    """
    with _saying("read", place):
        system, path = _opened(place)
        return bytes(system.cat_file(path))


def write(data: bytes, place: Place, overwrite: bool = False) -> None:
    """Write a file, whole or not at all.

    An object appears whole, and only where there is none, if the store can tell. Where files are written piece by
    piece, as by SFTP, one is written beside the place and renamed.

    Raises:
        DiptychError: if it exists and may not be replaced, or cannot be written.
    """
    with _saying("write", place):
        system, path = _opened(place)
        if not overwrite and system.exists(path):
            raise _exists(place)
        if not _renames(type(system)):
            try:
                system.pipe_file(path, data, mode="overwrite" if overwrite else "create")
            except FileExistsError:
                if system.cat_file(path) != data:  # else a request tried again met what it wrote
                    raise _exists(place) from None
            return
        if system.isdir(path):
            raise DiptychError(f"cannot write {place}: it is a folder")
        folder, _, name = path.rpartition("/")
        system.makedirs(folder, exist_ok=True)
        part = f"{folder}/.{name}.{secrets.token_hex(6)}.part"
        try:
            system.pipe_file(part, data)
            if not overwrite and system.exists(path):
                raise _exists(place)
            system.mv(part, path)
        except BaseException:
            with suppress(Exception):
                system.rm_file(part)
            raise


class Growing:
    """A file that is appended to. Objects cannot grow: it is kept in memory, and saved as a whole now and then.

    What a crash leaves is the version that was saved last.

    Args:
        start: its content so far; it is saved at once, in the place of what is there.

    Raises:
        DiptychError: if it cannot be written.
    """

    def __init__(self, place: Place, start: bytes) -> None:
        self._place = place
        self._data = bytearray(start)
        self._save()

    def write(self, data: bytes) -> None:
        self._data += data
        if time.monotonic() > self._next:
            self._save()

    def close(self) -> None:
        self._save()

    def _save(self) -> None:
        start = time.monotonic()
        write(bytes(self._data), self._place, overwrite=True)
        end = time.monotonic()
        self._next = end + max(_SAVED_EVERY, 20 * (end - start))  # a long list costs a twentieth of the time


def _opened(place: Place) -> tuple[Any, str]:
    """The file system of a place and its path there. Others write there too, so no listing is kept."""
    with extra("remote", str(place)):
        from fsspec.core import url_to_fs

        try:
            system, path = url_to_fs(str(place), use_listings_cache=False)
        except ImportError as error:  # fsspec's sentence on the package for this scheme
            cause = error.__cause__
            raise cause if getattr(cause, "name", None) in _IN_EXTRA and cause else error from None
    return system, path


def _renames(system: Any) -> bool:
    """Whether a class of file systems writes files piece by piece, and can rename them when they are whole.

    Objects appear whole. Most stores cannot rename: fsspec copies for them. Google's can, in some buckets.
    """
    from fsspec.spec import AbstractFileSystem

    return "gs" not in system.protocol and system.mv is not AbstractFileSystem.mv


def _listed(folder: Place, root: str, paths: Collection[str]) -> Listed:
    names = [PurePosixPath(path.removeprefix(root).lstrip("/")) for path in paths if not path.endswith("/")]
    return Listed(folder, sorted(name for name in names if not any(part.startswith(".") for part in name.parts)))


def _exists(place: Place) -> DiptychError:
    return DiptychError(f"{place} exists already; use --overwrite to replace it")


@contextmanager
def _saying(what: str, place: Place) -> Iterator[None]:
    """Say in a sentence what went wrong: every file system raises what the packages behind it do."""
    try:
        yield
    except DiptychError:
        raise
    except FileNotFoundError:
        raise DiptychError(f"cannot {what} {place}: {os.strerror(errno.ENOENT).lower()}") from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DiptychError(f"cannot {what} {place}: {reason[:1].lower()}{reason[1:]}") from None
