"""Encoding and decoding many files: what is done with each, and in how many processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import diptych
from diptych.errors import DiptychError
from diptych.files import Job, make_folder, read_bytes, write_bytes

if TYPE_CHECKING:
    from PIL import Image

    from diptych.codec import Codec, Refine

AUTO = "auto"
"""The view that a file itself advises."""


class Outcome(NamedTuple):
    """What became of one file.

    Attributes:
        source: the file that was read.
        line: what to tell the user, if all went well.
        notes: what else the user should know, each a sentence without a full stop.
        error: why it failed, with the name of a file; None if it did not.
    """

    source: Path
    line: str = ""
    notes: Sequence[str] = ()
    error: str | None = None


class Work(Protocol):
    """What is to be done with each file; it can be pickled."""

    def __call__(self, codec: Codec, job: Job) -> Outcome: ...

    def dip(self, job: Job) -> Path:
        """The ``.dip`` file among the two of a job."""
        ...


@dataclass(frozen=True)
class Encoding:
    """Turn a photo into a ``.dip`` file, of a quality (0..100), or of bits per pixel or bytes at most.

    Attributes:
        hint: store as well how human a view the shipped machine does not notice.
        optimize: steps of search with the shipped machine; for a target, at the quality that fits it without.
    """

    quality: float
    bpp: float | None = None
    target_size: int | None = None
    verify: bool = False
    overwrite: bool = False
    hint: bool = False
    optimize: int = 0

    def __call__(self, codec: Codec, job: Job) -> Outcome:
        from diptych.images import read_picture
        from diptych.ratecontrol import fit

        image, notes = read_picture(job.source)
        target = self.target_size if self.bpp is None else int(self.bpp * image.width * image.height / 8)
        refine = _search(codec, self.optimize) if self.optimize else None
        if target is None:
            data = codec.encode(image, self.quality, self.verify, refine)
        else:
            fitted = fit(lambda quality: codec.encode(image, quality, self.verify), target)
            data = fitted.data
            if not fitted.reached:
                notes.append(f"no quality comes within 2 % of {target:,} bytes")
            if refine:
                better = codec.encode(image, fitted.quality, self.verify, refine)
                if len(better) <= target:
                    data = better
                else:
                    notes.append("what the search found is above the target, so the file is as without it")
        if self.hint:
            data = _hinted(codec, data)
        make_folder(job.target.parent)
        write_bytes(data, job.target, self.overwrite)
        return Outcome(
            job.source, f"{job.source} -> {job.target}: {size_of(image.width, image.height, len(data))}", notes
        )

    def dip(self, job: Job) -> Path:
        return job.target


@dataclass(frozen=True)
class Decoding:
    """Turn a ``.dip`` file into a picture: a view, and of it all or a region (x, y, width, height).

    Attributes:
        view: as :meth:`Codec.decode` takes it; or a view file, whose human view is meant; or ``auto``, the file's
            hint, the human view where there is none.
        maps: by ``.dip`` file, where to write how far the human view is from the machine view.
    """

    view: str
    region: tuple[int, int, int, int] | None = None
    overwrite: bool = False
    maps: Mapping[Path, Path] = field(default_factory=dict)

    def __call__(self, codec: Codec, job: Job) -> Outcome:
        from diptych.bitstream import read_header
        from diptych.images import write_picture

        data = read_bytes(job.source)
        codec, view, notes = _viewed(codec, self.view, data)
        heat = self.maps.get(job.source)
        views = list(dict.fromkeys([view, "machine", "human"] if heat else [view]))
        shown = dict(zip(views, codec.decode_views(data, views, self.region), strict=True))
        image = shown[view]
        lines = [self._map(shown["machine"], shown["human"], heat)] if heat else []
        make_folder(job.target.parent)
        write_picture(image, job.target, self.overwrite)
        name = f"{self.view} ({view:.2g})" if isinstance(view, float) else self.view
        header = read_header(data)
        size = size_of(header.width, header.height, len(data))
        part = f"{image.width} x {image.height} of " if self.region else ""
        line = f"{job.source} -> {job.target}: view {name}, {part}{size}"
        return Outcome(job.source, "\n".join([line, *lines]), notes)

    def _map(self, machine: Image.Image, human: Image.Image, target: Path) -> str:
        from diptych.images import write_picture
        from diptych.invention import as_picture, difference, in_words

        levels = difference(machine, human)
        make_folder(target.parent)
        write_picture(as_picture(levels), target, self.overwrite)
        return f"  {target}: {in_words(levels)}"

    def dip(self, job: Job) -> Path:
        return job.source


def run(
    jobs: Sequence[Job], work: Work, model: str | None, workers: int, report: Callable[[Outcome], None]
) -> None:
    """Do all jobs and report the outcome of each when it is there; failures do not stop the others.

    Args:
        model: the codec's file, or None for the default one, which decodes files of others too.
        workers: how many files are worked on at once, each in a process of its own; with 1, in this one.

    Raises:
        DiptychError: if the codec cannot be loaded, or a worker process dies.
    """
    count = min(workers, len(jobs))
    if count > 1:
        from diptych.workers import in_processes

        in_processes(jobs, partial(_done, work), model, count, report)
    elif jobs:
        codec = diptych.load(model)
        for job in jobs:
            report(_done(work, codec, job))


def attempt(source: Path, task: Callable[[], Outcome]) -> Outcome:
    """The outcome of a task; the error, if it fails for a reason that lies in its input or the machine."""
    try:
        return task()
    except (DiptychError, MemoryError) as error:
        message = str(error)
    except RuntimeError as error:  # an engine's way to say it
        if "allocate memory" not in str(error):
            raise
        message = ""
    message = message or "not enough memory"
    return Outcome(source, error=message if str(source) in message else f"{source}: {message}")


def size_of(width: int, height: int, length: int) -> str:
    """Size of a picture in words, ``length`` being that of its ``.dip`` file in bytes."""
    return f"{width} x {height}, {length:,} bytes, {8 * length / (width * height):.3f} bpp"


def _hinted(codec: Codec, data: bytes) -> bytes:
    from diptych.hint import hinted
    from diptych.tasks.detector import shipped_detector

    return hinted(codec, data, shipped_detector())


def _search(codec: Codec, steps: int) -> Refine:
    from diptych.search import Search, shipped_machine

    return Search(codec, shipped_machine(), steps)


def _viewed(codec: Codec, view: str, data: bytes) -> tuple[Codec, str | float, list[str]]:
    """The codec with the view that is meant for the file ``data``, the view, and notes on the choice."""
    from diptych.bitstream import read_header
    from diptych.views import is_view_file

    if is_view_file(view):
        return _with_view(codec.for_file(data), view), "human", []
    if view != AUTO:
        return codec, view, []
    hint = read_header(data).hint
    if hint is None:
        return codec, "human", ["it has no view hint, so this is the human view"]
    return codec, hint, []


@cache
def _with_view(codec: Codec, view: str) -> Codec:
    from diptych.models import load_view

    return codec.with_view(load_view(Path(view), codec.frozen))


def _done(work: Work, codec: Codec, job: Job) -> Outcome:
    return attempt(job.source, partial(work, codec, job))
