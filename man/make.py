"""The manual page ``diptych.1``, made of what ``--help`` says: ``python man/make.py`` writes it anew."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Any

import typer

from diptych import __version__
from diptych.cli.main import app

PAGE = Path(__file__).with_name("diptych.1")


def page() -> str:
    """The page in roff, for ``man``."""
    group = typer.main.get_command(app)
    return "\n".join(
        [
            f'.TH DIPTYCH 1 "" "Diptych {__version__}" "User Commands"',
            ".SH NAME",
            rf"diptych \- {_roff(_lowered(group.help))}",
            ".SH SYNOPSIS",
            ".B diptych",
            _roff("COMMAND [OPTIONS] [ARGUMENTS]"),
            ".SH OPTIONS",
            *_parameters(group),
            ".SH COMMANDS",
            *(line for name, command in _commands(group) for line in _command(name, command)),
            ".SH EXIT STATUS",
            _roff(group.epilog.partition(": ")[2]),
            "",
        ]
    )


def _commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Names and commands, those of groups in groups as ``convert cityscapes``."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield before + name, command


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [_usage(each) for each in command.params if each.param_type_name == "argument"]
    yield f".SS {_roff(' '.join(['diptych', name, '[OPTIONS]', *arguments]))}"
    text, _, examples = cleandoc(command.help).partition("\b\n")
    yield "\n.PP\n".join(_roff(" ".join(paragraph.split())) for paragraph in text.strip().split("\n\n"))
    yield from _parameters(command)
    yield from (".PP", ".nf", *map(_roff, examples.splitlines()[1:]), ".fi")


def _usage(argument: Any) -> str:
    name = argument.metavar + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _parameters(command: Any) -> Iterator[str]:
    """A tagged paragraph for each argument and option that says something."""
    for each in command.params:
        said = " ".join(filter(None, (each.help, _default(each), _variable(each))))
        if said:
            names = ", ".join(each.opts) if each.param_type_name == "option" else ""
            yield from (".TP", f".B {_roff(' '.join(filter(None, (names, each.metavar))))}", _roff(said))


def _default(parameter: Any) -> str:
    if isinstance(parameter.show_default, str):
        return f"Default: {parameter.show_default}."
    unsaid = parameter.required or not parameter.show_default or parameter.default in (None, False)
    return "" if unsaid else f"Default: {parameter.default}."


def _variable(parameter: Any) -> str:
    return f"Environment: {parameter.envvar}." if parameter.envvar else ""


def _lowered(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:].rstrip(".")


def _roff(text: str) -> str:
    """Text that stays text: no escapes, no requests, and hyphens that can be copied."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return rf"\&{text}" if text.startswith(".") else text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
