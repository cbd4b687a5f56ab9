"""Recipes: YAML files checked against a pydantic model, with ``key=value`` overrides."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from diptych.errors import RecipeError

Recipe = TypeVar("Recipe", bound=BaseModel)


def read_recipe(path: Path, kind: type[Recipe], overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        path: YAML file holding a mapping.
        kind: what it must describe.
        overrides: ``key=value``; dots reach into sections (``loop.steps=100``), values are YAML.

    Raises:
        RecipeError: naming the first thing that is wrong.
    """
    import yaml

    try:
        content: Any = _loaded(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"the recipe {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"the recipe {path} is not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(content, dict):
        raise RecipeError(f"the recipe {path} is not a mapping of settings")
    for override in overrides:
        _override(content, override)
    try:
        recipe = kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"the recipe {path} is wrong at '{where}': {first['msg']}") from None
    for where, number in _unusable(recipe.model_dump()):
        raise RecipeError(f"the recipe {path} is wrong at '{where}': {number} is not a number to work with")
    return recipe


def _loaded(text: str) -> Any:
    """What YAML says; a key that is given twice in one place is an error, where YAML would take the last."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != _MERGE]
            for key in keys:
                if keys.count(key) > 1:
                    raise yaml.YAMLError(
                        f"the key '{key}' is given twice, the last time in line {_line_of(node, key)}"
                    )
            return super().construct_mapping(node, deep)

    def _line_of(node: Any, key: Any) -> int:
        return 1 + max(k.start_mark.line for k, _ in node.value if k.value == str(key))

    return yaml.load(text, Loader)


_MERGE = "tag:yaml.org,2002:merge"


def _unusable(content: Any, where: str = "") -> Iterator[tuple[str, float]]:
    """Numbers that are none, or infinite, and where they stand."""
    if isinstance(content, float) and not math.isfinite(content):
        yield where, content
    inner = dict(enumerate(content)) if isinstance(content, (list, tuple)) else content
    for key, value in inner.items() if isinstance(inner, dict) else ():
        yield from _unusable(value, f"{where}.{key}" if where else str(key))


def _override(content: dict[str, Any], override: str) -> None:
    import yaml

    key, equals, value = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"'{override}' is not of the form key=value")
    *sections, last = key.split(".")
    place: Any = content
    for section in sections:
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            raise RecipeError(f"'{override}' reaches into '{section}', which is not a section")
    try:
        place[last] = _loaded(value)
    except yaml.YAMLError:
        raise RecipeError(f"the value of '{override}' is not YAML") from None
