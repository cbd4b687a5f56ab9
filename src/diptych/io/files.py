"""Files as the commands see them: which to read, where to write, and writing all of a file or nothing."""

from __future__ import annotations

import glob
import os
import secrets
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

from diptych.errors import DiptychError
from diptych.io import places
from diptych.io.places import SCHEME, Name, Place

STALE_AFTER = 3600
"""Seconds without a write after which a temporary file belongs to nobody."""

STANDARD = Path("-")
"""Standard input as a source, standard output as a target. A file of this name is ``./-`` to the commands."""

_PART = ".diptych-{}.part"
_AnyName = TypeVar("_AnyName", Path, Place)


class Job(NamedTuple):
    """One file to read and the file to write from it."""

    source: Name
    target: Name


class Plan(NamedTuple):
    """What is to be done, before any of it is.

    Attributes:
        jobs: that can be done.
        refused: why others cannot, a sentence for each.
        left_out: files in folders that are not read, by their suffix.
    """

    jobs: list[Job]
    refused: list[str]
    left_out: list[Name]


class Below(NamedTuple):
    """What is in a folder and its subfolders, sorted.

    Attributes:
        files: with the suffixes asked for.
        others: with other suffixes; links to folders that are searched by their own names among them.
    """

    files: list[Path]
    others: list[Path]


def find_files(inputs: Sequence[str], reads: Collection[str]) -> list[Name]:
    """The files to read of :func:`plan_jobs`, each name once.

    Raises:
        DiptychError: if there is nothing to read.
    """
    return [each.source for each in _found(inputs, reads)[0]]


class _Found(NamedTuple):
    source: Name
    name: Path  # relative to what the user named


def plan_jobs(
    inputs: Sequence[str], output: str | None, reads: Collection[str], writes: str, overwrite: bool = False
) -> Plan:
    """Turn what a user named into the files to read and to write, before any work starts.

    A job that cannot be done, because its output has the name of another one's or of an input, or exists, is
    refused by itself.

    Args:
        inputs: files, folders (searched with their subfolders, without hidden files) and glob patterns, here or
            elsewhere (:class:`~diptych.io.places.Place`); or ``-`` alone, standard input. A file that does not
            exist stays in the list, so that reading it fails with its own message.
        output: None writes beside each input. A folder (one that exists, or ends in a slash, or stands for
            several inputs) receives the files under the names of the inputs, with their folders below the one named
            or below the part of a pattern that is fixed; ``-`` is standard output; anything else is the one file to
            write.
        reads: lower-case suffixes taken from a folder, such as ``{".jpg"}``.
        writes: suffix of the written files, such as ``".dip"``.
        overwrite: whether existing files may be replaced.

    Raises:
        DiptychError: if there is nothing to read, or several files would go into one.
    """
    found, left_out = _found(inputs, reads)
    several = len(found) > 1 or found[0].name != Path(Path(inputs[0]).name)
    jobs = [Job(each.source, _target(each, output, several, writes)) for each in found]
    jobs, refused = _without_clashes(jobs)
    targets = [] if overwrite else [job.target for job in jobs if job.target != STANDARD]
    there = existing(targets) | {target for target in targets if os.path.islink(target)}
    free = [job for job in jobs if job.target not in there]
    taken = [job.target for job in jobs if job.target in there]
    if len(taken) > 1:
        refused.append(
            f"{len(taken):,} files such as {taken[0]} exist already; use --overwrite to replace them, or --resume"
        )
    elif taken:
        refused.append(f"{taken[0]} exists already; use --overwrite to replace it")
    return Plan(free, refused, left_out)


def named(name: str | os.PathLike[str]) -> Name:
    """The file of a name: elsewhere if it has a scheme; ``file://`` is this machine."""
    if isinstance(name, Place | Path):
        return name
    text = os.fspath(name)
    scheme = SCHEME.match(text)
    if not scheme:
        return Path(text)
    return Path(text.removeprefix(scheme[0])) if scheme[1] in ("file", "local") else Place(text)


def files_below(folder: Path, reads: Collection[str]) -> list[Path]:
    """The files of :func:`below`."""
    return below(folder, reads).files


