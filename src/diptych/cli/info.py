"""The command ``info``: what is in a file, and what a codec costs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

import diptych
from diptych.cli.console import each, say
from diptych.io.files import (
    find_files,
    read_bytes,
)
from diptych.io.places import Name

if TYPE_CHECKING:
    pass


def info(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help=".dip files, folders, globs.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    model: Annotated[
        bool, typer.Option("--model", help="Describe a codec instead: FILE, or the one in the package.")
    ] = False,
    difference: Annotated[
        bool, typer.Option("--difference", help="Decode as well, and tell where the views differ most.")
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
    more = difference_facts() if difference else None
    each({path: partial(described, path, as_json, more) for path in find_files(files, {".dip"})})


def difference_facts() -> Callable[[bytes], Mapping[str, Any]]:
    """What ``info --difference`` adds to the facts of a file: a function of its bytes."""
    import diptych
    from diptych.codec.view_difference import difference_map, facts

    codec = diptych.load()
    return lambda data: facts(difference_map(codec, data))


def described(path: Name, as_json: bool, more: Callable[[bytes], Mapping[str, Any]] | None = None) -> str:
    """What is in a ``.dip`` file, and what ``more`` finds in its bytes."""
    from diptych.bitstream import unpack
    from diptych.codec import registry

    data = read_bytes(path)
    header, payloads = unpack(data)
    sections = [len(payload) for payload in payloads]
    found = registry.find(header.model_id)
    absent = None if as_json else f"not here: put its .safetensors file into {registry.folder()}"
    facts = {
        "file": str(path),
        "width": header.width,
        "height": header.height,
        "bytes": len(data),
        "bpp": 8 * len(data) / (header.width * header.height),
        "quality": header.quality,
        "model_id": header.model_id.hex(),
        "codec": str(found.path) if found else absent,
        "tile_side": header.tile,
        "view_hint": header.hint,
        "payload_bytes": sections,
        "overhead_bytes": len(data) - sum(sections),
        "checksums": "match",
    }
    return facts_of({**facts, **(more(data) if more else {})}, as_json)


def facts_of(facts: Mapping[str, Any], as_json: bool) -> str:
    if as_json:
        return json.dumps(facts)
    width = max(map(len, facts)) + 2
    return "\n".join(f"{name:{width}}{_shown(value)}" for name, value in facts.items())


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
