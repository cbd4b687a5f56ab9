"""Evidence: real files of a codec and its anchors, measured for people and for task networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from diptych.io.recipes import read_recipe


class _Kind(BaseModel):
    """What tells a recipe for many task networks from others; the rest is checked by whom it is for."""

    tasks: dict[str, Any] = {}


def run(recipe: Path, overrides: Sequence[str] = ()) -> Path:
    """Evaluate by ``recipe``, print a table and write the results.

    Args:
        recipe: YAML file of an :class:`~diptych.evaluation.runner.Evaluation`, or, if it names several
            ``tasks``, of a :class:`~diptych.evaluation.transfer.TransferRecipe`.
        overrides: ``key=value`` strings that replace entries of the recipe (``limit=20``).

    Returns:
        The results file.

    Raises:
        DiptychError: if the recipe, the photos or the weights cannot be used, or the extra ``eval`` is not
            installed.
    """
    from diptych.errors import extra

    with extra("eval", "evaluation"):
        if read_recipe(recipe, _Kind, overrides).tasks:
            from diptych.evaluation import transfer

            return transfer.run(recipe, overrides)
        from diptych.evaluation import evaluate

        return evaluate.run(recipe, overrides)
