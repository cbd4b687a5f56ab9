"""From a recipe file to a stage that the loop can run."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from diptych.errors import RecipeError
from diptych.io.recipes import read_recipe
from diptych.training.stage import LoopSettings, Stage


def build(stage: str, recipe: Path, overrides: Sequence[str]) -> tuple[Stage, LoopSettings]:
    """Read ``recipe`` and make the stage it describes.

    The stage ``pixel`` is ``PixelStage`` with a ``PixelRecipe``, both in ``diptych.training.pixel``; so are the
    others named, and only the module that is needed is imported.

    Raises:
        RecipeError: if the recipe or its overrides are malformed, or name data that is missing.
    """
    module = import_module(f"diptych.training.{stage}")
    name = stage.capitalize()
    settings: Any = read_recipe(recipe, getattr(module, f"{name}Recipe"), overrides)
    try:
        return getattr(module, f"{name}Stage")(settings), settings.loop
    except FileNotFoundError as error:
        raise RecipeError(f"{recipe} names {error.filename}, which does not exist") from None
