"""What the commands have in common: output, errors, work on many files."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import typer

from diptych.errors import DiptychError
from diptych.io.files import STANDARD, Job, Plan, existing, named, remove_stale
from diptych.io.places import Name

if TYPE_CHECKING:
    from diptych.codec.codec import Codec
    from diptych.io.progress import Advance

Found = TypeVar("Found")
Facts = Mapping[str, str | float | bool]
"""What the manifest says of a file beyond what it reads from it, by field."""
_CODING = Lock()
"""Held while a file is coded: of several at once in a process, as on a cluster, the others are read and written."""


class Outcome(NamedTuple):
    """What became of one file.

    Attributes:
        source: the file that was read.
        line: what to tell the user of what was written, if it was.
        notes: what else the user should know, each a sentence without a full stop.
        error: why it failed, with the name of a file; None if it did not.
        facts: for the manifest, if there are any.
        entry: its line of the manifest, if there is one to write.
    """

    source: Name
    line: str = ""
    notes: Sequence[str] = ()
    error: str | None = None
    facts: Facts | None = None
    entry: Mapping[str, Any] | None = None


class Work(Protocol):
    """What is to be done with files, in three steps, of which the second may take several at once; it can be
    pickled."""

    def read(self, job: Job) -> Any: ...

    def code(self, codec: Codec, jobs: Sequence[Job], inputs: Sequence[Any]) -> list[Any]: ...

    def write(self, job: Job, given: Any, made: Any) -> Outcome: ...

    def dip(self, job: Job) -> Name:
        """The ``.dip`` file among the two of a job."""
        ...


class Batch(NamedTuple):
    """How many files are to be worked on.

    Attributes:
        workers: files worked on at once.
        overwrite: replace outputs that exist.
        resume: keep them, and do what is missing.
        manifest: file that lists what was made of which file.
        device: ``cpu`` or ``cuda``.
        cluster: address of a Ray cluster that does the work.
    """

    workers: int
    overwrite: bool
    resume: bool
    manifest: str | None
    device: str = "cpu"
    cluster: str | None = None


def each(tasks: Mapping[Name, Callable[[], str]]) -> None:
    """Run one task per file and print its line; go on after failures, and name them at the end."""
    with reporting(len(tasks)) as report:
        for source, task in tasks.items():
            report(attempt(source, partial(_told, source, task)))


def _told(source: Name, task: Callable[[], str]) -> Outcome:
    return Outcome(source, task())


@contextmanager
def reporting(
    total: int,
    refused: Sequence[str] = (),
    out: Callable[[str], None] | None = None,
    every: float | None = None,
) -> Iterator[Callable[[Outcome], None]]:
    """A function that prints what became of each of ``total`` files; failures are named at the end.

    Args:
        refused: sentences on what was not begun, which are failures as well.
        out: prints the lines on what was written, on stdout if not given.
        every: seconds between lines on how far it is, where stderr is no terminal; None for no such lines.
    """
    failures: list[str] = []
    try:
        with _bar(total, every) as advance:

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


def _bar(total: int, every: float | None) -> AbstractContextManager[Advance]:
    """A progress bar, if there is more than one file to wait for."""
    if total < 2:
        return nullcontext(lambda: None)
    from diptych.io.progress import progress

    return progress(total, "files", every=every)


def carry_out(plan: Plan, work: Work, model: str | None, batch: Batch) -> None:
    """Do all jobs, or with ``resume`` those whose output is missing, and print what becomes of them."""
    jobs = plan.jobs
    piped = [job for job in jobs if job.target == STANDARD]
    _refuse_contradictions(batch, jobs)
    there = existing([job.target for job in jobs if job not in piped]) if batch.resume else set()
    done = {job for job in jobs if job.target in there}
    todo = [job for job in jobs if job not in done]
    if batch.resume:
        remove_stale({job.target.parent for job in jobs})
    if done:
        tell(f"note: {len(done):,} of {len(jobs):,} files are done already")
    manifest = None
    if batch.manifest:
        from diptych.cli.manifest import Manifest

        manifest = Manifest(named(batch.manifest), work.dip, todo, sorted(done), batch.resume, batch.overwrite)
    lines = 60.0 if batch.cluster else None
    with reporting(len(todo), plan.refused, tell if piped else say, lines) as report, manifest or nullcontext():

        def listed(outcome: Outcome) -> None:
            if manifest:
                manifest.add(outcome)
            report(outcome)

        _run(todo, work, model, batch, listed)


def _refuse_contradictions(batch: Batch, jobs: Sequence[Job]) -> None:
    if batch.manifest and any(job.target == STANDARD for job in jobs):
        raise typer.BadParameter("--manifest lists files, and standard output is none")
    if batch.resume and batch.overwrite:
        raise typer.BadParameter("--resume and --overwrite exclude each other")
    if batch.cluster and batch.workers > 1:
        raise typer.BadParameter("--cluster and --jobs exclude each other")
    if batch.cluster and batch.device != "cpu":
        raise typer.BadParameter(f"--cluster and --device {batch.device} exclude each other")
    if batch.cluster and any(STANDARD in job for job in jobs):
        raise typer.BadParameter("--cluster works on files, and standard input and output are none")


def _run(
    jobs: Sequence[Job], work: Work, model: str | None, batch: Batch, report: Callable[[Outcome], None]
) -> None:
    """Do all jobs and report the outcome of each when it is there; failures do not stop the others.

    Args:
        model: the codec's file, or None for the default one, which decodes files of others too.

    Raises:
        DiptychError: if the codec cannot be loaded, the cluster not reached, or a worker process dies.
    """
    if not jobs:
        return
    count = min(batch.workers, len(jobs))
    runner = JobRunner(work, bool(batch.manifest), once=bool(batch.cluster) and not batch.overwrite)
    if batch.cluster:
        from diptych.cluster import on_cluster

        on_cluster(jobs, runner, runner.lost, model, batch.cluster, report)
    elif count > 1 and batch.device == "cpu":
        from diptych.codec.processes import in_processes

        in_processes(jobs, runner, model, count, report)
    else:
        from diptych.codec.codec import load

        codec = load(model, device=batch.device)
        if codec.transforms.engine.batch > 1:
            from diptych.cli.batches import in_batches

            in_batches(jobs, runner, codec, batch.workers, report)
        else:
            for job in jobs:
                report(runner(codec, job))


@dataclass(frozen=True)
class JobRunner:
    """Does a job, in whatever process, and tells what becomes of it.

    Attributes:
        listed: whether the outcome is to have its line of the manifest.
        once: whether an output that is in the way is this job's: a cluster does again what a worker had finished
            that died before it could say so.
    """

    work: Work
    listed: bool
    once: bool = False

    def __call__(self, codec: Codec, job: Job) -> Outcome:
        return self.outcome(job, partial(self._steps, codec, job))

    def outcome(self, job: Job, steps: Callable[[], Outcome]) -> Outcome:
        """What becomes of a job by these steps."""
        return self.with_entry(job, attempt(job.source, steps))

    def with_entry(self, job: Job, outcome: Outcome) -> Outcome:
        if not self.listed:
            return outcome
        from diptych.cli.manifest import entry

        return outcome._replace(entry=entry(job, self.work.dip(job), outcome))

    def lost(self, job: Job) -> Outcome:
        error = f"{job.source}: workers died of it, perhaps for want of memory"
        return self.with_entry(job, Outcome(job.source, error=error))

    def _steps(self, codec: Codec, job: Job) -> Outcome:
        given = self.work.read(job)
        with _CODING:
            [made] = self.work.code(codec, [job], [given])
        try:
            return self.work.write(job, given, made)
        except DiptychError:
            if self.once and existing([job.target]):
                return Outcome(job.source, f"{job.source} -> {job.target}: done by a worker that died since")
            raise


def attempt(source: Name, task: Callable[[], Found]) -> Found | Outcome:
    """What a task gives; an outcome with the error, if it fails for a reason in its input or the machine."""
    try:
        return task()
    except (DiptychError, MemoryError) as error:
        message = str(error)
    except RuntimeError as error:  # an engine's way to say it
        if not re.search("allocate memory|out of memory", str(error)):
            raise
        message = ""
    message = message or "not enough memory"
    return Outcome(source, error=message if str(source) in message else f"{source}: {message}")


def size_of(width: int, height: int, length: int) -> str:
    """Size of a picture in words, ``length`` being that of its ``.dip`` file in bytes."""
    return f"{width} x {height}, {length:,} bytes, {8 * length / (width * height):.3f} bpp"


def say(text: str) -> None:
    """Print on stdout, with a question mark for what the terminal cannot show."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), flush=True)


def tell(text: str) -> None:
    print(f"diptych: {' '.join(text.split())}", file=sys.stderr)


def complain(error: object, code: int = 1) -> int:
    tell(f"error: {error}")
    return code
