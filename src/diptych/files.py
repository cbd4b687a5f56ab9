"""Files as the commands see them: which to read, where to write, and writing all of a file or nothing."""

from __future__ import annotations

import glob
import os
import secrets
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from diptych.errors import DiptychError

STALE_AFTER = 3600
"""Seconds without a write after which a temporary file belongs to nobody."""

_PART = ".diptych-{}.part"


class Job(NamedTuple):
    """One file to read and the file to write from it."""

    source: Path
    target: Path


def find_files(inputs: Sequence[str], reads: Collection[str]) -> list[Path]:
    """The files to read of :func:`plan_jobs`, each once.

    Raises:
        DiptychError: if there is nothing to read.
    """
    return [each.source for each in _found(inputs, reads)]


class _Found(NamedTuple):
    source: Path
    name: Path  # relative to what the user named


def plan_jobs(
    inputs: Sequence[str], output: str | None, reads: Collection[str], writes: str, overwrite: bool = False
) -> list[Job]:
    """Turn what a user named into the files to read and to write, before any work starts.

    Args:
        inputs: files, folders (searched with their subfolders, without hidden files) and glob patterns. A
            file that does not exist stays in the list, so that reading it fails with its own message.
        output: None writes beside each input. A folder (one that exists, or ends in a slash, or stands for
            several inputs) receives the files under the names of the inputs; anything else is the one file to
            write.
        reads: lower-case suffixes taken from a folder, such as ``{".jpg"}``.
        writes: suffix of the written files, such as ``".dip"``.
        overwrite: whether existing files may be replaced.

    Raises:
        DiptychError: if there is nothing to read, two files would get the same name, an input would be
            replaced, or a file exists that may not be replaced.
    """
    found = _found(inputs, reads)
    several = len(found) > 1 or found[0].source != Path(inputs[0])
    jobs = [Job(each.source, _target(each, output, several, writes)) for each in found]
    _refuse_clashes(jobs)
    for job in jobs:
        refuse_existing(job.target, overwrite)
    return jobs


def files_below(folder: Path, reads: Collection[str]) -> list[Path]:
    """The files with these lower-case suffixes in a folder and its subfolders, sorted, without hidden ones.

    Links to folders are followed; a folder that can be reached in several ways is visited once. A link that
    leads nowhere counts as a file, so that reading it fails with its own message.
    """
    found: list[Path] = []
    visited = {os.path.realpath(folder)}
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = _unvisited(place, folders, visited)
        for path in (Path(place, name) for name in names if not name.startswith(".")):
            if path.suffix.lower() in reads and (path.is_file() or path.is_symlink()):
                found.append(path)
    return sorted(found)


def read_bytes(path: Path) -> bytes:
    """The whole content of a file.

    Raises:
        DiptychError: if it cannot be read.
    """
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise DiptychError(f"cannot read {path}: {reason(error)}") from None


def write_bytes(data: bytes, path: Path, overwrite: bool = False) -> None:
    """Write a file so that it is either complete or not there; see :func:`replacing`."""
    with replacing(path, overwrite) as file:
        file.write(data)


@contextmanager
def replacing(path: Path, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` that takes its place when the block succeeds.

    When the block fails, or is interrupted, the temporary file is removed and ``path`` stays as it was.

    Raises:
        DiptychError: if ``path`` exists and may not be replaced, or cannot be written.
    """
    refuse_existing(path, overwrite)
    real = Path(os.path.realpath(path))
    part = real.with_name(_PART.format(secrets.token_hex(6)))
    try:
        with open(part, "x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        refuse_existing(real, overwrite)
        os.replace(part, real)
    except (OSError, ValueError) as error:
        raise DiptychError(f"cannot write {path}: {reason(error)}") from None
    finally:
        with suppress(OSError, ValueError):
            part.unlink()


def remove_stale(folders: Iterable[Path]) -> None:
    """Remove temporary files that :func:`replacing` left in these folders when it was killed."""
    for folder in folders:
        for part in folder.glob(_PART.format("*")):
            with suppress(OSError):
                if part.stat().st_mtime < time.time() - STALE_AFTER:
                    part.unlink()


def make_folder(path: Path) -> None:
    """Create a folder and those above it, if they are not there.

    Raises:
        DiptychError: if that is impossible.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise DiptychError(f"cannot create the folder {path}: {reason(error)}") from None


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Check that ``path`` is free, or a regular file that may be replaced.

    Raises:
        DiptychError: if it is not.
    """
    if not os.path.exists(path):
        return
    if not os.path.isfile(path):
        raise DiptychError(f"cannot write {path}: it is {'a folder' if os.path.isdir(path) else 'a device'}")
    if not overwrite:
        raise DiptychError(f"{path} exists already; use --overwrite to replace it")


def reason(error: Exception) -> str:
    """What went wrong, in a few words without the file's name."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text[:1].lower() + text[1:] if text else type(error).__name__


def _found(inputs: Sequence[str], reads: Collection[str]) -> list[_Found]:
    if "" in inputs:
        raise DiptychError("one of the names of files to read is empty")
    found: dict[str, _Found] = {}
    for each in _named(inputs, reads):
        found.setdefault(os.path.realpath(each.source), each)
    if not found:
        raise DiptychError(f"nothing to read in {', '.join(inputs)}")
    return list(found.values())


def _named(inputs: Iterable[str], reads: Collection[str]) -> Iterator[_Found]:
    for text in inputs:
        path = Path(text)
        if os.path.isdir(path):
            for source in files_below(path, reads):
                yield _Found(source, source.relative_to(path))
        elif glob.has_magic(text) and not os.path.exists(path):
            for match in map(Path, sorted(glob.glob(text, recursive=True))):
                if match.is_file():
                    yield _Found(match, Path(match.name))
        else:
            yield _Found(path, Path(path.name))


def _unvisited(place: str, folders: Sequence[str], visited: set[str]) -> list[str]:
    """Those of ``folders`` in ``place`` that are to be searched, real ones before links; they become visited."""
    kept = []
    for name in sorted(folders, key=lambda name: (os.path.islink(os.path.join(place, name)), name)):
        real = os.path.realpath(os.path.join(place, name))
        if not name.startswith(".") and real not in visited:
            visited.add(real)
            kept.append(name)
    return kept


def _target(found: _Found, output: str | None, several: bool, writes: str) -> Path:
    if output is None:
        return found.source.with_suffix(writes)
    if not several and not os.path.isdir(output) and not output.endswith(("/", os.sep)):
        return Path(output)
    if os.path.isfile(output):
        raise DiptychError(f"cannot write into {output}: it is not a folder")
    return Path(output) / found.name.with_suffix(writes)


def _refuse_clashes(jobs: Sequence[Job]) -> None:
    sources = {os.path.realpath(job.source) for job in jobs}
    writers: dict[str, Path] = {}
    for job in jobs:
        real = os.path.realpath(job.target)
        if real in sources:
            raise DiptychError(f"{job.target} is to be read and written at once; choose another name with -o")
        if real in writers:
            raise DiptychError(f"both {writers[real]} and {job.source} would become {job.target}")
        writers[real] = job.source
