"""The command ``compare``: how far pictures are from a photo, by the metrics of people."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diptych.cli.console import each
from diptych.errors import DiptychError, extra

if TYPE_CHECKING:
    from PIL.Image import Image

METRICS = (
    *("psnr", "ssim", "ms_ssim", "psnr_hvs", "ssimulacra2", "cvvdp", "vmaf"),
    *("lpips", "butteraugli", "dists", "vgg"),
)


def compare(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="The original.", show_default=False)],
    others: Annotated[
        list[Path], typer.Argument(metavar="OTHER", help="Pictures of the same size.", show_default=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Tell how far pictures are from a photo, whoever coded them, by the metrics that people are measured with.

    PSNR and PSNR-HVS (dB), SSIM, MS-SSIM, SSIMULACRA 2.1, CVVDP and VMAF are higher where the picture is better;
    LPIPS, Butteraugli's 3-norm, DISTS and the distance of VGG's features lower. Some need more than the extra
    "eval", and say so: Butteraugli a tool, those that look through VGG a network that is fetched once.

    \b
    [bold]Examples[/bold]
      diptych compare photo.png decoded.png
      diptych compare photo.jpg photo-human.png photo.avif photo.webp --json
    """
    with extra("eval", "compare"):
        import diptych.evaluation.measurements  # noqa: F401
    each({other: partial(_compared, photo, other, as_json) for other in others})


def _compared(photo: Path, other: Path, as_json: bool) -> str:
    from diptych.io.images import read_picture

    ours, theirs = (read_picture(path).image for path in (photo, other))
    if ours.size != theirs.size:
        raise DiptychError(
            f"{other}: {theirs.width} x {theirs.height}, and {photo} is {ours.width} x {ours.height}"
        )
    scores, missing = _scores(ours, theirs)
    if as_json:
        finite = {
            name: value if value != math.inf else None for name, value in scores.items()
        }  # JSON has no infinity
        return json.dumps({"photo": str(photo), "file": str(other), **finite, "missing": missing})
    told = {
        name: "the picture is too small" if value is None else f"{value:9.4f}" for name, value in scores.items()
    }
    lines = [f"  {name:12} {value}" for name, value in (told | missing).items()]
    return "\n".join([f"{other}:", *lines])


def _scores(photo: Image, decoded: Image) -> tuple[dict[str, float | None], dict[str, str]]:
    """Scores by metric, None where pictures are too small, and what could not be computed, and why."""
    from diptych.evaluation.measurements import AGAINST_PHOTO

    scores: dict[str, float | None] = {}
    missing: dict[str, str] = {}
    for name in METRICS:
        try:
            value = AGAINST_PHOTO[name](photo, decoded)
        except DiptychError as error:
            missing[name] = str(error)
        else:
            scores[name] = None if math.isnan(value) else value
    return scores, missing
