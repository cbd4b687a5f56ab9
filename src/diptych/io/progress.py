"""How far long work has come: a bar on a terminal, lines or nothing elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[..., None]
"""To be called after each piece of the work; what it is given, if anything, stands beside the bar from then on."""


@contextmanager
def progress(total: int, what: str, done: int = 0, every: float | None = None) -> Iterator[Advance]:
    """Show on stderr how far work has come; on a terminal by a bar that goes when the block ends.

    Args:
        total: pieces of the work, of which ``done`` are done.
        what: they are, in a word or two.
        every: seconds between lines where stderr is no terminal; None says nothing there.
    """
    if not sys.stderr.isatty():
        yield (lambda note="": None) if every is None else _lines(total, what, done, every)
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.3g}/s" if task.speed else "")

    start, end = Progress.get_default_columns()[:2], TextColumn("{task.fields[note]}")
    columns = (*start, MofNCompleteColumn(), Rate(), TimeRemainingColumn(), end)
    show, both = Console(stderr=True), sys.stdout.isatty()
    with Progress(*columns, console=show, transient=True, redirect_stdout=both, speed_estimate_period=600) as bar:
        task = bar.add_task(what, total=total, completed=done, note="")
        yield lambda note="": bar.update(task, advance=1, **({"note": note} if note else {}))


def _lines(total: int, what: str, done: int, every: float) -> Advance:
    before, start = done, time.monotonic()
    said = start

    def advance(note: str = "") -> None:
        nonlocal said, done
        done += 1
        now = time.monotonic()
        if now - said >= every or done == total:
            said = now
            pace = (now - start) / (done - before)
            rate = f"{1 / pace:.3g}/s, " if pace else ""
            line = f"{what}: {done} of {total}, {rate}{_span(pace * (total - done))} left"
            print(f"{line}  {note}".rstrip(), file=sys.stderr, flush=True)

    return advance


def _span(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"
