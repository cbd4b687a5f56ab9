"""The command ``lint``: will a network leave a grid?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import diptych
from diptych.cli.console import say

if TYPE_CHECKING:
    from diptych.checkerboard import Finding


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
      diptych lint superres.onnx --json
      diptych lint other.safetensors --layer decoder.3:transposed:2
    """
    from diptych.checkerboard import Hint, lint

    findings = lint(model, [Hint.parse(text) for text in layers or []], view)
    flat = _flat_grid(model, view) if all(finding.known_by == "codec" for finding in findings) else {}
    if as_json:
        rows = [{**finding._asdict(), "even": finding.even} for finding in findings]
        say(json.dumps({"file": str(model), "layers": [_without_infinity(row) for row in rows], "flat_grid": flat}))
    else:
        say(_lint_table(findings, flat))


def _flat_grid(model: Path, view: Path | None) -> dict[str, float]:
    from diptych.checkerboard.flat_picture import flat_grid

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
