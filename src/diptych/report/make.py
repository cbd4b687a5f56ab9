"""A report from results files and photos to the page on disk."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from diptych.codec import defaults
from diptych.errors import DiptychError
from diptych.evaluation.results import Results, read_if_results
from diptych.io.files import refuse_existing, write_bytes
from diptych.io.places import Name, Place
from diptych.report.demo import NO_TASK
from diptych.report.examples import FITTED, example
from diptych.report.page import card, making, page

if TYPE_CHECKING:
    from diptych.codec.codec import Codec
    from diptych.tasks import Task
    from diptych.tasks.detector import Detector


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
        task: the network that draws detections; None goes on without, with a note.
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
    shown = photos or [defaults.CAT]
    examples = [example(photo, quality, codec, task) for photo in shown]
    notes += [f"{one.name}: {note}" for one in examples for note in one.notes]
    notes += [] if task else [NO_TASK]
    if not find_spec("matplotlib"):
        notes.append("no curves are drawn: they need pip install 'diptych[eval]'")
    words = ["diptych", "report", *map(str, sources), "-o", str(target), "-q", f"{quality:g}"]
    for each in photos:
        words += ["--photo", str(each)]
    words += ["--model", model] if model else []
    html = page(found, examples, card(codec, model), making(words, codec, FITTED))
    write_bytes(html.encode(), target, overwrite)
    return Made(target, notes)


def _read(sources: Sequence[Name]) -> tuple[dict[str, Results], list[str]]:
    found, notes = {}, []
    for path in sources:
        source = read_if_results(path)
        if source is None:
            notes.append(f"{path} is left out: it is not a file of results that a report shows")
        else:
            found[path.stem if path.stem not in found else str(path)] = source
    if not found:
        raise DiptychError(f"no results that a report shows in {', '.join(map(str, sources))}")
    return found, notes
