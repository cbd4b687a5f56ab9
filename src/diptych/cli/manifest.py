"""The list of what was made of which file: JSON Lines, or CSV.

A line is written when its file is complete, in one piece, so that a run that is killed leaves whole lines (a cut
off last line is ignored); elsewhere (``s3://``), lines of some seconds are written at once. Its entries:

===================================== ==========================================================================
``source``, ``output``                names, as the command was given them
``bytes``, ``width``, ``height``,     of the ``.dip`` file, be it the source or the output; bytes are those of
``bpp``, ``quality``                  the whole file
``sha256``                            of the output, in hexadecimal
``measure``, ``score``, ``reached``   what ``encode --keep`` or ``--target`` measured, how much of it the file has,
                                      and whether that is what was asked for; missing where neither was given, or
                                      where the file was made in an earlier run that did not list it
``error``                             why there is no output: then everything between is missing; or what is lost
                                      of an output that ``decode --salvage`` wrote
===================================== ==========================================================================
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from io import BufferedReader, BytesIO
from types import TracebackType
from typing import Any, BinaryIO, Self

from diptych.bitstream import read_header
from diptych.cli.console import Outcome
from diptych.errors import DiptychError
from diptych.io.files import Job, existing, make_folder, read_bytes, reason, refuse_existing, write_bytes
from diptych.io.places import Growing, Name, Place

FIELDS = (
    "source",
    "output",
    "bytes",
    "width",
    "height",
    "bpp",
    "quality",
    "sha256",
    "measure",
    "score",
    "reached",
    "error",
)

Line = Mapping[str, Any]


class Manifest:
    """A manifest that is being written.

    Args:
        path: the file, ``.jsonl`` or ``.csv``.
        dip: the ``.dip`` file among the two of a job.
        overwrite: whether a file that is there already may be replaced.
        todo, done: with ``resume``, jobs that are to be done and whose outputs are there already. The lines of
            the manifest that is there stay, but for those of files which will get a new one; files that were
            done without getting a line get it now.

    Raises:
        DiptychError: if the file is there already, cannot be written, or is not a manifest.
    """

    def __init__(
        self,
        path: Name,
        dip: Callable[[Job], Name],
        todo: Sequence[Job],
        done: Sequence[Job] = (),
        resume: bool = False,
        overwrite: bool = False,
    ) -> None:
        refuse_existing(path, overwrite or resume)
        self._path = path
        self._dip = dip
        self._text = _text_of(path)
        self._jobs = {job.source: job for job in todo}
        self._kept = self._lines_that_stay(done) if resume and existing([path]) else []
        listed = {line["source"] for line in self._kept}
        self._unlisted = [job for job in done if str(job.source) not in listed]
        self._file: BinaryIO | Growing | None = None

    def add(self, outcome: Outcome) -> None:
        """Append the line of one of the jobs to do: it is done, or has failed."""
        line = outcome.entry or _failed(self._jobs[outcome.source], outcome.error)
        try:
            self._opened().write(self._text.write(line))
        except OSError as failure:
            raise DiptychError(f"cannot write {self._path}: {reason(failure)}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._opened()
        if self._file:
            self._file.close()

    def _lines_that_stay(self, done: Sequence[Job]) -> list[Line]:
        lines = self._text.read(read_bytes(self._path))
        if lines is None:
            raise DiptychError(f"cannot continue {self._path}: it is not a manifest")
        todo = {str(source) for source in self._jobs}
        finished = {str(job.source) for job in done}
        by_source = {line["source"]: line for line in lines}
        return [
            line
            for source, line in by_source.items()
            if source not in todo and not (source in finished and line["error"])
        ]

    def _opened(self) -> BinaryIO | Growing:
        """The file to append to; not made before there is a first line, as the codec may be missing."""
        if self._file is None:
            with ThreadPoolExecutor() as pool:  # where files are elsewhere, reading them is waiting
                found = pool.map(lambda job: entry(job, self._dip(job)), self._unlisted)
                lines = [*self._kept, *found]
            start = b"".join([self._text.start, *map(self._text.write, lines)])
            if isinstance(self._path, Place):
                self._file = Growing(self._path, start)
            else:
                make_folder(self._path.parent)
                write_bytes(start, self._path, overwrite=True)
                self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115
        return self._file


def entry(job: Job, dip: Name, outcome: Outcome | None = None) -> Line:
    """The line of a job whose files are there, or which has failed; what is to be known is read from the files.

    Args:
        dip: the ``.dip`` file among the two of the job.
        outcome: None for a job that was done in an earlier run.
    """
    if outcome and outcome.error is not None and not outcome.line:
        return _failed(job, outcome.error)
    try:
        with ExitStack() as stack:
            coded = stack.enter_context(_open(dip))
            output = coded if dip == job.target else stack.enter_context(_open(job.target))
            header = read_header(coded.read(32))
            length = coded.seek(0, os.SEEK_END)
            output.seek(0)
            digest = hashlib.file_digest(output, "sha256").hexdigest()
    except (OSError, DiptychError) as error:
        return _failed(job, f"cannot read what was written: {reason(error)}")
    line = {
        "source": str(job.source),
        "output": str(job.target),
        "bytes": length,
        "width": header.width,
        "height": header.height,
        "bpp": 8 * length / (header.width * header.height),
        "quality": header.quality,
        "sha256": digest,
    }
    return dict.fromkeys(FIELDS) | line | (dict(outcome.facts or {}, error=outcome.error) if outcome else {})


def _open(path: Name) -> BytesIO | BufferedReader:
    return BytesIO(read_bytes(path)) if isinstance(path, Place) else open(path, "rb")


def _failed(job: Job, error: str | None) -> Line:
    return dict.fromkeys(FIELDS) | {"source": str(job.source), "output": str(job.target), "error": error}


class _JsonLines:
    start = b""
    opening = b'{"source": "'

    @staticmethod
    def write(line: Line) -> bytes:
        return json.dumps(line).encode() + b"\n"

    @staticmethod
    def read(data: bytes) -> list[Line] | None:
        """The complete lines; None if these are not lines of a manifest."""
        *whole, cut_off = data.split(b"\n")
        if not cut_off.startswith(_JsonLines.opening[: len(cut_off)]):
            return None
        try:
            lines = [json.loads(line) for line in whole]
        except ValueError:
            return None
        return lines if all(isinstance(line, dict) and tuple(line) == FIELDS for line in lines) else None


class _Csv:
    start = ",".join(FIELDS).encode() + b"\n"

    @staticmethod
    def write(line: Line) -> bytes:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerow([line[field] for field in FIELDS])
        return text.getvalue().encode(errors="surrogateescape")

    @staticmethod
    def read(data: bytes) -> list[Line] | None:
        """The complete lines, all values as text; None if these are not lines of a manifest."""
        text = data.decode(errors="surrogateescape")
        try:
            rows = list(csv.reader(io.StringIO(text, newline="")))
        except csv.Error:
            return None
        if rows and (not text.endswith("\n") or len(rows[-1]) < len(FIELDS)):
            rows.pop()
        if not rows or tuple(rows[0]) != FIELDS or any(len(row) != len(FIELDS) for row in rows):
            return None
        return [dict(zip(FIELDS, row, strict=True)) for row in rows[1:]]


def _text_of(path: Name) -> type[_JsonLines] | type[_Csv]:
    kinds: dict[str, type[_JsonLines] | type[_Csv]] = {".jsonl": _JsonLines, ".csv": _Csv}
    if path.suffix.lower() not in kinds:
        raise DiptychError(f"cannot write {path}: a manifest's name ends in .jsonl or .csv")
    return kinds[path.suffix.lower()]
