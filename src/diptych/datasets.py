"""The commands that make labels: ``label`` and ``convert``."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diptych.console import say, tell
from diptych.extras import extra
from diptych.files import make_folder, refuse_existing

if TYPE_CHECKING:
    from diptych.data.cocofile import LabelWriter

Labels = Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The JSON file to write.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists already.")]
DEFAULT = Path("labels.json")


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
    output: Labels = DEFAULT,
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
      diptych label photos/ --task machine.yaml -o labels.json --min-score 0.7
      diptych train base recipe.yaml photos=photos/ labels=labels.json
    """
    if not 0 <= min_score <= 1:
        raise typer.BadParameter(f"a score is a number from 0 to 1, not {min_score:g}")
    refuse_existing(output, overwrite)
    with extra("train", "labelling"):
        from diptych.labelling import label as label_folder

        shipped = Path(str(resources.files("diptych") / "weights" / "task.safetensors"))
        made = label_folder(folder, task or shipped, output, min_score, overwrite)
    for problem in made.problems:
        tell(f"note: {problem}")
    say(f"wrote {output}: {made.photos:,} photos, {made.instances:,} instances")


convert = typer.Typer(help="Turn the labels of public data sets into COCO format, once, before training.")


@convert.command()
def cityscapes(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Holds leftImg8bit and gtFine.", show_default=False)],
    split: Annotated[str, typer.Option(metavar="train|val")] = "train",
    output: Labels = DEFAULT,
    overwrite: Overwrite = False,
) -> None:
    """Instances of the eight classes that the Cityscapes benchmark counts.

    The labels name photos relative to ROOT/leftImg8bit/SPLIT.

    \b
    [bold]Examples[/bold]
      diptych convert cityscapes cityscapes/ --split val -o cityscapes-val.json
    """
    refuse_existing(output, overwrite)
    with extra("train", "converting"):
        from diptych.data.cityscapes import convert as convert_cityscapes

    _write(*convert_cityscapes(root, split), output, overwrite)


@convert.command()
def openimages(
    photos: Annotated[Path, typer.Argument(metavar="PHOTOS", help="Folder of photos.", show_default=False)],
    classes: Annotated[
        Path,
        typer.Option(metavar="CSV", help="Classes; a shorter file selects.", show_default=False),
    ],
    boxes: Annotated[Path, typer.Option(metavar="CSV", help="Annotations of boxes.", show_default=False)],
    masks: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Annotations of masks.", show_default=False)
    ] = None,
    mask_files: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="PNG files of the masks.", show_default="where the CSV lies"),
    ] = None,
    output: Labels = DEFAULT,
    overwrite: Overwrite = False,
) -> None:
    """Boxes and masks of Open Images.

    \b
    [bold]Examples[/bold]
      diptych convert openimages photos/ --classes classes.csv --boxes boxes.csv
      diptych convert openimages photos/ --classes classes.csv --boxes boxes.csv --masks masks.csv
    """
    refuse_existing(output, overwrite)
    with extra("train", "converting"):
        from diptych.data.openimages import convert as convert_openimages

    _write(*convert_openimages(photos, classes, boxes, masks, mask_files), output, overwrite)


def _write(labels: LabelWriter, problems: list[str], output: Path, overwrite: bool) -> None:
    make_folder(output.parent)
    labels.write(output, overwrite)
    for problem in problems:
        tell(f"note: {problem}")
    say(f"wrote {output}: {labels.photos:,} photos, {labels.instances:,} instances")
