"""Makes Markdown of what docstrings have of reStructuredText, and an attribute of each key of a recipe."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|meth|attr|data|mod):`~?([^`]+)`")
DRAWING = re.compile(r"^( *)::\n", re.MULTILINE)
ATTRIBUTES = "\n\nAttributes:\n"


class Docstrings(griffe.Extension):
    """Rewrites docstrings before they are parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each module, class, function and attribute: roles, and the ``::`` before drawings."""
        if obj.docstring:
            text = ROLE.sub(r"`\1`", obj.docstring.value).replace("``", "`")
            obj.docstring.value = DRAWING.sub("", text)

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """Called for each class with its members: the keys of a recipe."""
        if cls.docstring and "model_config" in cls.members and ATTRIBUTES not in cls.docstring.value:
            cls.docstring.value += ATTRIBUTES + "".join(f"    {line}\n" for line in _keys(cls))


def _keys(cls: griffe.Class) -> Iterator[str]:
    """Name, meaning and default of each key."""
    for name, key in cls.attributes.items():
        if key.annotation is None:
            continue
        said: dict[str, str] = {"default": str(key.value)} if key.value is not None else {}
        if isinstance(key.value, griffe.ExprCall):
            arguments = (one for one in key.value.arguments if isinstance(one, griffe.ExprKeyword))
            said = {one.name: str(one.value) for one in arguments}
        words = [ast.literal_eval(said["description"])] if "description" in said else []
        words += [f"default `{said['default']}`" if "default" in said else "required"]
        yield f"{name}: {'; '.join(words)}"
