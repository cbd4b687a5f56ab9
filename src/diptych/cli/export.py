"""The command ``export``: encoder and view as ONNX."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from diptych.cli.console import say
from diptych.cli.options import Model, Overwrite
from diptych.errors import DiptychError


def _checked_view(value: str) -> str:
    from diptych.codec.views import dial

    try:
        dial(value)
    except DiptychError as error:
        raise typer.BadParameter(str(error)) from None
    return value


def _checked_size(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"\d{1,8}x\d{1,8}", value):
        raise typer.BadParameter(f"a size is WIDTHxHEIGHT in pixels, such as 768x512, not '{value}'")
    return value


def export(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where to write.")] = Path(
        "diptych-export"
    ),
    view: Annotated[
        str, typer.Option(metavar="machine|human|0..1", callback=_checked_view, help="Which view to write.")
    ] = "human",
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WIDTHxHEIGHT", callback=_checked_size, help="Of the pictures, in pixels.", show_default="any"
        ),
    ] = None,
    precision: Annotated[
        Literal["float32", "float16"],
        typer.Option(metavar="float32|float16", help="Of the convolutions and their weights."),
    ] = "float32",
    model: Model = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the encoder and a view as ONNX, for cameras, phones, browsers.

    The quality is an input of both graphs.
    The entropy coder is none of theirs: docs/export.md shows the lines of Python around them.

    \b
    [bold]Examples[/bold]
      diptych export -o edge/
      diptych export -o camera/ --view machine --size 768x512 --precision float16
    """
    import diptych
    from diptych.export import export as write

    width, _, height = (size or "").partition("x")
    sides = (int(width), int(height)) if size else None
    for path in write(diptych.load(model), output, view, sides, precision == "float16", overwrite):
        say(f"wrote {path}")
