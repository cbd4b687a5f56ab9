"""Options that several commands share, and what they accept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer


def _checked_quality(value: float) -> float:
    if not 0 <= value <= 100:
        raise typer.BadParameter(f"the quality is a number from 0 to 100, not {value:g}")
    return value


def _workers(value: str | int) -> int:
    text = str(value)  # the default comes as the number it is
    if text in ("all", "0"):
        from diptych.codec.processes import cores

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
    typer.Option(
        "-j",
        "--jobs",
        metavar="N|all",
        parser=_workers,
        help="Files to work on at once, in processes; on a GPU, in a batch.",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Keep files that exist already, write the missing ones.")]
ManifestFile = Annotated[
    str | None,
    typer.Option(
        "--manifest",
        metavar="FILE.jsonl|FILE.csv",
        help="List what was made of which file: bytes, size, quality, SHA-256.",
        show_default=False,
    ),
]
Device = Annotated[
    str, typer.Option(metavar="cpu|cuda", help="Where to compute; on a GPU, in batches of one size and quality.")
]
Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="auto|ADDRESS",
        help="Have a Ray cluster do it: the one of this machine, or of an address such as ray://head:10001.",
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings that replace those of the recipe.", show_default=False),
]
Recipe = Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file.", show_default=False)]
Labels = Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The JSON file to write.")]
