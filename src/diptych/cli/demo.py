"""The command ``demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import diptych
from diptych.cli.console import say, tell
from diptych.cli.options import Model, Overwrite, Quality
from diptych.codec.defaults import QUALITY


def demo(
    photo: Annotated[
        Path | None,
        typer.Argument(metavar="PHOTO", help="Your photo.", show_default="a cat that ships with the package"),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where to write.")] = Path(
        "diptych-demo"
    ),
    quality: Quality = QUALITY,
    model: Model = None,
    overwrite: Overwrite = False,
) -> None:
    """Show everything on one photo: the .dip file, both views, what the task network sees, a report.

    \b
    [bold]Examples[/bold]
      diptych demo
      diptych demo photo.jpg -q 10 -o mine/
    """
    from diptych.report.demo import run
    from diptych.tasks.detector import shipped_detector

    result = run(photo, output, quality, diptych.load(model), shipped_detector(), model, overwrite)
    for note in result.notes:
        tell(f"note: {note}")
    for path in result.files:
        say(f"wrote {path}")
    say(f"open {result.files[-1]} in a browser")
