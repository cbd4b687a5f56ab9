"""The command ``report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diptych.cli.console import say, tell
from diptych.cli.options import Model, Overwrite, Quality
from diptych.codec.defaults import QUALITY
from diptych.io.files import find_files


def report(
    results: Annotated[
        list[str], typer.Argument(metavar="RESULTS", help="Results files, folders, globs.", show_default=False)
    ],
    photos: Annotated[
        list[Path] | None,
        typer.Option(
            "--photo",
            metavar="PHOTO",
            help="A photo to show; can be given several times.",
            show_default="a cat that ships with the package",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The page to write.")] = Path(
        "report.html"
    ),
    quality: Quality = QUALITY,
    model: Model = None,
    overwrite: Overwrite = False,
) -> None:
    """Put results and example photos into one HTML file that needs nothing beside it.

    Curves (with matplotlib) and tables with intervals, and the commands and versions behind them.
    Each photo as original, both views, JPEG and AVIF of the same bytes under a slider.
    What the task network sees in each, where the views differ, and where the grid is.

    \b
    [bold]Examples[/bold]
      diptych report results/*.json
      diptych report results/eval-voc.json --photo street.jpg --photo dog.jpg -q 30 -o street.html
    """
    import diptych
    from diptych.report.make import run
    from diptych.tasks.detector import shipped_detector

    sources = find_files(results, {".json"})
    made = run(sources, photos or [], output, diptych.load(model), shipped_detector(), quality, model, overwrite)
    for note in made.notes:
        tell(f"note: {note}")
    say(f"wrote {made.path}")
    say(f"open {made.path} in a browser")
