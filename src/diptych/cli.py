"""The command ``diptych``: parse, call, print.

Errors are one line on stderr and exit code 1, or 2 where the command itself is wrong; 130 after Ctrl-C. Torch
is imported only by the commands that run a network.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

import diptych
from diptych.console import complain, described, each, extra, facts_of, say, size_of, tell
from diptych.errors import DiptychError
from diptych.files import Job, find_files, make_folder, plan_jobs, read_bytes, write_bytes

Region = tuple[int, int, int, int]


class _Commands(TyperGroup):
    """Commands whose errors are one line each."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except DiptychError as error:
            code = complain(error)
        except typer.TyperException as error:
            code = complain(error.format_message(), error.exit_code)
        if standalone_mode:
            sys.exit(code)
        return code


app = typer.Typer(
    name="diptych",
    cls=_Commands,
    help="One small file, two views: an image codec for machines whose pictures a person can look at.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _checked_quality(value: float) -> float:
    if not 0 <= value <= 100:
        raise typer.BadParameter(f"the quality is a number from 0 to 100, not {value:g}")
    return value


def _checked_view(value: str) -> str:
    from diptych.views import dial

    try:
        dial(value)
    except DiptychError as error:
        raise typer.BadParameter(str(error)) from None
    return value


def _checked_region(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"\d+,\d+,\d+,\d+", value):
        raise typer.BadParameter(f"a region is X,Y,W,H in pixels, not '{value}'")
    return value


Output = Annotated[
    str | None,
    typer.Option("-o", "--output", metavar="FILE|FOLDER", help="Where to write.", show_default="beside the input"),
]
Quality = Annotated[
    float,
    typer.Option(
        "-q", "--quality", metavar="0..100", callback=_checked_quality, help="Higher is larger and better."
    ),
]
Model = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="A codec's .safetensors file.", show_default="the one in the package"),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist already.")]
Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings that replace those of the recipe.", show_default=False),
]
Recipe = Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file.", show_default=False)]


@app.callback()
def main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        say(f"diptych {diptych.__version__}")
    elif context.invoked_subcommand is None:
        say(context.get_help())


@app.command()
def encode(
    photos: Annotated[
        list[str], typer.Argument(metavar="PHOTO", help="Photos, folders, globs.", show_default=False)
    ],
    output: Output = None,
    quality: Quality = 40,
    bpp: Annotated[
        float | None,
        typer.Option("--bpp", metavar="BITS", help="Bits per pixel to reach from below, instead of -q."),
    ] = None,
    target_size: Annotated[
        int | None,
        typer.Option("--target-size", metavar="BYTES", help="Bytes to reach from below, instead of -q."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Decode each file and compare before it is put in place.")
    ] = False,
    model: Model = None,
    overwrite: Overwrite = False,
) -> None:
    """Turn photos into .dip files.

    EXIF orientation and colour profiles are applied.
    A note names what a .dip file cannot keep, such as transparency.

    \b
    [bold]Examples[/bold]
      diptych encode photo.jpg
      diptych encode photo.jpg -q 25 -o small.dip
      diptych encode photo.jpg --target-size 20000 --verify
      diptych encode 'holiday/**/*.jpg' scans/ -o compressed/
    """
    from diptych.images import READS, read_picture
    from diptych.ratecontrol import fit

    if bpp is not None and target_size is not None:
        raise typer.BadParameter("--bpp and --target-size exclude each other")
    if (bpp is not None and not bpp > 0) or (target_size is not None and target_size < 1):
        raise typer.BadParameter("a size is a number above 0")
    jobs = plan_jobs(photos, output, READS, ".dip", overwrite)
    codec = diptych.load(model)

    def work(job: Job) -> str:
        image, notes = read_picture(job.source)
        target = target_size if bpp is None else int(bpp * image.width * image.height / 8)
        if target is None:
            data = codec.encode(image, quality, verify)
        else:
            fitted = fit(lambda q: codec.encode(image, q, verify), target)
            data = fitted.data
            if not fitted.reached:
                tell(f"note: {job.source}: no quality comes within 2 % of {target:,} bytes")
        make_folder(job.target.parent)
        write_bytes(data, job.target, overwrite)
        for note in notes:
            tell(f"note: {job.source}: {note}")
        return f"{job.source} -> {job.target}: {size_of(image.width, image.height, len(data))}"

    each({job.source: partial(work, job) for job in jobs})


@app.command()
def decode(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help=".dip files, folders, globs.", show_default=False)
    ],
    output: Output = None,
    view: Annotated[
        str,
        typer.Option(
            metavar="machine|human|0..1", callback=_checked_view, help="Which view, or a blend of the two."
        ),
    ] = "human",
    region: Annotated[
        str | None,
        typer.Option(metavar="X,Y,W,H", callback=_checked_region, help="Decode only this part, in pixels."),
    ] = None,
    model: Model = None,
    overwrite: Overwrite = False,
) -> None:
    """Turn .dip files into pictures, in the view for people or the one for machines.

    The suffix of the output names the format; the default is PNG.

    \b
    [bold]Examples[/bold]
      diptych decode photo.dip
      diptych decode photo.dip --view machine -o seen.webp
      diptych decode compressed/ -o pictures/ --view 0.5
      diptych decode map.dip --region 4096,2048,800,600 -o part.png
    """
    from diptych.images import picture_format, write_picture

    jobs = plan_jobs(files, output, {".dip"}, ".png", overwrite)
    for job in jobs:
        picture_format(job.target)
    part = cast(Region | None, tuple(map(int, region.split(","))) if region else None)
    codec = diptych.load(model)

    def work(job: Job) -> str:
        data = read_bytes(job.source)
        image = codec.decode(data, view, part)
        make_folder(job.target.parent)
        write_picture(image, job.target, overwrite)
        return f"{job.source} -> {job.target}: view {view}, {size_of(image.width, image.height, len(data))}"

    each({job.source: partial(work, job) for job in jobs})


