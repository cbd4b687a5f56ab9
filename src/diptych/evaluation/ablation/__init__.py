"""Table 1 of the paper, and the rows it leaves out, in one command.

::

    recipe -> rows -> training -> one decoder per row
    photo -> .dip of the base codec -> latents -> a picture per row -> metrics, detections
    all rows, paired over photos -> results.json, tables, figures
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def run(recipe: Path, overrides: Sequence[str] = ()) -> list[Path]:
    """Train and measure every row of ``recipe``, print the tables and write the results.

    What is trained, or measured, already is kept: the command may be killed and repeated at any time.

    Args:
        recipe: YAML file, see :class:`diptych.evaluation.ablation.recipe.Ablation`.
        overrides: ``key=value`` strings that replace entries of the recipe (``evaluation.limit=20``).

    Returns:
        The results file, then the tables in Markdown and the figures.

    Raises:
        DiptychError: if the recipe, a row, the photos or a file cannot be used (before anything is trained), or
            the extras ``train`` and ``eval`` are not installed.
    """
    from diptych.errors import extra

    with extra("train,eval", "an ablation"):
        from diptych.evaluation.ablation.ablate import run as ablate

        return ablate(recipe, overrides)
