"""What the commands have in common: output, errors, progress over many files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from diptych.errors import DiptychError
from diptych.files import read_bytes


def each(tasks: Mapping[Path, Callable[[], str]]) -> None:
    """Run one task per file and print its line; go on after failures, and name them at the end."""
    failures = []
    with _progress(len(tasks)) as advance:
        for source, task in tasks.items():
            try:
                say(task())
            except (DiptychError, MemoryError) as error:
                message = str(error) or "not enough memory"
                failures.append(message if str(source) in message else f"{source}: {message}")
            advance()
    for failure in failures:
        complain(failure)
    if failures:
        if len(tasks) > 1:
            complain(f"{len(failures)} of {len(tasks)} files failed")
        raise typer.Exit(1)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on a terminal's stderr, if there is more than one file to wait for."""
    if total < 2 or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as progress:
        bar = progress.add_task("", total=total)
        yield lambda: progress.advance(bar)


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Say which extra is to be installed when one of its packages is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "diptych"):
            raise
        raise DiptychError(f"this needs the package '{package}': pip install 'diptych[{name}]'") from None


def described(path: Path, as_json: bool) -> str:
    from diptych.bitstream import unpack

    data = read_bytes(path)
    header, payloads = unpack(data)
    sections = [len(payload) for payload in payloads]
    facts = {
        "file": str(path),
        "width": header.width,
        "height": header.height,
        "bytes": len(data),
        "bpp": 8 * len(data) / (header.width * header.height),
        "quality": header.quality,
        "model_id": header.model_id.hex(),
        "tile_side": header.tile,
        "payload_bytes": sections,
        "overhead_bytes": len(data) - sum(sections),
        "checksums": "match",
    }
    return facts_of(facts, as_json)


def facts_of(facts: Mapping[str, Any], as_json: bool) -> str:
    if as_json:
        return json.dumps(facts)
    width = max(map(len, facts)) + 2
    return "\n".join(f"{name:{width}}{_shown(value)}" for name, value in facts.items())


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def size_of(width: int, height: int, length: int) -> str:
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
