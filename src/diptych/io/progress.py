"""How far an evaluation has come: a bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

EVERY = 60.0
"""Seconds between lines."""


@contextmanager
def progress(total: int, every: float = EVERY) -> Iterator[Callable[[], None]]:
    """A function to call after each of ``total`` photos; writes to stderr.

    Args:
        every: seconds between lines where stderr is no terminal.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(total, every)
        return
    columns = (
        TextColumn("evaluating"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, speed_estimate_period=600) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


def _lines(total: int, every: float) -> Callable[[], None]:
    start = said = time.monotonic()
    done = 0

    def advance() -> None:
        nonlocal said, done
        done += 1
        now = time.monotonic()
        if now - said >= every or done == total:
            said = now
            left = (now - start) / done * (total - done)
            print(f"evaluated {done} of {total} photos, {_span(left)} left", file=sys.stderr, flush=True)

    return advance


def _span(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"
