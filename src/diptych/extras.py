"""Parts of the package that are installed on demand: ``pip install 'diptych[train]'``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from diptych.errors import DiptychError


@contextmanager
def extra(name: str, what: str = "this") -> Iterator[None]:
    """Say which extra is to be installed when one of its packages is missing.

    Args:
        name: of the extra, as ``pyproject.toml`` has it.
        what: needs it, as the sentence begins.

    Raises:
        DiptychError: instead of a ModuleNotFoundError for a package other than Diptych itself.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "diptych"):
            raise
        raise DiptychError(f"{what} needs the package '{package}': pip install 'diptych[{name}]'") from None
