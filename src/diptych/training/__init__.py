"""Training: one loop, four stages, each a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

STAGES = ("task", "pixel", "base", "human")


def run(
    stage: str, recipe: Path, overrides: Sequence[str] = (), resume: bool = False, overwrite: bool = False
) -> Path:
    """Train ``stage`` by ``recipe``.

    Args:
        stage: one of :data:`STAGES`.
        recipe: YAML file.
        overrides: ``key=value`` strings that replace entries of the recipe (``loop.steps=100``).
        resume: continue from the last checkpoint in the recipe's output folder.
        overwrite: begin anew where a checkpoint or weights are there already.

    Returns:
        The exported weights file.

    Raises:
        RecipeError: if stage, recipe or overrides cannot be used.
        DiptychError: if the extra ``train`` is not installed.
    """
    from diptych.errors import RecipeError, extra

    if stage not in STAGES:
        raise RecipeError(f"there is no training stage '{stage}'; choose one of {', '.join(STAGES)}")
    with extra("train", "training"):
        from diptych.training.loop import train
        from diptych.training.stages import build

        built, settings = build(stage, recipe, overrides)
        return train(built, settings, resume=resume, overwrite=overwrite)
