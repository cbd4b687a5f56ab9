"""The command ``evaluate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diptych.cli.console import say
from diptych.cli.options import Recipe, Settings

if TYPE_CHECKING:
    pass


def evaluate(recipe: Recipe, settings: Settings = None) -> None:
    """Measure a codec on real files, beside JPEG, WebP, AVIF, HEIC, JPEG XL and VVC.

    \b
    [bold]Examples[/bold]
      diptych evaluate recipes/eval-kodak.yaml
      diptych evaluate recipes/eval-voc.yaml limit=100
    """
    from diptych.evaluation import run

    say(f"wrote {run(recipe, settings or [])}")
