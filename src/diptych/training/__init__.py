"""Training: one loop, four stages, each a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.errors import RecipeError, extra

if TYPE_CHECKING:
    from diptych.training.stage import LoopSettings, Stage

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
    if stage not in STAGES:
        raise RecipeError(f"there is no training stage '{stage}'; choose one of {', '.join(STAGES)}")
    with extra("train", "training"):
        from diptych.training.loop import train

        built, settings = build(stage, recipe, overrides)
        return train(built, settings, resume=resume, overwrite=overwrite)


def build(stage: str, recipe: Path, overrides: Sequence[str]) -> tuple[Stage, LoopSettings]:
    """Read ``recipe`` and make the stage it describes.

    The stage ``pixel`` is ``PixelStage`` with a ``PixelRecipe``, both in ``diptych.training.pixel``; so are the
    others named, and only the module that is needed is imported.

    Raises:
        RecipeError: if the recipe or its overrides are malformed, or name data that is missing.
    """
    from diptych.io.recipes import read_recipe

    module = import_module(f"diptych.training.{stage}")
    name = stage.capitalize()
    settings: Any = read_recipe(recipe, getattr(module, f"{name}Recipe"), overrides)
    try:
        return getattr(module, f"{name}Stage")(settings), settings.loop
    except FileNotFoundError as error:
        raise RecipeError(f"{recipe} names {error.filename}, which does not exist") from None
