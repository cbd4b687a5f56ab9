"""What the commands have in common: output, errors, progress over many files."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import typer

from diptych.errors import DiptychError
from diptych.io.places import Name

if TYPE_CHECKING:
    from diptych.io.progress import Advance

Found = TypeVar("Found")
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
        entry: its line of the manifest, if there is one to write.
    """

    source: Name
    line: str = ""
    notes: Sequence[str] = ()
    error: str | None = None
    facts: Facts | None = None
    entry: Mapping[str, Any] | None = None


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
