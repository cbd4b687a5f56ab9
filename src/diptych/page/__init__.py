"""A folder of static files that decodes ``.dip`` files in a browser.

::

    static/*.js, index.html, style.css ──┐
    codecs: integers, tables, g_s  ──────┼──> viewer/index.html, viewer/codecs/ID.safetensors
    their human views  ──────────────────┘           viewer/codecs/codecs.json: which there are, by id

The JavaScript computes everything itself, in WebAssembly that it assembles when it starts
(``static/kernels.js``): the entropy path in float64, exact there as here, and ``g_s`` in float32. Nothing is built
or fetched to write the folder. ``docs/browser.md`` is for those who use it in pages of their own.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from diptych.codec import registry
from diptych.codec.weights import FrozenCodec, load_codec, load_view, save_codec, save_view
from diptych.errors import DiptychError, ModelError
from diptych.io.files import make_folder, reason, refuse_existing, write_bytes

STATIC = Path(str(resources.files("diptych") / "page" / "static"))
INDEX = Path("index.html")
CODECS = Path("codecs")
_NOT_DECODED_WITH = ("g_a.", "h_a.", "gains.log_gain")


def write(folder: Path, models: Sequence[Path] = (), overwrite: bool = False) -> list[Path]:
    """Write the viewer.

    A folder that is new appears whole. In one that is there already, files of other names stay, and
    ``index.html`` comes last.

    Args:
        models: codec files whose ``.dip`` files can be decoded, each with the human view beside it; those of the
            package if none is given.
        overwrite: whether files in the folder may be replaced.

    Returns:
        The files, relative to the folder.

    Raises:
        DiptychError: if a codec cannot be used, or a file exists or cannot be written.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise DiptychError(f"cannot write into {folder}: it is not a folder")
    paths = models or in_package()
    with _staged(folder) as staging:
        for path in sorted(STATIC.iterdir()):
            write_bytes(path.read_bytes(), staging / path.name)
        write_codecs(paths, staging / CODECS)
        files = sorted(path.relative_to(staging) for path in staging.rglob("*") if path.is_file())
        files.sort(key=lambda path: path == INDEX)
        for file in files:
            refuse_existing(folder / file, overwrite)
        _put(staging, folder, files)
    return files


def in_package() -> list[Path]:
    """The codecs that are decoded where none is named: those of the package."""
    return [known.path for known in registry.known() if known.in_package and known.problem is None]


def write_codecs(paths: Sequence[Path], folder: Path) -> None:
    """Write what decoding needs of each codec, and ``codecs.json``, the list of them.

    Raises:
        DiptychError: as :func:`write`.
    """
    known: dict[str, dict[str, object]] = {}
    for path in paths:
        frozen = load_codec(path)
        model_id = frozen.model_id.hex()
        if model_id in known:
            raise ModelError(f"{path} is codec {model_id} again: name one file of each codec")
        beside = registry.human_beside(path)
        human = _write_human(beside, frozen, folder) if beside.is_file() else None
        kept = {name: array for name, array in frozen.arrays.items() if not name.startswith(_NOT_DECODED_WITH)}
        weights = f"{model_id}.safetensors"
        save_codec(kept, frozen.widths, folder / weights, {})
        known[model_id] = {"weights": weights, "human": human, "latents": frozen.widths.latent}
    write_bytes(json.dumps(known, indent=1).encode(), folder / "codecs.json")


def _write_human(path: Path, frozen: FrozenCodec, folder: Path) -> str:
    name = f"{frozen.model_id.hex()}.human.safetensors"
    save_view(load_view(path, frozen), frozen.model_id, folder / name, {})
    return name


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """A temporary folder on the same disk, which is gone afterwards."""
    place = folder if folder.is_dir() else Path(os.path.abspath(folder)).parent
    make_folder(place)
    staging = place / f".diptych-{secrets.token_hex(6)}.part"
    make_folder(staging)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _put(staging: Path, folder: Path, files: Sequence[Path]) -> None:
    try:
        if not folder.is_dir():
            os.rename(staging, folder)
            return
        for file in files:
            (folder / file).parent.mkdir(exist_ok=True)
            os.replace(staging / file, folder / file)
    except OSError as error:
        raise DiptychError(f"cannot write into {folder}: {reason(error)}") from None
