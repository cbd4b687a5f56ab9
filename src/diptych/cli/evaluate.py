"""The command ``evaluate``."""

from __future__ import annotations

from diptych.cli.console import say
from diptych.cli.options import Recipe, Settings


def evaluate(recipe: Recipe, settings: Settings = None) -> None:
    """Measure codecs on real files, for people and task networks, beside JPEG, WebP, AVIF, HEIC, JPEG XL and VVC.

    Photos that are done are kept, so a run that was stopped goes on.

    \b
    [bold]Examples[/bold]
      diptych evaluate recipes/eval-kodak.yaml
      diptych evaluate recipes/eval-voc.yaml limit=100
    """
    from diptych.evaluation import run

    say(f"wrote {run(recipe, settings or [])}")
