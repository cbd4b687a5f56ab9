"""The command ``evaluate``."""

from __future__ import annotations

from diptych.cli.console import say
from diptych.cli.options import Cluster, Recipe, Settings


def evaluate(recipe: Recipe, settings: Settings = None, cluster: Cluster = None) -> None:
    """Measure codecs on real files, for people and task networks, beside JPEG, WebP, AVIF, HEIC, JPEG XL and VVC.

    Photos that are done are kept, so a run that was stopped goes on. The nodes of a cluster need the recipe's files
    under the same names, as on a shared disk.

    \b
    [bold]Examples[/bold]
      diptych evaluate recipes/eval-kodak.yaml
      diptych evaluate recipes/eval-voc.yaml limit=100
      diptych evaluate recipes/eval-voc.yaml --cluster ray://head:10001
    """
    from diptych.evaluation import run

    say(f"wrote {run(recipe, settings or [], cluster)}")
