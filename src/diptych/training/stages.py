"""From a recipe file to a stage that the loop can run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from diptych.errors import RecipeError
from diptych.recipes import read_recipe
from diptych.training.loop import LoopSettings, Stage


def build(stage: str, recipe: Path, overrides: Sequence[str]) -> tuple[Stage, LoopSettings]:
    """Read ``recipe`` and make the stage it describes.

    Raises:
        RecipeError: if the recipe or its overrides are malformed, or name data that is missing.
    """
    makers: dict[str, Callable[[Path, Sequence[str]], tuple[Stage, LoopSettings]]] = {
        "task": _task,
        "pixel": _pixel,
        "base": _base,
        "human": _human,
    }
    try:
        return makers[stage](recipe, overrides)
    except FileNotFoundError as error:
        raise RecipeError(f"{recipe} names {error.filename}, which does not exist") from None


def _task(path: Path, overrides: Sequence[str]) -> tuple[Stage, LoopSettings]:
    from diptych.training.task import TaskRecipe, TaskStage

    recipe = read_recipe(path, TaskRecipe, overrides)
    return TaskStage(recipe), recipe.loop


def _pixel(path: Path, overrides: Sequence[str]) -> tuple[Stage, LoopSettings]:
    from diptych.training.pixel import PixelRecipe, PixelStage

    recipe = read_recipe(path, PixelRecipe, overrides)
    return PixelStage(recipe), recipe.loop


def _base(path: Path, overrides: Sequence[str]) -> tuple[Stage, LoopSettings]:
    from diptych.training.base import BaseRecipe, BaseStage

    recipe = read_recipe(path, BaseRecipe, overrides)
    return BaseStage(recipe), recipe.loop


def _human(path: Path, overrides: Sequence[str]) -> tuple[Stage, LoopSettings]:
    from diptych.training.human import HumanRecipe, HumanStage

    recipe = read_recipe(path, HumanRecipe, overrides)
    return HumanStage(recipe), recipe.loop
