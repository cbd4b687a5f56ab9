"""Evidence: real files of codecs and anchors, measured for people and for task networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def run(recipe: Path, overrides: Sequence[str] = (), cluster: str | None = None) -> Path:
    """Evaluate by ``recipe``, print the tables, write the results and draw the curves.

    Args:
        recipe: YAML file of an :class:`~diptych.evaluation.recipe.Evaluation`.
        overrides: ``key=value`` strings that replace entries of the recipe (``limit=20``).
        cluster: address of a Ray cluster that does the work.

    Returns:
        The results file.

    Raises:
        DiptychError: if the recipe, the photos, the weights or an anchor cannot be used, or the extra ``eval`` is
            not installed.
    """
    from diptych.errors import extra
    from diptych.io.recipes import read_recipe

    with extra("eval", "evaluation"):
        from diptych.evaluation.harness import evaluate
        from diptych.evaluation.recipe import Evaluation

        settings = read_recipe(recipe, Evaluation, overrides)
        evaluate(settings, ["diptych evaluate", str(recipe), *overrides], cluster=cluster)
        return settings.out
