"""What the commands have in common: output, errors, work on many files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import typer

from diptych.errors import DiptychError
from diptych.io.files import STANDARD, Job, Plan, remove_stale

if TYPE_CHECKING:
    from diptych.codec.codec import Codec
    from diptych.io.progress import Advance


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


def each(tasks: Mapping[Path, Callable[[], str]]) -> None:
    """Run one task per file and print its line; go on after failures, and name them at the end."""
    with reporting(len(tasks)) as report:
        for source, task in tasks.items():
            report(attempt(source, partial(_told, source, task)))


def _told(source: Path, task: Callable[[], str]) -> Outcome:
    return Outcome(source, task())


@contextmanager
def reporting(
    total: int, refused: Sequence[str] = (), out: Callable[[str], None] | None = None
) -> Iterator[Callable[[Outcome], None]]:
    """A function that prints what became of each of ``total`` files; failures are named at the end.

    Args:
        refused: sentences on what was not begun, which are failures as well.
        out: prints the lines on what was written, on stdout if not given.
    """
    failures: list[str] = []
    try:
        with _bar(total) as advance:

            def report(outcome: Outcome) -> None:
                for note in outcome.notes:
                    tell(f"note: {outcome.source}: {note}")
                if outcome.line:
                    (out or say)(outcome.line)
                if outcome.error is not None:
                    failures.append(outcome.error)
                advance()

            yield report
    finally:
        for failure in (*refused, *failures):
            complain(failure)
        if failures and total > 1:
            complain(f"{len(failures)} of {total} files failed")
    if failures or refused:
        raise typer.Exit(1)


class Batch(NamedTuple):
    """How many files are to be worked on.

    Attributes:
        workers: files worked on at once.
        overwrite: replace outputs that exist.
        resume: keep them, and do what is missing.
        manifest: file that lists what was made of which file.
    """

    workers: int
    overwrite: bool
    resume: bool
    manifest: Path | None


def carry_out(plan: Plan, work: Work, model: str | None, batch: Batch) -> None:
    """Do all jobs, or with ``resume`` those whose output is missing, and print what becomes of them."""
    jobs = plan.jobs
    piped = [job for job in jobs if job.target == STANDARD]
    if batch.manifest and piped:
        raise typer.BadParameter("--manifest lists files, and standard output is none")
    if batch.resume and batch.overwrite:
        raise typer.BadParameter("--resume and --overwrite exclude each other")
    done = {job for job in jobs if batch.resume and os.path.exists(job.target) and job not in piped}
    todo = [job for job in jobs if job not in done]
    if batch.resume:
        remove_stale({job.target.parent for job in jobs})
    if done:
        tell(f"note: {len(done):,} of {len(jobs):,} files are done already")
    manifest = None
    if batch.manifest:
        from diptych.cli.manifest import Manifest

        manifest = Manifest(batch.manifest, work.dip, todo, sorted(done), batch.resume, batch.overwrite)
    with reporting(len(todo), plan.refused, tell if piped else say) as report, manifest or nullcontext():

        def listed(outcome: Outcome) -> None:
            if manifest:
                manifest.add(outcome)
            report(outcome)

        _run(todo, work, model, batch.workers, listed)


def _bar(total: int) -> AbstractContextManager[Advance]:
    """A progress bar, if there is more than one file to wait for."""
    if total < 2:
        return nullcontext(lambda: None)
    from diptych.io.progress import progress

    return progress(total, "files")


def _run(
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
        from diptych.codec.codec import load

        codec = load(model)
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


def say(text: str) -> None:
    """Print on stdout, with a question mark for what the terminal cannot show."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), flush=True)


def tell(text: str) -> None:
    print(f"diptych: {' '.join(text.split())}", file=sys.stderr)


def complain(error: object, code: int = 1) -> int:
    tell(f"error: {error}")
    return code
