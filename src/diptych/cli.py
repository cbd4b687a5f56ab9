"""The command ``diptych``: parse, call, print.

Errors are one line on stderr and exit code 1, or 2 where the command itself is wrong; 130 after Ctrl-C (see
``docs/exit-codes.md``). Torch is imported only where the extra ``train`` is needed.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer
from typer.core import TyperGroup

import diptych
from diptych import datasets, tools
from diptych.ablation.command import ablate
from diptych.batch import AUTO, Decoding, Encoding
from diptych.console import Batch, carry_out, complain, described, each, facts_of, say, tell
from diptych.errors import DiptychError
from diptych.export.command import export
from diptych.extras import extra
from diptych.files import find_files, plan_jobs
from diptych.report.command import report
from diptych.serve.command import serve

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
        except OSError as error:  # of the terminal, the pipe or the disk behind stdout: files name themselves
            code = complain(error.strerror or error)
        if standalone_mode:
            sys.exit(code)
        return code


app = typer.Typer(
    name="diptych",
    cls=_Commands,
    help="One small file, two views: an image codec for machines whose pictures a person can look at.",
    epilog="Exit codes: 0 done, 1 something failed, 2 the command is wrong, 130 interrupted.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _checked_quality(value: float) -> float:
    if not 0 <= value <= 100:
        raise typer.BadParameter(f"the quality is a number from 0 to 100, not {value:g}")
    return value


def _checked_view(value: str) -> str:
    from diptych.views import dial, is_view_file

    try:
        if value != AUTO and not is_view_file(value):
            dial(value)
    except DiptychError as error:
        raise typer.BadParameter(str(error)) from None
    return value


def _checked_hint(value: str | None) -> str | None:
    if value not in (None, AUTO):
        raise typer.BadParameter(f"the view hint can only be '{AUTO}', not '{value}'")
    return value


def _checked_region(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"\d+,\d+,\d+,\d+", value):
        raise typer.BadParameter(f"a region is X,Y,W,H in pixels, not '{value}'")
    return value


def _workers(value: str | int) -> int:
    text = str(value)  # the default comes as the number it is
    if text in ("all", "0"):
        from diptych.workers import cores

        return cores()
    if not re.fullmatch(r"\d+", text):
        raise typer.BadParameter(f"'{text}' is neither a number nor 'all'")
    return int(text)


Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE|FOLDER",
        help="Where to write; - is stdout.",
        show_default="beside the input",
    ),
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
Jobs = Annotated[
    int,
    typer.Option("-j", "--jobs", metavar="N|all", parser=_workers, help="Files to work on at once, in processes."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Keep files that exist already, write the missing ones.")]
ManifestFile = Annotated[
    Path | None,
    typer.Option(
        "--manifest",
        metavar="FILE.jsonl|FILE.csv",
        help="List what was made of which file: bytes, size, quality, SHA-256.",
        show_default=False,
    ),
]
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
        list[str],
        typer.Argument(metavar="PHOTO", help="Photos, folders, globs; or - for stdin.", show_default=False),
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
    optimize: Annotated[
        int,
        typer.Option(min=0, metavar="STEPS", help="Search for a file that serves the shipped machine better."),
    ] = 0,
    view_hint: Annotated[
        str | None,
        typer.Option(
            metavar=AUTO,
            callback=_checked_hint,
            help="Store the most human view in which the shipped machine detects the same as in its own.",
            show_default=False,
        ),
    ] = None,
    model: Model = None,
    overwrite: Overwrite = False,
    jobs: Jobs = 1,
    resume: Resume = False,
    manifest: ManifestFile = None,
) -> None:
    """Turn photos into .dip files.

    EXIF orientation and colour profiles are applied.
    A note names what a .dip file cannot keep, such as transparency.

    \b
    [bold]Examples[/bold]
      diptych encode photo.jpg
      diptych encode photo.jpg -q 25 -o small.dip
      diptych encode photo.jpg --target-size 20000 --verify
      diptych encode photo.jpg --optimize 30 --view-hint auto
      diptych encode 'holiday/**/*.jpg' scans/ -o compressed/
      diptych encode archive/ -o compressed/ --jobs all --manifest done.jsonl --resume
    """
    from diptych.formats import READS, left_out

    if bpp is not None and target_size is not None:
        raise typer.BadParameter("--bpp and --target-size exclude each other")
    if (bpp is not None and not 0 < bpp < math.inf) or (target_size is not None and target_size < 1):
        raise typer.BadParameter("a size is a number above 0")
    if optimize:
        with extra("train", "--optimize"):
            import diptych.search  # noqa: F401
    plan = plan_jobs(photos, output, READS, ".dip", overwrite or resume)
    others = left_out(plan.left_out)
    for sentence in others.others:
        tell(f"note: {sentence}")
    plan.refused.extend(others.pictures)
    work = Encoding(quality, bpp, target_size, verify, overwrite, hint=view_hint is not None, optimize=optimize)
    carry_out(plan, work, model, Batch(jobs, overwrite, resume, manifest))


@app.command()
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
    ] = "human",
    region: Annotated[
        str | None,
        typer.Option(metavar="X,Y,W,H", callback=_checked_region, help="Decode only this part, in pixels."),
    ] = None,
    heat: Annotated[
        str | None,
        typer.Option("--map", metavar="FILE|FOLDER", help="Also write where the two views differ, as a heat map."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Decode with this codec alone.", show_default="the one a file names"),
    ] = None,
    overwrite: Overwrite = False,
    jobs: Jobs = 1,
    resume: Resume = False,
    manifest: ManifestFile = None,
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
      diptych decode old.dip --view newer-human.safetensors --map old-invented.png
    """
    from diptych.images import picture_format

    plan = plan_jobs(files, output, {".dip"}, ".png", overwrite or resume)
    for job in plan.jobs:
        picture_format(job.target)
    part = cast(Region | None, tuple(map(int, region.split(","))) if region else None)
    if heat is not None and resume:
        raise typer.BadParameter("--map and --resume exclude each other")
    maps = tools.plan_maps(files, heat, plan.jobs, overwrite) if heat is not None else {}
    carry_out(plan, Decoding(view, part, overwrite, maps), model, Batch(jobs, overwrite, resume, manifest))


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
    invention: Annotated[
        bool, typer.Option("--invention", help="Decode as well, and tell where the views differ most.")
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
    more = tools.invention_facts() if invention else None
    each({path: partial(described, path, as_json, more) for path in find_files(files, {".dip"})})


@app.command()
def train(
    stage: Annotated[Literal["task", "pixel", "base", "human"], typer.Argument(metavar="task|pixel|base|human")],
    recipe: Recipe,
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew where a checkpoint or weights are there already.")
    ] = False,
) -> None:
    """Train the machine (task), a codec (pixel), the codec for the machine (base) or the human view (human).

    \b
    [bold]Examples[/bold]
      diptych train pixel recipes/pixel.yaml
      diptych train pixel recipes/pixel.yaml --resume
      diptych train human recipes/human.yaml loop.steps=2000
    """
    from diptych.training import run

    if resume and overwrite:
        raise typer.BadParameter("--resume and --overwrite exclude each other")
    say(f"wrote {run(stage, recipe, settings or [], resume, overwrite)}")


@app.command()
def evaluate(recipe: Recipe, settings: Settings = None) -> None:
    """Measure a codec on real files, beside JPEG, WebP, AVIF, HEIC, JPEG XL and VVC.

    \b
    [bold]Examples[/bold]
      diptych evaluate recipes/eval-kodak.yaml
      diptych evaluate recipes/eval-voc.yaml limit=100
    """
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
    from diptych.demo import run
    from diptych.tasks.detector import shipped_detector

    result = run(photo, output, quality, diptych.load(model), shipped_detector(), overwrite)
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


app.command()(tools.grid)
app.command()(tools.lint)
app.command()(tools.codecs)
app.command()(export)
app.command()(ablate)
app.command()(report)
app.command()(datasets.label)
app.command()(serve)
app.add_typer(datasets.convert, name="convert")
