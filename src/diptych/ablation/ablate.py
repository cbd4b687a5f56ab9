"""An ablation from recipe to tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diptych.ablation.decoders import Source
from diptych.ablation.recipe import Ablation
from diptych.ablation.training import TrainedRow
from diptych.codec import load
from diptych.recipes import read_recipe


def run(recipe: Path, overrides: Sequence[str] = ()) -> list[Path]:
    """See :func:`diptych.ablation.run`."""
    settings = read_recipe(recipe, Ablation, overrides)
    trained = {row.name: TrainedRow(settings, row) for row in settings.rows if row.train is not None}
    todo = [row for row in trained.values() if not row.finished]
    _check(settings, todo)
    for number, row in enumerate(todo, start=1):
        print(f"row {number} of {len(todo)} to train: {row.row.name}", flush=True)
        row.train()
    return []


def _check(settings: Ablation, todo: Sequence[TrainedRow]) -> None:
    """Everything that can be wrong with a row, before hours are spent on another."""
    base = load(settings.codec)
    for row in settings.rows:
        if row.train is None:
            Source(row, row.view or row.decoder).load(base)
    for trained in todo:
        trained.check()
