"""The command ``selftest``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

import diptych
from diptych.cli.console import complain, say

if TYPE_CHECKING:
    pass


def selftest() -> None:
    """Check that this machine reads and writes files as the one on which the codec was made.

    Files in the package are decoded and compared with what was encoded, with one thread and with many.

    \b
    [bold]Examples[/bold]
      diptych selftest
    """
    from diptych.codec.selftest import environment, run

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
