"""The command ``diptych``: its commands, and errors of one line.

Errors are one line on stderr and exit code 1, or 2 where the command itself is wrong; 130 after Ctrl-C (see
``docs/exit-codes.md``). Torch is imported only where the extra ``train`` is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import diptych
from diptych.cli.ablate import ablate
from diptych.cli.codecs import codecs
from diptych.cli.compare import compare
from diptych.cli.console import complain, say
from diptych.cli.convert import convert
from diptych.cli.decode import decode
from diptych.cli.demo import demo
from diptych.cli.encode import encode
from diptych.cli.evaluate import evaluate
from diptych.cli.export import export
from diptych.cli.grid import grid
from diptych.cli.info import info
from diptych.cli.label import label
from diptych.cli.lint import lint
from diptych.cli.page import page
from diptych.cli.report import report
from diptych.cli.selftest import selftest
from diptych.cli.serve import serve
from diptych.cli.train import train
from diptych.errors import DiptychError


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


@app.callback()
def main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        say(f"diptych {diptych.__version__}")
    elif context.invoked_subcommand is None:
        say(context.get_help())


for command in (
    encode,
    decode,
    info,
    train,
    evaluate,
    demo,
    selftest,
    grid,
    lint,
    compare,
    codecs,
    ablate,
    report,
    page,
    export,
    label,
    serve,
):
    app.command()(command)
app.add_typer(convert, name="convert")
