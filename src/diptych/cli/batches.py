"""Work on many files in batches on a GPU; reading and writing go on in threads beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from diptych.cli.console import JobRunner, Outcome, attempt
from diptych.errors import DiptychError
from diptych.io.files import Job

if TYPE_CHECKING:
    from diptych.codec.codec import Codec

_AT_ONCE = 3
"""Batches that are read, coded and written at a time, so that the GPU has work while others are on the disk."""


def in_batches(
    jobs: Sequence[Job], runner: JobRunner, codec: Codec, size: int, report: Callable[[Outcome], None]
) -> None:
    """Do ``size`` jobs at a time, or with 1 as many as the codec's engine wants, and report what comes of each."""
    size = size if size > 1 else codec.transforms.engine.batch
    batches = [jobs[start : start + size] for start in range(0, len(jobs), size)]
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        for outcomes in pool.map(partial(_together, runner, codec), batches):
            for outcome in outcomes:
                report(outcome)
    finally:
        pool.shutdown(cancel_futures=True)


def _together(runner: JobRunner, codec: Codec, jobs: Sequence[Job]) -> list[Outcome]:
    """What becomes of jobs that are coded at once; one by one, if that is impossible."""
    work = runner.work
    with ThreadPoolExecutor() as pool:
        read = list(pool.map(lambda job: attempt(job.source, partial(work.read, job)), jobs))
        failed = {job: each for job, each in zip(jobs, read, strict=True) if isinstance(each, Outcome)}
        given = {job: each for job, each in zip(jobs, read, strict=True) if job not in failed}
        outcomes = [runner.with_entry(job, outcome) for job, outcome in failed.items()]
        try:
            made = work.code(codec, list(given), list(given.values())) if given else []
        except (DiptychError, MemoryError, RuntimeError):  # of one of them: it tells when it is alone
            return outcomes + [runner(codec, job) for job in given]

        def finish(job: Job, made: object) -> Outcome:
            return runner.outcome(job, partial(work.write, job, given[job], made))

        return outcomes + list(pool.map(finish, given, made))
