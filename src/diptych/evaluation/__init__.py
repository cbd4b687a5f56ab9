"""Evidence: real files of a codec and its anchors, measured for people and for machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def run(recipe: Path, overrides: Sequence[str] = ()) -> Path:
    """Evaluate by ``recipe``, print a table and write the results.

    Args:
        recipe: YAML file, see :class:`diptych.evaluation.evaluate.Evaluation`.
        overrides: ``key=value`` strings that replace entries of the recipe (``limit=20``).

    Returns:
        The results file.

    Raises:
        DiptychError: if the recipe, the photos or the weights cannot be used, or the extra ``eval`` is not
            installed.
    """
    from diptych.errors import DiptychError

    try:
        from diptych.evaluation import evaluate
    except ModuleNotFoundError as error:
        raise DiptychError(f"evaluation needs '{error.name}': pip install 'diptych[eval]'") from None
    return evaluate.run(recipe, overrides)