@app.command()
def info(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help=".dip files, folders, globs.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    model: Annotated[
        bool, typer.Option("--model", help="Describe a codec instead: FILE, or the one in the package.")
    ] = False,
) -> None:
    """Show what is in a .dip file, all checksums checked, or what a codec costs.

    \b
    [bold]Examples[/bold]
      diptych info photo.dip
      diptych info *.dip --json
      diptych info --model
    """
    if model:
        for path in files or [""]:
            codec = diptych.load(path or None)
            say(facts_of({"model_id": codec.model_id.hex(), **codec.complexity()}, as_json))
        return
    if not files:
        raise typer.BadParameter("name a .dip file, or use --model")
    each({path: partial(described, path, as_json) for path in find_files(files, {".dip"})})


@app.command()
def train(
    stage: Annotated[str, typer.Argument(metavar="task|pixel|base|human", show_default=False)],
    recipe: Recipe,
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.")] = False,
) -> None:
    """Train the machine (task), a codec (pixel), the codec for the machine (base) or the human view (human).

    \b
    [bold]Examples[/bold]
      diptych train pixel recipes/pixel.yaml
      diptych train pixel recipes/pixel.yaml --resume
      diptych train human recipes/human.yaml loop.steps=2000
    """
    with extra("train"):
        from diptych.training import run

        say(f"wrote {run(stage, recipe, settings or [], resume)}")


@app.command()
def evaluate(recipe: Recipe, settings: Settings = None) -> None:
    """Measure a codec on real files, beside JPEG and WebP.

    \b
    [bold]Examples[/bold]
      diptych evaluate recipes/eval-kodak.yaml
      diptych evaluate recipes/eval-voc.yaml limit=100
    """
    with extra("eval"):
        from diptych.evaluation import run

        say(f"wrote {run(recipe, settings or [])}")


@app.command()
def demo(
    photo: Annotated[
        Path | None,
        typer.Argument(metavar="PHOTO", help="Your photo.", show_default="a cat that ships with the package"),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where to write.")] = Path(
        "diptych-demo"
    ),
    quality: Quality = 20,
    model: Model = None,
    overwrite: Overwrite = False,
) -> None:
    """Show everything on one photo: the .dip file, both views, what the machine sees, a report.

    \b
    [bold]Examples[/bold]
      diptych demo
      diptych demo photo.jpg -q 10 -o mine/
    """
    from diptych.demo import run, shipped_machine

    result = run(photo, output, quality, diptych.load(model), shipped_machine(), overwrite)
    for note in result.notes:
        tell(f"note: {note}")
    for path in result.files:
        say(f"wrote {path}")
    say(f"open {result.files[-1]} in a browser")


@app.command()
def selftest() -> None:
    """Check that this machine reads and writes files as the one on which the codec was made.

    Files in the package are decoded and compared with what was encoded, with one thread and with many.

    \b
    [bold]Examples[/bold]
      diptych selftest
    """
    from diptych.selftest import environment, run

    codec = diptych.load()
    checks = []
    for check in run(codec):
        say(str(check))
        checks.append(check)
    failed = sum(check.problem is not None for check in checks)
    say(environment(codec))
    say(f"{len(checks) - failed} of {len(checks)} checks passed")
    if failed:
        raise typer.Exit(complain("this machine does not decode as it should: please report the lines above"))
