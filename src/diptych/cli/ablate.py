"""The command ``ablate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diptych.cli.console import say


def ablate(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file.", show_default=False)],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings that replace those of the recipe.", show_default=False),
    ] = None,
) -> None:
    """Compare ways to make a person's picture from one file: train each, measure all on the same bytes.

    Rows that are trained or measured already are not done again, so a run that was stopped goes on.

    \b
    [bold]Examples[/bold]
      diptych ablate recipes/ablation.yaml
      diptych ablate recipes/ablation.yaml evaluation.limit=50 'evaluation.qualities=[20]'
    """
    from diptych.errors import extra

    with extra("train,eval", "an ablation"):
        from diptych.evaluation.ablation import run

        say(f"wrote {run(recipe, settings or [])}")
