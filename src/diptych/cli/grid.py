"""The command ``grid``: is there a grid in a picture?"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from diptych.cli.console import each
from diptych.io.files import (
    find_files,
    make_folder,
)
from diptych.io.places import Name

if TYPE_CHECKING:
    pass
from diptych.cli.maps import maps_beside


def grid(
    photos: Annotated[
        list[str], typer.Argument(metavar="PHOTO", help="Photos, folders, globs.", show_default=False)
    ],
    stride: Annotated[
        int | None, typer.Option(metavar="2|4|8|16", help="Look for this grid only.", show_default="all")
    ] = None,
    heat: Annotated[
        str | None, typer.Option("--map", metavar="FILE|FOLDER", help="Write where the grid is, as a heat map.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace maps that exist already.")] = False,
) -> None:
    """Look for the grid that upsampling leaves in a picture, whoever made it.

    Two scores per stride, phase and spectral, beside the 95th percentile of photos.
    'grid' is what fewer than 1 photo in 100 scores.

    \b
    [bold]Examples[/bold]
      diptych grid decoded.png
      diptych grid outputs/ --stride 4 --json
      diptych grid decoded.png --map heat.png
    """
    from diptych.checkerboard.baseline import STRIDES
    from diptych.io.images import READS, picture_format

    if stride is not None and stride not in STRIDES:
        raise typer.BadParameter(f"a stride is 2, 4, 8 or 16, not {stride}")
    maps: dict[Name, Name] = {}
    if heat is not None:
        maps = maps_beside(photos, heat, READS, ".grid.png", overwrite)
        for target in maps.values():
            picture_format(target)
    strides = STRIDES if stride is None else (stride,)
    sources = find_files(photos, READS)
    each({path: partial(_grid, path, strides, maps.get(path), as_json, overwrite) for path in sources})


def _grid(path: Name, strides: tuple[int, ...], target: Name | None, as_json: bool, overwrite: bool) -> str:
    from diptych.checkerboard.detector import grid_map, measure
    from diptych.io.images import read_picture, write_picture

    picture = read_picture(path).image
    tiles, readings = measured = measure(picture, strides)
    if target is not None:
        make_folder(target.parent)
        write_picture(grid_map(picture, measured.worst.stride), target, overwrite)
    if as_json:
        rows = [reading._asdict() for reading in readings]
        return json.dumps({"file": str(path), "tiles": tiles, "verdict": measured.verdict, "strides": rows})
    lines = [f"{path}: {measured.verdict} ({tiles} tile{'s' * (tiles > 1)})"]
    lines += [
        f"  stride {stride:<3} phase {phase:9.2f} (photos {usual_phase:5.2f})   "
        f"spectral {spectral:5.2f} (photos {usual_spectral:.2f})   {verdict}"
        for stride, phase, spectral, usual_phase, usual_spectral, verdict in readings
    ]
    if target is not None:
        lines.append(f"  wrote {target}: stride {measured.worst.stride}")
    return "\n".join(lines)
