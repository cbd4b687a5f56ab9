"""The command ``page``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diptych.cli.console import say


def page(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where to write.", show_default=False)
    ],
    models: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            metavar="FILE",
            help="A codec's .safetensors file whose files it decodes; can be given several times.",
            show_default="those in the package",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist already.")] = False,
) -> None:
    """Write a folder of static files that decodes .dip files in a browser.

    Drop a file, move the dial between the two views, download a PNG: nothing leaves the page.
    Any web server will do, no program of this package runs behind it.
    Pages of your own can use the element <dip-image> of the same folder (docs/browser.md).

    \b
    [bold]Examples[/bold]
      diptych page -o viewer/
      diptych page -o viewer/ --model mine.safetensors --overwrite
      python -m http.server --directory viewer/
    """
    from diptych.page import INDEX, write

    files = write(output, models or [], overwrite)
    size = sum((output / file).stat().st_size for file in files)
    say(f"wrote {output / INDEX} and what it needs, {size / 1e6:.1f} MB")
    say(f"run 'python -m http.server --directory {output}' and open http://localhost:8000 in a browser")
