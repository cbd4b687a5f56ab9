"""Diptych: an image codec whose one small file holds two views, one for machines and one for people.

    import diptych
    codec = diptych.load()
    data = codec.encode(image, quality=40)
    view = codec.decode(data, view="human")

Importing the package is cheap: NumPy and an engine are loaded with the first use of :func:`load` or :class:`Codec`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from diptych.errors import BitstreamError, DiptychError, ModelError, PictureError, RecipeError

if TYPE_CHECKING:
    from diptych.codec.codec import Codec, load

__version__ = "0.1.0"

__all__ = [
    "BitstreamError",
    "Codec",
    "DiptychError",
    "ModelError",
    "PictureError",
    "RecipeError",
    "__version__",
    "load",
]


if not TYPE_CHECKING:  # a type checker is to see the names above, and no others

    def __getattr__(name: str) -> Any:
        if name in ("Codec", "load"):
            return getattr(import_module("diptych.codec.codec"), name)
        raise AttributeError(f"module 'diptych' has no attribute '{name}'")
