"""The commands ``convert``: others' labels in COCO format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diptych.cli.console import say, tell
from diptych.cli.options import Labels, Overwrite
from diptych.errors import extra
from diptych.io.files import make_folder, refuse_existing

if TYPE_CHECKING:
    from diptych.data.coco_format import LabelWriter

convert = typer.Typer(help="Turn the labels of public data sets into COCO format, once, before training.")


@convert.command()
def cityscapes(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Holds leftImg8bit and gtFine.", show_default=False)],
    split: Annotated[str, typer.Option(metavar="train|val")] = "train",
    output: Labels = Path("labels.json"),
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
    output: Labels = Path("labels.json"),
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