def below(folder: Path, reads: Collection[str]) -> Below:
    """What is in a folder and its subfolders, hidden ones left out.

    Names are what counts: two links to one file are two files. Links to folders are followed, but for those to a
    folder that is searched by its own name. A link that leads nowhere counts as a file, so that reading it fails
    with its own message.

    Args:
        reads: lower-case suffixes.
    """
    found: list[Path] = []
    others: list[Path] = []
    root = os.path.realpath(folder)
    within = {str(folder): frozenset({root})}  # by folder: where it and those above it really are
    for place, folders, names in os.walk(folder, followlinks=True):
        chain = within.pop(place)
        shown = [(name, os.path.join(place, name)) for name in folders if not name.startswith(".")]
        real = {path: os.path.realpath(path) for _, path in shown}
        folders[:] = [name for name, path in shown if not _searched_anyway(path, real[path], root, chain)]
        within |= {path: chain | {real[path]} for name, path in shown if name in folders}
        others += [Path(path) for name, path in shown if name not in folders and real[path] not in chain]
        for path in (Path(place, name) for name in names if not name.startswith(".")):
            if path.suffix.lower() in reads and (path.is_file() or path.is_symlink()):
                found.append(path)
            elif path.is_file():
                others.append(path)
    return Below(sorted(found), sorted(others))


def existing(paths: Collection[Name]) -> set[Name]:
    """Those of some files that exist."""
    elsewhere = {path for path in paths if isinstance(path, Place)}
    here = {path for path in paths if path not in elsewhere and os.path.exists(path)}
    return here | places.existing(elsewhere) if elsewhere else here


def read_bytes(path: Name) -> bytes:
    """The whole content of a file, or of standard input.

    Raises:
        DiptychError: if it cannot be read.
    """
    if isinstance(path, Place):
        return places.read(path)
    try:
        return sys.stdin.buffer.read() if path == STANDARD else path.read_bytes()
    except (OSError, ValueError) as error:
        raise DiptychError(f"cannot read {path}: {reason(error)}") from None


def write_bytes(data: bytes, path: Name, overwrite: bool = False) -> None:
    """Write a file so that it is either complete or not there; see :func:`replacing`."""
    with replacing(path, overwrite) as file:
        file.write(data)


