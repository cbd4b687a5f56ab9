"""The command ``train``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from diptych.cli.console import say
from diptych.cli.options import Recipe, Settings

if TYPE_CHECKING:
    pass


def train(
    stage: Annotated[Literal["task", "pixel", "base", "human"], typer.Argument(metavar="task|pixel|base|human")],
    recipe: Recipe,
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew where a checkpoint or weights are there already.")
    ] = False,
) -> None:
    """Train a task network (task), a codec (pixel), one for task networks (base) or the human view (human).

    \b
    [bold]Examples[/bold]
      diptych train pixel recipes/pixel.yaml
      diptych train pixel recipes/pixel.yaml --resume
      diptych train human recipes/human.yaml loop.steps=2000
    """
    from diptych.training import run

    if resume and overwrite:
        raise typer.BadParameter("--resume and --overwrite exclude each other")
    say(f"wrote {run(stage, recipe, settings or [], resume, overwrite)}")
