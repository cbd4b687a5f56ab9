"""The command ``decode``: ``.dip`` files to pictures, and maps of where their views differ."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, cast

import typer

from diptych.cli.console import Batch, Outcome, carry_out, size_of
from diptych.cli.maps import maps_beside
from diptych.cli.options import Cluster, Device, Jobs, ManifestFile, Output, Overwrite, Resume
from diptych.codec.defaults import VIEW
from diptych.codec.views import AUTO
from diptych.errors import DiptychError
from diptych.io.files import Job, make_folder, plan_jobs, read_bytes
from diptych.io.places import Name

if TYPE_CHECKING:
    from PIL import Image

    from diptych.codec.codec import Codec

Region = tuple[int, int, int, int]


def _checked_view(value: str) -> str:
    from diptych.codec.views import dial, is_view_file

    try:
        if value != AUTO and not is_view_file(value):
            dial(value)
    except DiptychError as error:
        raise typer.BadParameter(str(error)) from None
    return value


def _checked_region(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"\d+,\d+,\d+,\d+", value):
        raise typer.BadParameter(f"a region is X,Y,W,H in pixels, not '{value}'")
    return value


def decode(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help=".dip files, folders, globs; or - for stdin.", show_default=False),
    ],
    output: Output = None,
    view: Annotated[
        str,
        typer.Option(
            metavar="machine|human|0..1|auto|FILE",
            callback=_checked_view,
            help="Which view, a blend of the two, what the file hints at, or a view file.",
        ),
    ] = VIEW,
    region: Annotated[
        str | None,
        typer.Option(metavar="X,Y,W,H", callback=_checked_region, help="Decode only this part, in pixels."),
    ] = None,
    heat: Annotated[
        str | None,
        typer.Option("--map", metavar="FILE|FOLDER", help="Also write where the two views differ, as a heat map."),
    ] = None,
    salvage: Annotated[
        bool,
        typer.Option("--salvage", help="Of a damaged file, show the tiles that are whole and hatch the others."),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Decode with this codec alone.", show_default="the one a file names"),
    ] = None,
    overwrite: Overwrite = False,
    jobs: Jobs = 1,
    resume: Resume = False,
    manifest: ManifestFile = None,
    device: Device = "cpu",
    cluster: Cluster = None,
) -> None:
    """Turn .dip files into pictures, in the view for people or the one for machines.

    The suffix of the output names the format; the default is PNG.

    \b
    [bold]Examples[/bold]
      diptych decode photo.dip
      diptych decode photo.dip --view machine -o seen.webp
      diptych decode compressed/ -o pictures/ --view 0.5
      diptych decode hinted.dip --view auto
      diptych decode map.dip --region 4096,2048,800,600 -o part.png
      diptych decode damaged.dip --salvage
      diptych decode old.dip --view newer-human.safetensors --map old-invented.png
    """
    from diptych.io.images import picture_format

    plan = plan_jobs(files, output, {".dip"}, ".png", overwrite or resume)
    for job in plan.jobs:
        picture_format(job.target)
    part = cast(Region | None, tuple(map(int, region.split(","))) if region else None)
    again = "--resume" if resume else "--cluster" if cluster else None  # leave what is there
    alone = "--map" if heat is not None else "--salvage" if salvage else None
    if again and alone:
        raise typer.BadParameter(f"{alone} and {again} exclude each other")
    maps = plan_maps(files, heat, plan.jobs, overwrite) if heat is not None else {}
    work = Decoding(view, part, overwrite, maps, salvage)
    carry_out(plan, work, model, Batch(jobs, overwrite, resume, manifest, device, cluster))


class Decoded(NamedTuple):
    """What is shown of a file.

    Attributes:
        view: that was asked for.
        pictures: by view; those of a heat map among them.
        notes: on the choice of the view.
        error: what they lack.
    """

    view: str | float
    pictures: Mapping[str | float, Image.Image]
    notes: Sequence[str] = ()
    error: str | None = None


@dataclass(frozen=True)
class Decoding:
    """Turn a ``.dip`` file into a picture: a view, and of it all or a region (x, y, width, height).

    Attributes:
        view: as :meth:`Codec.decode` takes it; or a view file, whose human view is meant; or ``auto``, the file's
            hint, the human view where there is none.
        maps: by ``.dip`` file, where to write how far the human view is from the machine view.
        salvage: write what is whole of a damaged file, which is then an error nevertheless.
    """

    view: str
    region: tuple[int, int, int, int] | None = None
    overwrite: bool = False
    maps: Mapping[Name, Name] = field(default_factory=dict)
    salvage: bool = False

    def read(self, job: Job) -> bytes:
        return read_bytes(job.source)

    def code(self, codec: Codec, jobs: Sequence[Job], inputs: Sequence[bytes]) -> list[Decoded]:
        from diptych.codec.views import is_view_file

        plain = not (self.region or self.maps or self.salvage or self.view == AUTO or is_view_file(self.view))
        if len(inputs) > 1 and plain:
            return [Decoded(self.view, {self.view: image}) for image in codec.decode_many(inputs, self.view)]
        return [self._decoded(codec, data, job.source in self.maps) for job, data in zip(jobs, inputs, strict=True)]

    def write(self, job: Job, given: bytes, made: Decoded) -> Outcome:
        from diptych.bitstream import read_header
        from diptych.io.images import write_picture

        view, shown, notes, error = made
        heat, image = self.maps.get(job.source), shown[view]
        lines = [self._map(shown["machine"], shown["human"], heat)] if heat else []
        make_folder(job.target.parent)
        write_picture(image, job.target, self.overwrite)
        name = f"{self.view} ({view:.2g})" if isinstance(view, float) else self.view
        header = read_header(given)
        size = size_of(header.width, header.height, len(given))
        part = f"{image.width} x {image.height} of " if self.region else ""
        line = f"{job.source} -> {job.target}: view {name}, {part}{size}"
        return Outcome(job.source, "\n".join([line, *lines]), notes, error and f"{job.source}: {error}")

    def _decoded(self, codec: Codec, data: bytes, both: bool) -> Decoded:
        codec, view, notes = _viewed(codec, self.view, data)
        views = list(dict.fromkeys([view, "machine", "human"] if both else [view]))
        pictures, error = self._shown(codec, data, views)
        return Decoded(view, dict(zip(views, pictures, strict=True)), notes, error)

    def _shown(
        self, codec: Codec, data: bytes, views: Sequence[str | float]
    ) -> tuple[list[Image.Image], str | None]:
        """The views, and what they lack."""
        if not self.salvage:
            return codec.decode_views(data, views, self.region), None
        from diptych.codec.salvage import salvage

        saved = salvage(codec, data, views, self.region)
        if not saved.lost:
            return saved.pictures, saved.problem
        places = " ".join(",".join(map(str, rectangle)) for rectangle in saved.lost)
        return saved.pictures, f"{len(saved.lost)} of {saved.tiles} tiles lost: {places}"

    def _map(self, machine: Image.Image, human: Image.Image, target: Name) -> str:
        from diptych.codec.view_difference import as_picture, difference, in_words
        from diptych.io.images import write_picture

        levels = difference(machine, human)
        make_folder(target.parent)
        write_picture(as_picture(levels), target, self.overwrite)
        return f"  {target}: {in_words(levels)}"

    def dip(self, job: Job) -> Name:
        return job.source


def _viewed(codec: Codec, view: str, data: bytes) -> tuple[Codec, str | float, list[str]]:
    """The codec with the view that is meant for the file ``data``, the view, and notes on the choice."""
    from diptych.bitstream import read_header
    from diptych.codec.views import is_view_file

    if is_view_file(view):
        return _with_view(codec.for_file(data), view), "human", []
    if view != AUTO:
        return codec, view, []
    hint = read_header(data).hint
    if hint is None:
        return codec, "human", ["it has no view hint, so this is the human view"]
    return codec, hint, []


@cache
def _with_view(codec: Codec, view: str) -> Codec:
    from diptych.codec.weights import load_view

    return codec.with_view(load_view(Path(view), codec.frozen))


def plan_maps(files: list[str], output: str, jobs: Sequence[Job], overwrite: bool) -> dict[Name, Name]:
    """Where ``decode --map`` writes, by ``.dip`` file.

    Raises:
        DiptychError: as :func:`plan_jobs`, or if a map would take the place of a picture.
    """
    from diptych.io.images import picture_format

    pictures = {os.path.realpath(job.target) for job in jobs}
    maps = maps_beside(files, output, {".dip"}, ".map.png", overwrite)
    for target in maps.values():
        picture_format(target)
        if os.path.realpath(target) in pictures:
            raise DiptychError(f"{target} would be a picture and its map at once; choose another name for --map")
    return maps
