"""The command ``serve``."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated

import typer

from diptych.cli.console import say, tell
from diptych.errors import extra
from diptych.serve.limits import MEBIBYTE, Limits

_LIMITS = Limits()


def serve(
    folder: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="Pictures to list on the page.", show_default=False)
    ] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="0 takes a free one.")] = 8377,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", envvar="DIPTYCH_TOKEN", help="What requests have to bear.", show_default=False
        ),
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--name",
            metavar="HOST[:PORT]",
            help="Name under which a proxy in front makes it known; may be given several times.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A codec's .safetensors file.", show_default="the one in the package"),
    ] = None,
    jobs: Annotated[
        int, typer.Option("-j", "--jobs", metavar="N", min=1, help="Requests to work on at once.")
    ] = _LIMITS.workers,
    queue: Annotated[int, typer.Option(metavar="N", min=0, help="Requests that may wait.")] = _LIMITS.waiting,
    max_upload: Annotated[int, typer.Option(metavar="MIB", min=1, help="Largest file to take.")] = _LIMITS.upload
    // MEBIBYTE,
    max_pixels: Annotated[
        int, typer.Option(metavar="N", min=1, help="Largest picture to work on.")
    ] = _LIMITS.pixels,
    time_limit: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="For the work on one request.")
    ] = _LIMITS.seconds,
) -> None:
    """Open a local web page and HTTP API: drop a photo, move the dials, see what is left of it.

    Only this machine can reach it unless --host says otherwise; then set a token.

    \b
    [bold]Examples[/bold]
      diptych serve
      diptych serve holiday/
      DIPTYCH_TOKEN=secret diptych serve --host 0.0.0.0
      DIPTYCH_TOKEN=secret diptych serve --name codec.example.com
    """
    with extra("serve", "the server"):
        from diptych.serve.folder import Folder
        from diptych.serve.guard import LOOPBACK
        from diptych.serve.server import Place, run
    if token is not None and not (token.isascii() and token.isprintable() and token.strip() == token != ""):
        raise typer.BadParameter("a token is printable ASCII text without spaces around it")
    if host not in LOOPBACK and token is None:
        tell(f"note: without --token everybody who can reach {host} can use this server")
    for name in names or ():
        if not re.fullmatch(r"[A-Za-z0-9.-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?", name):
            raise typer.BadParameter(
                f"a name is a host, with a port if need be, such as codec.example.com, not '{name}'"
            )
    if not math.isfinite(time_limit):
        raise typer.BadParameter(f"the time limit is a number of seconds, not {time_limit:g}")
    if names and token is None:
        tell("note: without --token everybody who can reach the proxy can use this server")
    limits = Limits(
        upload=max_upload * MEBIBYTE, pixels=max_pixels, seconds=time_limit, workers=jobs, waiting=queue
    )
    opened = Folder(folder) if folder else None
    run(
        Place(host, port, token, tuple(names or ())),
        limits,
        opened,
        model,
        lambda address: say(f"open {address} in a browser"),
    )
