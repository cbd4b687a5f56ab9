"""Work on many files: what became of each, and in how many processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import diptych
from diptych.errors import DiptychError
from diptych.io.files import (
    Job,
)

if TYPE_CHECKING:
    from diptych.codec.codec import Codec

Facts = Mapping[str, str | float | bool]
"""What the manifest says of a file beyond what it reads from it, by field."""


class Outcome(NamedTuple):
    """What became of one file.

    Attributes:
        source: the file that was read.
        line: what to tell the user of what was written, if it was.
        notes: what else the user should know, each a sentence without a full stop.
        error: why it failed, with the name of a file; None if it did not.
        facts: for the manifest, if there are any.
    """

    source: Path
    line: str = ""
    notes: Sequence[str] = ()
    error: str | None = None
    facts: Facts | None = None


class Work(Protocol):
    """What is to be done with each file; it can be pickled."""

    def __call__(self, codec: Codec, job: Job) -> Outcome: ...

    def dip(self, job: Job) -> Path:
        """The ``.dip`` file among the two of a job."""
        ...


def run(
    jobs: Sequence[Job], work: Work, model: str | None, workers: int, report: Callable[[Outcome], None]
) -> None:
    """Do all jobs and report the outcome of each when it is there; failures do not stop the others.

    Args:
        model: the codec's file, or None for the default one, which decodes files of others too.
        workers: how many files are worked on at once, each in a process of its own; with 1, in this one.

    Raises:
        DiptychError: if the codec cannot be loaded, or a worker process dies.
    """
    count = min(workers, len(jobs))
    if count > 1:
        from diptych.codec.processes import in_processes

        in_processes(jobs, partial(_done, work), model, count, report)
    elif jobs:
        codec = diptych.load(model)
        for job in jobs:
            report(_done(work, codec, job))


def attempt(source: Path, task: Callable[[], Outcome]) -> Outcome:
    """The outcome of a task; the error, if it fails for a reason that lies in its input or the machine."""
    try:
        return task()
    except (DiptychError, MemoryError) as error:
        message = str(error)
    except RuntimeError as error:  # an engine's way to say it
        if "allocate memory" not in str(error):
            raise
        message = ""
    message = message or "not enough memory"
    return Outcome(source, error=message if str(source) in message else f"{source}: {message}")


def size_of(width: int, height: int, length: int) -> str:
    """Size of a picture in words, ``length`` being that of its ``.dip`` file in bytes."""
    return f"{width} x {height}, {length:,} bytes, {8 * length / (width * height):.3f} bpp"


def _done(work: Work, codec: Codec, job: Job) -> Outcome:
    return attempt(job.source, partial(work, codec, job))
