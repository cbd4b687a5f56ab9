"""The command ``codecs``: whose files can be decoded here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from diptych.cli.console import say

if TYPE_CHECKING:
    from diptych.codec.registry import Known


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
    from diptych.codec.registry import folder, known

    for codec in known():
        say(_codec_facts(codec) if as_json else _codec_lines(codec))
    if not as_json:
        say(f"your folder: {folder()}")


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
