"""Work on many files: in this process, in several, in batches on a GPU, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import typer

from diptych.cli.console import Outcome, attempt, reporting, say, tell
from diptych.errors import DiptychError
from diptych.io.files import STANDARD, Job, Plan, existing, named, remove_stale
from diptych.io.places import Name

if TYPE_CHECKING:
    from diptych.codec.codec import Codec

_AT_ONCE = 3
"""Batches of a GPU that are read, coded and written at a time, so that it has work while others are on the disk."""


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


def carry_out(plan: Plan, work: Work, model: str | None, batch: Batch) -> None:
    """Do all jobs, or with ``resume`` those whose output is missing, and print what becomes of them."""
    jobs = plan.jobs
    piped = [job for job in jobs if job.target == STANDARD]
    _check(batch, jobs, bool(piped))
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


def _check(batch: Batch, jobs: Sequence[Job], piped: bool) -> None:
    """Refuse what cannot go together."""
    if batch.manifest and piped:
        raise typer.BadParameter("--manifest lists files, and standard output is none")
    if batch.resume and batch.overwrite:
        raise typer.BadParameter("--resume and --overwrite exclude each other")
    alone = "--cluster" if batch.cluster else f"--device {batch.device}" if batch.device != "cpu" else None
    if alone and batch.workers > 1:
        raise typer.BadParameter(f"{alone} and --jobs exclude each other")
    if batch.cluster and batch.device != "cpu":
        raise typer.BadParameter("--cluster and --device cuda exclude each other")
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
    listed, count = bool(batch.manifest), min(batch.workers, len(jobs))
    if batch.cluster:
        from diptych.cluster import on_cluster

        once = partial(done, work, listed, once=not batch.overwrite)
        on_cluster(jobs, once, partial(_lost, work, listed), model, batch.cluster, report)
    elif count > 1:
        from diptych.codec.processes import in_processes

        in_processes(jobs, partial(done, work, listed), model, count, report)
    else:
        from diptych.codec.codec import load

        codec = load(model, device=batch.device)
        if codec.transforms.engine.batch > 1:
            in_batches(jobs, work, listed, codec, report)
        else:
            for job in jobs:
                report(done(work, listed, codec, job))


def done(work: Work, listed: bool, codec: Codec, job: Job, once: bool = False) -> Outcome:
    """What becomes of a job.

    Args:
        listed: whether the outcome is to have its line of the manifest.
        once: whether it is done already if its output exists: a cluster tries again what a worker had finished that
            died before it could say so.
    """

    def steps() -> Outcome:
        if once and existing([job.target]):
            return Outcome(job.source, f"{job.source} -> {job.target}: done by a worker that died since")
        given = work.read(job)
        [made] = work.code(codec, [job], [given])
        return work.write(job, given, made)

    return _with_entry(work, listed, job, attempt(job.source, steps))


def in_batches(
    jobs: Sequence[Job], work: Work, listed: bool, codec: Codec, report: Callable[[Outcome], None]
) -> None:
    """Do jobs as many at a time as the codec's engine wants, reading and writing in threads beside it."""
    size = codec.transforms.engine.batch
    batches = [jobs[start : start + size] for start in range(0, len(jobs), size)]
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        for outcomes in pool.map(partial(_together, work, listed, codec), batches):
            for outcome in outcomes:
                report(outcome)
    finally:
        pool.shutdown(cancel_futures=True)


def _together(work: Work, listed: bool, codec: Codec, jobs: Sequence[Job]) -> list[Outcome]:
    """What becomes of jobs that are coded at once; one by one, if that is impossible."""
    with ThreadPoolExecutor() as pool:
        read = pool.map(lambda job: attempt(job.source, partial(work.read, job)), jobs)
        given = dict(zip(jobs, read, strict=True))
        failed = [_with_entry(work, listed, job, each) for job, each in given.items() if isinstance(each, Outcome)]
        given = {job: each for job, each in given.items() if not isinstance(each, Outcome)}
        try:
            made = work.code(codec, list(given), list(given.values())) if given else []
        except (DiptychError, MemoryError, RuntimeError):  # of one of them: it tells when it is alone
            return failed + [done(work, listed, codec, job) for job in given]

        def finish(job: Job, made: Any) -> Outcome:
            outcome = attempt(job.source, partial(work.write, job, given[job], made))
            return _with_entry(work, listed, job, outcome)

        return failed + list(pool.map(finish, given, made))


def _with_entry(work: Work, listed: bool, job: Job, outcome: Outcome) -> Outcome:
    if not listed:
        return outcome
    from diptych.cli.manifest import entry

    return outcome._replace(entry=entry(job, work.dip(job), outcome))


def _lost(work: Work, listed: bool, job: Job) -> Outcome:
    error = f"{job.source}: workers died of it, perhaps for want of memory"
    return _with_entry(work, listed, job, Outcome(job.source, error=error))