@contextmanager
def replacing(path: Name, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` that takes its place when the block succeeds.

    When the block fails, or is interrupted, the temporary file is removed and ``path`` stays as it was. What goes
    to standard output, or elsewhere, is held back until it is complete.

    Raises:
        DiptychError: if ``path`` exists and may not be replaced, or cannot be written.
    """
    if isinstance(path, Place) or path == STANDARD:
        held = BytesIO()
        yield held
        if isinstance(path, Place):
            places.write(held.getvalue(), path, overwrite)
        else:
            _to_standard_output(held.getbuffer())
        return
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


def remove_stale(folders: Iterable[Name]) -> None:
    """Remove temporary files that :func:`replacing` left in these folders of this machine when it was killed."""
    for folder in folders:
        if isinstance(folder, Place):
            continue
        for part in folder.glob(_PART.format("*")):
            with suppress(OSError):
                if part.stat().st_mtime < time.time() - STALE_AFTER:
                    part.unlink()


def make_folder(path: Name) -> None:
    """Create a folder and those above it, if they are not there; elsewhere they come with what is written.

    Raises:
        DiptychError: if that is impossible.
    """
    if isinstance(path, Place):
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise DiptychError(f"cannot create the folder {path}: {reason(error)}") from None


def refuse_existing(path: Name, overwrite: bool) -> None:
    """Check that ``path`` is free, or a regular file that may be replaced.

    Raises:
        DiptychError: if it is not.
    """
    if isinstance(path, Place):
        if not overwrite and places.exists(path):
            raise DiptychError(f"{path} exists already; use --overwrite to replace it")
        return
    if path == STANDARD or not os.path.exists(path):
        return
    if not os.path.isfile(path):
        kind = "a folder" if os.path.isdir(path) else "a device (standard output is -)"
        raise DiptychError(f"cannot write {path}: it is {kind}")
    if not overwrite:
        raise DiptychError(f"{path} exists already; use --overwrite to replace it")


def reason(error: Exception) -> str:
    """What went wrong, in a few words without the file's name."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text[:1].lower() + text[1:] if text else type(error).__name__


def _to_standard_output(data: memoryview) -> None:
    if sys.stdout.isatty():
        raise DiptychError("cannot write -: standard output is a terminal; send it to a file or a program")
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise DiptychError(f"cannot write -: {reason(error)}") from None


def _found(inputs: Sequence[str], reads: Collection[str]) -> tuple[list[_Found], list[Name]]:
    """Files to read, each name once, and others in the folders that were named."""
    if "" in inputs:
        raise DiptychError("one of the names of files to read is empty")
    if "-" in inputs and len(inputs) > 1:
        raise DiptychError("- is standard input and stands alone; a file of this name is ./-")
    found: dict[str, _Found] = {}
    left_out: list[Name] = []
    for each in _named(inputs, reads, left_out):
        found.setdefault(_identity(each.source, os.path.abspath), each)
    if not found:
        others = f" but {len(left_out)} files of other kinds, such as {left_out[0].name}" if left_out else ""
        raise DiptychError(f"nothing to read in {', '.join(inputs)}{others}")
    return list(found.values()), left_out


def _named(inputs: Iterable[str], reads: Collection[str], left_out: list[Name]) -> Iterator[_Found]:
    for text in inputs:
        path = _path(text)
        if isinstance(path, Place):
            yield from _elsewhere(path, reads, left_out)
        elif os.path.isdir(path):
            files, others = below(path, reads)
            left_out += others
            for source in files:
                yield _Found(source, source.relative_to(path))
        elif glob.has_magic(text) and not os.path.exists(path):
            fixed = _fixed(path)
            for match in map(Path, sorted(glob.glob(str(path), recursive=True))):
                if match.is_file():
                    yield _Found(match, match.relative_to(fixed))
        else:
            yield _Found(path, Path(path.name))


def _elsewhere(path: Place, reads: Collection[str], left_out: list[Name]) -> Iterator[_Found]:
    if glob.has_magic(str(path)) and not places.exists(path):
        folder, names = places.matching(path, _fixed(path))
        yield from (_Found(folder / name, Path(name)) for name in names)
    elif places.is_folder(path):
        folder, names = places.below(path)
        left_out += [folder / name for name in names if name.suffix.lower() not in reads]
        yield from (_Found(folder / name, Path(name)) for name in names if name.suffix.lower() in reads)
    else:
        yield _Found(path, Path(path.name))


def _path(text: str) -> Name:
    """What a user named; a file called ``-`` keeps its folder, so that it is not taken for a standard stream."""
    return Path(os.path.abspath(text)) if text != "-" and Path(text) == STANDARD else named(text)


def _identity(path: Name, resolved: Callable[[Path], str]) -> str:
    """What tells files apart: the name elsewhere, the ``resolved`` one here."""
    return str(path) if isinstance(path, Place) else resolved(path)


def _fixed(pattern: _AnyName) -> _AnyName:
    """The folder down to which a glob pattern has no wildcard."""
    parts = pattern.parent.parts
    count = next((k for k, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return type(pattern)(*parts[:count])


def _searched_anyway(folder: str, real: str, root: str, chain: Collection[str]) -> bool:
    """Whether a folder leads in a circle, or is a link to what is searched below ``root`` by its own name."""
    if real in chain:
        return True
    from_root = Path(os.path.relpath(real, root)).parts
    return os.path.islink(folder) and not any(part.startswith(".") for part in from_root)  # hidden, or outside: ..


def _target(found: _Found, output: str | None, several: bool, writes: str) -> Name:
    if output in ("-", "/dev/stdout") or (output is None and found.source == STANDARD):
        if several:
            raise DiptychError("several files cannot go to standard output; name a folder with -o")
        return STANDARD
    if found.source == STANDARD:
        found = _Found(STANDARD, Path("stdin"))
    if output is None:
        return found.source.with_suffix(writes)
    path = _path(output)
    if not several and not output.endswith(("/", os.sep)) and not _is_folder(path):
        return path
    if not isinstance(path, Place) and os.path.isfile(path):
        raise DiptychError(f"cannot write into {output}: it is not a folder")
    return path / found.name.with_suffix(writes)


def _is_folder(path: Name) -> bool:
    return places.is_folder(path) if isinstance(path, Place) else os.path.isdir(path)


def _without_clashes(jobs: Sequence[Job]) -> tuple[list[Job], list[str]]:
    """Jobs whose outputs are their own, and why the others are not done."""
    sources = {_identity(job.source, os.path.realpath) for job in jobs if job.source != STANDARD}
    by_target: dict[str, list[Job]] = {}
    for job in jobs:
        real = _identity(job.target, os.path.realpath) if job.target != STANDARD else ""
        by_target.setdefault(real, []).append(job)
    kept, refused = [], []
    for real, found in by_target.items():
        target = found[0].target
        if real in sources:
            refused.append(f"{target} is to be read and written at once; choose another name with -o")
        elif len(found) > 1:
            names = " and ".join(str(job.source) for job in found)
            refused.append(
                f"{'both ' if len(found) == 2 else ''}{names} would become {target}; name a folder above them, "
                "or one at a time with a name of its own (-o)"
            )
        else:
            kept += found
    return kept, refused
