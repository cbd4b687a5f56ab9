"""Recipes: YAML files checked against a pydantic model, with ``key=value`` overrides."""

from __future__ import annotations

from collections.abc import Sequence
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
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"the recipe {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"the recipe {path} is not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(content, dict):
        raise RecipeError(f"the recipe {path} is not a mapping of settings")
    for override in overrides:
        _override(content, override)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"the recipe {path} is wrong at '{where}': {first['msg']}") from None


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
        place[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise RecipeError(f"the value of '{override}' is not YAML") from None
