"""The command ``label``: a detector's labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diptych.cli.console import say, tell
from diptych.cli.options import Labels, Overwrite
from diptych.codec.defaults import TASK
from diptych.errors import extra
from diptych.io.files import refuse_existing


def label(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Photos.", show_default=False)],
    task: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Your detector: .safetensors, or .yaml that describes it.",
            show_default="the one in the package",
        ),
    ] = None,
    output: Labels = Path("labels.json"),
    min_score: Annotated[
        float, typer.Option(metavar="0..1", help="Leave out what the detector is less sure of.")
    ] = 0.5,
    overwrite: Overwrite = False,
) -> None:
    """Label photos by a detector, so that a codec can be trained for it without other labels.

    The labels are in COCO format. Photos that cannot be read are named and left out.
    Run again, an interrupted command goes on where it stopped.

    \b
    [bold]Examples[/bold]
      diptych label photos/
      diptych label photos/ --task detector.yaml -o labels.json --min-score 0.7
      diptych train base recipe.yaml photos=photos/ labels=labels.json
    """
    if not 0 <= min_score <= 1:
        raise typer.BadParameter(f"a score is a number from 0 to 1, not {min_score:g}")
    refuse_existing(output, overwrite)
    with extra("train", "labelling"):
        from diptych.tasks.pseudo_labels import label as label_folder

        made = label_folder(folder, task or TASK, output, min_score, overwrite)
    for problem in made.problems:
        tell(f"note: {problem}")
    say(f"wrote {output}: {made.photos:,} photos, {made.instances:,} instances")
