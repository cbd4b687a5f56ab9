"""The codecs that are here, by the id that files name: those in the package, then those in the user's folder.

::

    NAME.safetensors           a codec
    NAME.human.safetensors     its human view, if it has one

Only what an id is the hash of is read, once for each state of a file, and no torch is needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from platformdirs import user_data_path
from safetensors import SafetensorError, safe_open

from diptych.codec import defaults
from diptych.codec.weights import CODEC_FORMAT, VIEW_FORMAT, human_beside, id_of
from diptych.errors import ModelError
from diptych.io.files import reason

_WEIGHTS, _HUMAN = ".safetensors", ".human.safetensors"


class Known(NamedTuple):
    """A codec's file, or what lies in the place of one.

    Attributes:
        path: the file; the folder itself if that cannot be read.
        model_id: the four bytes that its files carry; empty if it cannot be used.
        purpose: what its metadata say that it is for.
        human: the file of its human view, None if there is none that can be used.
        problem: what is wrong, with the codec or with its human view; None if nothing is.
    """

    path: Path
    model_id: bytes = b""
    purpose: str = ""
    human: Path | None = None
    problem: str | None = None

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.path.stem

    @property
    def in_package(self) -> bool:
        return self.path.parent == defaults.WEIGHTS


def folder() -> Path:
    """Where a user puts codecs: ``$DIPTYCH_CODECS``, else ``diptych/codecs`` where the platform has user data."""
    named = os.environ.get("DIPTYCH_CODECS")
    return Path(named).expanduser() if named else user_data_path("diptych", appauthor=False) / "codecs"


def known() -> Iterator[Known]:
    """All codecs, those of the package first. What cannot be used is among them, with its problem."""
    yield from _inside(defaults.WEIGHTS, "codec")
    yield from _inside(folder())


def find(model_id: bytes) -> Known | None:
    """The codec with this id, if it is here."""
    return next((codec for codec in known() if codec.model_id == model_id), None)


def _inside(place: Path, start: str = "") -> Iterator[Known]:
    """The codecs in a folder whose names begin with ``start``, and what is there in the place of one."""
    try:
        paths = sorted(place.iterdir(), key=lambda path: path.stem)  # so 'codec' comes before 'codec-2'
    except FileNotFoundError:
        return
    except OSError as error:
        yield Known(place, problem=f"the folder cannot be read: {reason(error)}")
        return
    names = [path.name for path in paths if path.suffix == _WEIGHTS]
    for name in names:
        codec = name.removesuffix(_HUMAN) + _WEIGHTS
        if name.startswith(".") or not name.startswith(start) or (name.endswith(_HUMAN) and codec in names):
            continue
        if name.endswith(_HUMAN):
            yield Known(place / name, problem=f"there is no {codec} beside it, whose human view it would be")
        else:
            yield _described(place / name)


def _described(path: Path) -> Known:
    try:
        metadata, model_id = _read(path, CODEC_FORMAT)
    except ModelError as error:
        return Known(path, problem=str(error))
    stage = metadata.get("stage")
    purpose = " ".join(metadata.get("purpose", f"not said (stage '{stage}')" if stage else "not said").split())
    codec = Known(path, model_id, purpose)
    human = human_beside(path)
    if not os.path.lexists(human):
        return codec
    try:
        belongs_to = _read(human, VIEW_FORMAT)[0].get("model_id")
    except ModelError as error:
        return codec._replace(problem=f"{human.name}: {error}")
    if belongs_to != model_id.hex():
        return codec._replace(problem=f"{human.name} is a view of codec {belongs_to}")
    return codec._replace(human=human)


def _read(path: Path, expected: str) -> tuple[dict[str, str], bytes]:
    """Metadata and model id of a weights file of the format ``expected``.

    Raises:
        ModelError: if it is none, without naming the file.
    """
    try:
        if not path.is_file():
            raise ModelError("it is not a file" if path.exists() else "the link leads nowhere")
        state = path.stat()
        metadata, model_id = _content(path, state.st_mtime_ns, state.st_size)
    except (SafetensorError, OSError, TypeError) as error:  # TypeError: a kind of number that numpy does not have
        raise ModelError(f"it is not a readable safetensors file: {error}") from None
    if metadata.get("format") != expected:
        raise ModelError(f"it holds '{metadata.get('format', 'unknown')}' weights, not '{expected}'")
    return metadata, model_id


@lru_cache(maxsize=256)
def _content(path: Path, modified: int, size: int) -> tuple[dict[str, str], bytes]:
    """What :func:`_read` gives, kept as long as the file's time (ns) and size (bytes) are these."""
    with safe_open(path, framework="np") as file:
        return file.metadata() or {}, id_of(file.keys(), file.get_tensor)
