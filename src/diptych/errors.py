"""The errors a user can meet. Every message is one sentence that says what is wrong and with which file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class DiptychError(Exception):
    """Base of all errors caused by input rather than by a defect of the program."""


class BitstreamError(DiptychError):
    """A ``.dip`` file is damaged, foreign, too new, or was written with another model."""


class PictureError(DiptychError):
    """A photo cannot be read or written."""


class ModelError(DiptychError):
    """A weights file is unusable or does not belong to the file being decoded."""


class RecipeError(DiptychError):
    """A recipe is missing, malformed or contradicts the data it names."""


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
