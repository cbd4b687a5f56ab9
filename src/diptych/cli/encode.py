"""The command ``encode``: photos to ``.dip`` files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from diptych.cli.console import Batch, Outcome, carry_out, size_of, tell
from diptych.cli.focus import Focus, FocusOn, focus_of
from diptych.cli.goals import Coded, Encode, Goal, KeepShare, MeasuredView, MetricTarget, Tasks, goal_of, reach
from diptych.cli.options import Cluster, Device, Jobs, ManifestFile, Model, Output, Overwrite, Quality, Resume
from diptych.codec.defaults import QUALITY
from diptych.codec.views import AUTO
from diptych.errors import extra
from diptych.io.files import Job, make_folder, plan_jobs, write_bytes
from diptych.io.places import Name

if TYPE_CHECKING:
    from PIL import Image

    from diptych.codec.codec import Codec, Refine
    from diptych.io.boxes import Box
    from diptych.io.images import Picture


def _checked_hint(value: str | None) -> str | None:
    if value not in (None, AUTO):
        raise typer.BadParameter(f"the view hint can only be '{AUTO}', not '{value}'")
    return value


def encode(
    context: typer.Context,
    photos: Annotated[
        list[str],
        typer.Argument(metavar="PHOTO", help="Photos, folders, globs; or - for stdin.", show_default=False),
    ],
    output: Output = None,
    quality: Quality = QUALITY,
    bpp: Annotated[
        float | None,
        typer.Option("--bpp", metavar="BITS", help="Bits per pixel to reach from below, instead of -q."),
    ] = None,
    target_size: Annotated[
        int | None,
        typer.Option("--target-size", metavar="BYTES", help="Bytes to reach from below, instead of -q."),
    ] = None,
    keep: KeepShare = None,
    task: Tasks = None,
    target: MetricTarget = None,
    view: MeasuredView = None,
    focus: FocusOn = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Decode each file and compare before it is put in place.")
    ] = False,
    optimize: Annotated[
        int,
        typer.Option(min=0, metavar="STEPS", help="Search for a file that serves the shipped task network better."),
    ] = 0,
    view_hint: Annotated[
        str | None,
        typer.Option(
            metavar=AUTO,
            callback=_checked_hint,
            help="Store the most human view in which the task network finds what it finds in the machine view.",
            show_default=False,
        ),
    ] = None,
    model: Model = None,
    overwrite: Overwrite = False,
    jobs: Jobs = 1,
    resume: Resume = False,
    manifest: ManifestFile = None,
    device: Device = "cpu",
    cluster: Cluster = None,
) -> None:
    """Turn photos into .dip files.

    EXIF orientation and colour profiles are applied.
    A note names what a .dip file cannot keep, such as transparency.

    \b
    [bold]Examples[/bold]
      diptych encode photo.jpg
      diptych encode photo.jpg -q 25 -o small.dip
      diptych encode photo.jpg --target-size 20000 --verify
      diptych encode photo.jpg --keep 0.95
      diptych encode photo.jpg --target ssimulacra2=60
      diptych encode photo.jpg --focus detections --bpp 0.2
      diptych encode camera/ --focus boxes.json -o compressed/
      diptych encode photo.jpg --optimize 30 --view-hint auto
      diptych encode 'holiday/**/*.jpg' scans/ -o compressed/
      diptych encode archive/ -o compressed/ --jobs all --manifest done.jsonl --resume
      diptych encode s3://photos/ -o s3://compressed/ --cluster auto --manifest s3://lists/done.jsonl --resume
    """
    from diptych.io.formats import READS, left_out

    _refuse_several(context, ("quality", "bpp", "target_size", "keep", "target"))
    if (bpp is not None and not 0 < bpp < math.inf) or (target_size is not None and target_size < 1):
        raise typer.BadParameter("a size is a number above 0")
    if optimize:
        with extra("train", "--optimize"):
            import diptych.tasks.latent_search  # noqa: F401
    goal, focus_on = goal_of(keep, task, target, view), focus_of(focus) if focus else None
    plan = plan_jobs(photos, output, READS, ".dip", overwrite or resume)
    if plan.left_out:
        others = left_out(plan.left_out)
        for sentence in others.others:
            tell(f"note: {sentence}")
        plan.refused.extend(others.pictures)
    work = Encoding(quality, bpp, target_size, goal, focus_on, verify, overwrite, view_hint is not None, optimize)
    carry_out(plan, work, model, Batch(jobs, overwrite, resume, manifest, device, cluster))


def _refuse_several(context: typer.Context, ways: Sequence[str]) -> None:
    """Refuse a command that chooses the quality in more than one way."""
    given = [way for way in ways if _was_given(context, way)]
    if len(given) > 1:
        first, second, *_ = (f"--{way.replace('_', '-')}" for way in given)
        raise typer.BadParameter(f"{first} and {second} exclude each other")


def _was_given(context: typer.Context, option: str) -> bool:
    source = context.get_parameter_source(option)
    return source is not None and source.name != "DEFAULT"


@dataclass(frozen=True)
class Encoding:
    """Turn a photo into a ``.dip`` file, of a quality (0..100), of bits per pixel or bytes at most, or for a goal.

    Attributes:
        focus: where the objects are, on which the bits are to be spent.
        hint: store as well how human a view the shipped task network does not notice.
        optimize: steps of search with the shipped task network; for a size, at the quality that fits it without,
            for a goal, in every coding.
    """

    quality: float
    bpp: float | None = None
    target_size: int | None = None
    goal: Goal | None = None
    focus: Focus | None = None
    verify: bool = False
    overwrite: bool = False
    hint: bool = False
    optimize: int = 0

    def read(self, job: Job) -> Picture:
        from diptych.io.images import read_picture

        return read_picture(job.source)

    def code(self, codec: Codec, jobs: Sequence[Job], inputs: Sequence[Picture]) -> list[Coded]:
        if len(inputs) > 1 and self == Encoding(self.quality, overwrite=self.overwrite):
            return [Coded(data) for data in codec.encode_many([picture.image for picture in inputs], self.quality)]
        return [self._coded(codec, job, picture.image) for job, picture in zip(jobs, inputs, strict=True)]

    def write(self, job: Job, given: Picture, made: Coded) -> Outcome:
        image, notes = given
        data, words, more, facts = made
        make_folder(job.target.parent)
        write_bytes(data, job.target, self.overwrite)
        line = f"{job.source} -> {job.target}: {size_of(image.width, image.height, len(data))}"
        return Outcome(job.source, f"{line}, {words}" if words else line, [*notes, *more], facts=facts)

    def _coded(self, codec: Codec, job: Job, image: Image.Image) -> Coded:
        boxes = self.focus.boxes(job.source, image) if self.focus else []
        coded = self._reached(codec, image, boxes)
        if boxes:
            told = f"focus on {len(boxes)} box{'es' * (len(boxes) > 1)}"
            coded = coded._replace(words=f"{told}, {coded.words}" if coded.words else told)
        elif self.focus:
            coded = coded._replace(notes=[*coded.notes, "there is nothing to focus on, so it is coded evenly"])
        return coded._replace(data=_hinted(codec, coded.data)) if self.hint else coded

    def _reached(self, codec: Codec, image: Image.Image, focus: Sequence[Box]) -> Coded:
        refine = _search(codec, self.optimize) if self.optimize else None

        def encode(quality: float, refine: Refine | None = None) -> bytes:
            return codec.encode(image, quality, self.verify, refine, focus)

        if self.goal:
            return reach(self.goal, codec, image, partial(encode, refine=refine))
        target = self.target_size if self.bpp is None else int(self.bpp * image.width * image.height / 8)
        if target is None:
            return Coded(encode(self.quality, refine))
        return _fitted(target, encode, partial(encode, refine=refine) if refine else None)

    def dip(self, job: Job) -> Name:
        return job.target


def _fitted(target: int, encode: Encode, optimized: Encode | None) -> Coded:
    """The file of at most ``target`` bytes."""
    from diptych.codec.rate_control import fit

    data, quality, close = fit(encode, target)
    notes = [] if close else [f"no quality comes within 2 % of {target:,} bytes"]
    if optimized:
        better = optimized(quality)
        if len(better) <= target:
            data = better
        else:
            notes.append("what the search found is above the target, so the file is as without it")
    return Coded(data, notes=notes)


def _hinted(codec: Codec, data: bytes) -> bytes:
    from diptych.tasks.detector import shipped_detector
    from diptych.tasks.view_hint import hinted

    return hinted(codec, data, shipped_detector())


def _search(codec: Codec, steps: int) -> Refine:
    from diptych.tasks import shipped_task
    from diptych.tasks.latent_search import Search

    return Search(codec, shipped_task(), steps)
