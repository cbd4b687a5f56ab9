"""The commands ``grid`` and ``lint`` for anybody's pictures and networks, ``codecs``, and maps of views."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diptych.console import each, say
from diptych.errors import DiptychError
from diptych.files import STANDARD, Job, find_files, make_folder, plan_jobs

if TYPE_CHECKING:
    from diptych.codecs import Known
    from diptych.lint import Finding


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
    from diptych.evaluation.natural import STRIDES
    from diptych.images import READS, picture_format

    if stride is not None and stride not in STRIDES:
        raise typer.BadParameter(f"a stride is 2, 4, 8 or 16, not {stride}")
    maps: dict[Path, Path] = {}
    if heat is not None:
        maps = _maps(photos, heat, READS, ".grid.png", overwrite)
        for target in maps.values():
            picture_format(target)
    strides = STRIDES if stride is None else (stride,)
    sources = find_files(photos, READS)
    each({path: partial(_grid, path, strides, maps.get(path), as_json, overwrite) for path in sources})


def lint(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A .safetensors or .onnx file.", show_default=False)
    ],
    layers: Annotated[
        list[str] | None,
        typer.Option(
            "--layer",
            metavar="NAME:KIND:STRIDE",
            help="A layer that upsamples; KIND is transposed or subpixel.",
            show_default=False,
        ),
    ] = None,
    view: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Check a Diptych codec with this view's layers.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Tell from a network's weights alone whether its upsamplers make a grid.

    The phases of an upsampler must have equal DC gain, or flat areas get a grid.
    Uneven phases: -1.2 dB is what random weights have at stride 2, -48 dB is too little to be seen.

    \b
    [bold]Examples[/bold]
      diptych lint generator.safetensors
      diptych lint superres.onnx --json
      diptych lint other.safetensors --layer decoder.3:transposed:2
    """
    from diptych.lint import Hint, lint

    findings = lint(model, [Hint.parse(text) for text in layers or []], view)
    flat = _flat_grid(model, view) if all(finding.known_by == "codec" for finding in findings) else {}
    if as_json:
        rows = [{**finding._asdict(), "even": finding.even} for finding in findings]
        say(json.dumps({"file": str(model), "layers": [_without_infinity(row) for row in rows], "flat_grid": flat}))
    else:
        say(_lint_table(findings, flat))


def codecs(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """List the codecs that files can be decoded with: those of the package and those in your folder.

    A file names its codec by an id, which 'diptych info' shows.
    To decode files of another codec, put NAME.safetensors, and NAME.human.safetensors for its human view, into the
    folder that the last line names (DIPTYCH_CODECS names another).
    The first of the list encodes; encode --model takes any of the files.

    \b
    [bold]Examples[/bold]
      diptych codecs
      diptych codecs --json
      DIPTYCH_CODECS=archive/codecs diptych decode archive/old.dip
    """
    from diptych.codecs import folder, known

    for codec in known():
        say(_codec_facts(codec) if as_json else _codec_lines(codec))
    if not as_json:
        say(f"your folder: {folder()}")


def plan_maps(files: list[str], output: str, jobs: Sequence[Job], overwrite: bool) -> dict[Path, Path]:
    """Where ``decode --map`` writes, by ``.dip`` file.

    Raises:
        DiptychError: as :func:`plan_jobs`, or if a map would take the place of a picture.
    """
    from diptych.images import picture_format

    pictures = {os.path.realpath(job.target) for job in jobs}
    maps = _maps(files, output, {".dip"}, ".map.png", overwrite)
    for target in maps.values():
        picture_format(target)
        if os.path.realpath(target) in pictures:
            raise DiptychError(f"{target} would be a picture and its map at once; choose another name for --map")
    return maps


def _maps(inputs: list[str], output: str, reads: Collection[str], suffix: str, overwrite: bool) -> dict[Path, Path]:
    plan = plan_jobs(inputs, output, reads, suffix, overwrite)
    if plan.refused:
        raise DiptychError(plan.refused[0])
    if any(job.target == STANDARD for job in plan.jobs):
        raise DiptychError("a map cannot go to standard output; name a file for --map")
    return {job.source: job.target for job in plan.jobs}


def invention_facts() -> Callable[[bytes], Mapping[str, Any]]:
    """What ``info --invention`` adds to the facts of a file: a function of its bytes."""
    import diptych
    from diptych.invention import facts, invention_map

    codec = diptych.load()
    return lambda data: facts(invention_map(codec, data))


def _codec_facts(codec: Known) -> str:
    facts = {
        "model_id": codec.model_id.hex() or None,
        "name": codec.name,
        "file": str(codec.path),
        "where": "package" if codec.in_package else "folder",
        "purpose": codec.purpose,
        "human_view": codec.human is not None,
        "problem": codec.problem,
    }
    return json.dumps(facts)


def _codec_lines(codec: Known) -> str:
    lines = [f"{codec.model_id.hex() or 'unusable'}  {codec.name}", str(codec.path)]
    if codec.model_id:
        lines += [f"purpose: {codec.purpose}", f"human view: {'yes' if codec.human else 'no'}"]
    if codec.problem:
        lines.append(f"problem: {codec.problem}")
    return "\n          ".join(lines)


def _grid(path: Path, strides: tuple[int, ...], target: Path | None, as_json: bool, overwrite: bool) -> str:
    from diptych.evaluation.meter import grid_map, measure
    from diptych.images import read_picture, write_picture

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


def _flat_grid(model: Path, view: Path | None) -> dict[str, float]:
    import diptych
    from diptych.lint.flat import flat_grid

    return {name: round(value, 3) for name, value in flat_grid(diptych.load(model, view)).items()}


def _lint_table(findings: list[Finding], flat: dict[str, float]) -> str:
    width = max(len(finding.layer) for finding in findings) + 2
    lines = [
        f"{finding.layer:{width}}{finding.kind:11} {_sides(finding.kernel):>7} by {_sides(finding.stride):5}"
        f"{finding.kernel_db:8.1f} dB  {'even' if finding.even else 'uneven'}"
        + (f", biases {finding.bias_db:.1f} dB" if finding.bias_db is not None else "")
        + (f"  [{finding.known_by}]" if finding.known_by != "codec" else "")
        for finding in findings
    ]
    lines += [
        f"a flat picture gets a grid of {value:.2f} levels in the {name} view" for name, value in flat.items()
    ]
    uneven = sum(not finding.even for finding in findings)
    return "\n".join([*lines, f"{uneven or 'none'} of {len(findings)} upsamplers uneven"])


def _sides(sides: tuple[int, ...]) -> str:
    return "x".join(map(str, sides))


def _without_infinity(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: equal phases have no share in dB."""
    return {key: None if value == float("-inf") else value for key, value in row.items()}
