"""What the commands have in common: output, errors, progress over many files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import typer

from diptych.cli.batch import Outcome, Work, attempt, run
from diptych.io.files import STANDARD, Plan, remove_stale


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
        with _progress(total) as advance:

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

        run(todo, work, model, batch.workers, listed)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on a terminal's stderr, if there is more than one file to wait for."""
    if total < 2 or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.3g} files/s" if task.speed else "")

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as progress:
        bar = progress.add_task("", total=total)
        yield lambda: progress.advance(bar)


def say(text: str) -> None:
    """Print on stdout, with a question mark for what the terminal cannot show."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), flush=True)


def tell(text: str) -> None:
    print(f"diptych: {' '.join(text.split())}", file=sys.stderr)


def complain(error: object, code: int = 1) -> int:
    tell(f"error: {error}")
    return code
