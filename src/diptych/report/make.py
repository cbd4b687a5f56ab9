"""A report from results files and photos to the page on disk."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import diptych
from diptych.errors import DiptychError
from diptych.io.files import refuse_existing, write_bytes
from diptych.io.places import Name, Place
from diptych.report.demo import NO_MACHINE
from diptych.report.examples import encoders, example
from diptych.report.page import Codec as CodecCard
from diptych.report.page import Making, page
from diptych.report.sources import Source, read
from diptych.report.tables import of_costs

if TYPE_CHECKING:
    from diptych.codec.codec import Codec
    from diptych.tasks import Task
    from diptych.tasks.detector import Detector

_PACKAGES = ("numpy", "pillow")


class Made(NamedTuple):
    """The page that was written, and what the user should know, one sentence each."""

    path: Path
    notes: list[str]


def run(
    sources: Sequence[Name],
    photos: Sequence[Path],
    target: Path,
    codec: Codec,
    task: Task | Detector | None = None,
    quality: float = 40,
    model: str | None = None,
    overwrite: bool = False,
) -> Made:
    """Write a report.

    Args:
        sources: results files; JSON of something else is left out, with a note.
        photos: to be shown; without any, the cat that ships with the package.
        target: the page.
        codec: shows the photos; must have a human view.
        task: the machine that draws detections; None goes on without, with a note.
        quality: of the photos' ``.dip`` files, 0..100.
        model: the codec's file as the user named it; None for the shipped one, which has a model card.
        overwrite: whether ``target`` may be replaced.

    Raises:
        DiptychError: if a file cannot be read or shown, none of them holds results, or the page cannot be
            written. Nothing is written unless everything could be made.
    """
    for path in (*sources, *photos):
        if not isinstance(path, Place) and target.exists() and path.exists() and target.samefile(path):
            raise DiptychError(f"{target} is to be read and written at once; choose another name with -o")
    refuse_existing(target, overwrite)
    found, notes = _read(sources)
    shown = photos or [Path(str(resources.files("diptych") / "assets" / "chelsea.jpg"))]
    examples = [example(photo, quality, codec, task) for photo in shown]
    notes += [f"{one.name}: {note}" for one in examples for note in one.notes]
    notes += [] if task else [NO_MACHINE]
    html = page(found, examples, _card(codec, model), _making(sources, photos, target, quality, model, codec))
    write_bytes(html.encode(), target, overwrite)
    return Made(target, notes)


def _read(sources: Sequence[Name]) -> tuple[dict[str, Source], list[str]]:
    found, notes = {}, []
    for path in sources:
        source = read(path)
        if source is None:
            notes.append(f"{path} is left out: it is not a file of results that a report shows")
        else:
            found[path.stem if path.stem not in found else str(path)] = source
    if not found:
        raise DiptychError(f"no results that a report shows in {', '.join(map(str, sources))}")
    return found, notes


def _card(codec: Codec, model: str | None) -> CodecCard:
    text = ""
    if model is None:
        text = (resources.files("diptych") / "weights" / "README.md").read_text(encoding="utf-8")
    return CodecCard(codec.model_id.hex(), of_costs(codec.complexity()), text)


def _making(
    sources: Sequence[Name], photos: Sequence[Path], target: Path, quality: float, model: str | None, codec: Codec
) -> Making:
    words = ["diptych", "report", *map(str, sources), "-o", str(target), "-q", f"{quality:g}"]
    for photo in photos:
        words += ["--photo", str(photo)]
    words += ["--model", model] if model else []
    versions = {"diptych": diptych.__version__, "python": platform.python_version()}
    engine, _, version = codec.transforms.engine.name.partition(" ")
    versions |= {engine: version} | {package: metadata.version(package) for package in _PACKAGES}
    return Making(shlex.join(words), datetime.now(UTC).date().isoformat(), versions, encoders())
