"""``diptych selftest``: whether this machine reads and writes files as the one on which the codec was made.

::

    golden file ──latents, with one thread and with many──> their stored hash
                ──pictures──> their stored averages
    the cat ──encode──> file ──latents──> those that were encoded

Golden files are made with the shipped codec. After its weights have changed they are made again::

    python -m diptych.codec.selftest
"""

from __future__ import annotations

import json
import os
import platform
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError
from threadpoolctl import threadpool_limits

from diptych.codec.codec import Codec, load
from diptych.codec.defaults import CAT, WEIGHTS
from diptych.errors import DiptychError, ModelError
from diptych.io.files import read_bytes, write_bytes
from diptych.io.images import read_picture

GOLDEN = WEIGHTS / "selftest.json"
SAMPLES = (
    ((0, 0, 451, 300), 20.0),
    ((130, 60, 257, 155), 50.0),
    ((200, 100, 264, 164), 0.0),
    ((90, 150, 123, 167), 99.99),
)
"""Parts of the cat (left, upper, right, lower) and the quality they are coded with."""
GRID = 8
"""A picture is compared by its averages over GRID x GRID cells."""
PICTURE_TOLERANCE = 1.0
"""How far such an average may be off, in levels of 255: cells of a few pixels differ by up to 0.55 between machines
that compute in bfloat16 and those that do not, the two views of a picture by 3 and more."""
SIZE_TOLERANCE = 0.05
"""How far the size of a file written here may be off. JPEG decoders differ, and so may what is encoded."""
MANY = max(2, os.cpu_count() or 1)
"""Threads of the runs that use all processors."""


class Check(NamedTuple):
    """A check that was made; ``problem`` is None if it passed."""

    name: str
    problem: str | None

    def __str__(self) -> str:
        return f"FAIL  {self.name}: {self.problem}" if self.problem else f"pass  {self.name}"


class Sample(BaseModel):
    """A golden file and what must be read from it.

    Attributes:
        box: the part of the cat it shows: left, upper, right, lower.
        quality: 0..100.
        file: the ``.dip`` bytes, base64.
        latents: SHA-256 of the latents, int32, little-endian.
        views: averages of each view, cell by cell, of red, green and blue.
    """

    model_config = ConfigDict(extra="forbid")

    box: tuple[int, int, int, int]
    quality: float
    file: str
    latents: str
    views: dict[str, list[float]]

    @property
    def data(self) -> bytes:
        """The ``.dip`` bytes."""
        return b64decode(self.file)

    @property
    def name(self) -> str:
        """How checks of it are called."""
        left, upper, right, lower = self.box
        return f"{right - left} x {lower - upper} at quality {self.quality:g}"


class Golden(BaseModel):
    """The content of ``selftest.json``: the codec it belongs to, in hexadecimal, and its files."""

    model_config = ConfigDict(extra="forbid")

    model_id: str
    samples: list[Sample]


def write(codec: Codec, path: Path | None = None) -> None:
    """Make the golden files of ``codec``, by default those of the package."""
    with threadpool_limits(1):
        samples = [_sample(codec, box, quality) for box, quality in SAMPLES]
    golden = Golden(model_id=codec.model_id.hex(), samples=samples)
    text = json.dumps(golden.model_dump(), separators=(",", ":")).replace('{"box"', '\n{"box"')
    write_bytes(f"{text}\n".encode(), path or GOLDEN, overwrite=True)


def run(codec: Codec, path: Path | None = None) -> Iterator[Check]:
    """Check ``codec`` on this machine against golden files, by default those of the package, one by one.

    Raises:
        ModelError: if the golden files are missing, unreadable, or of another codec.
    """
    path = path or GOLDEN
    try:
        golden = Golden.model_validate_json(read_bytes(path))
    except ValidationError:
        raise ModelError(f"{path} does not hold the files of a self-test: install the package again") from None
    if golden.model_id != codec.model_id.hex():
        raise ModelError(
            f"{path.name} was made for codec {golden.model_id}, but the installed codec is {codec.model_id.hex()}: "
            "install the package again, or run 'python -m diptych.codec.selftest' if you have changed the weights"
        )
    return (_made(name, problem) for sample in golden.samples for name, problem in _checks(codec, sample))


def environment(codec: Codec) -> str:
    """What a report of a failure has to name."""
    return (
        f"diptych {version('diptych')}, codec {codec.model_id.hex()}, "
        f"{codec.transforms.engine.name}, numpy {np.__version__}, "
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    )


def _sample(codec: Codec, box: tuple[int, int, int, int], quality: float) -> Sample:
    data = codec.encode(_part(box), quality, verify=True)
    names = ["machine", "human"] if codec.has_human_view else ["machine"]
    return Sample(
        box=box,
        quality=quality,
        file=b64encode(data).decode(),
        latents=_digest(codec, data),
        views={name: averages(codec.decode(data, name)).round(1).tolist() for name in names},
    )


def _checks(codec: Codec, sample: Sample) -> Iterator[tuple[str, Callable[[], str | None]]]:
    """Name of each check of one sample, and what tells the problem."""
    for threads in (1, MANY):
        name = f"{sample.name}: latents, {threads} thread{'s' * (threads > 1)}"
        yield name, partial(_wrong_latents, codec, sample, threads)
    for view in sample.views:
        yield f"{sample.name}: {view} view", partial(_wrong_view, codec, sample, view)
    yield f"{sample.name}: encode, then decode", partial(_wrong_file, codec, sample)


def _made(name: str, problem: Callable[[], str | None]) -> Check:
    try:
        return Check(name, problem())
    except (DiptychError, RuntimeError, ValueError) as error:
        return Check(name, " ".join(str(error).split()) or type(error).__name__)


def _wrong_latents(codec: Codec, sample: Sample, threads: int) -> str | None:
    with threadpool_limits(threads):
        return None if _digest(codec, sample.data) == sample.latents else "they differ from those that were encoded"


def _wrong_view(codec: Codec, sample: Sample, view: str) -> str | None:
    expected = sample.views[view]
    with threadpool_limits(MANY):
        found = averages(codec.decode(sample.data, view))
    if found.shape != (len(expected),):
        return f"{len(expected)} averages are stored where {len(found)} are needed"
    off = float(np.abs(found - expected).max())
    return f"it is off by {off:.2f} of 255 levels" if off > PICTURE_TOLERANCE else None


def _wrong_file(codec: Codec, sample: Sample) -> str | None:
    with threadpool_limits(MANY):
        data = codec.encode(_part(sample.box), sample.quality, verify=True)
        digest = _digest(codec, data)
    with threadpool_limits(1):
        if _digest(codec, data) != digest:
            return "the latents depend on the number of threads"
    size = len(sample.data)
    if abs(len(data) - size) > 16 + SIZE_TOLERANCE * size:
        return f"the file has {len(data)} bytes where {size} were expected"
    return None


def averages(picture: Image.Image) -> np.ndarray:
    """Averages over GRID x GRID cells, in reading order, of each channel: float64 ``(GRID * GRID * 3,)``."""
    rows = np.array_split(np.asarray(picture), GRID, 0)
    return np.ravel([cell.mean((0, 1)) for row in rows for cell in np.array_split(row, GRID, 1)])


def _digest(codec: Codec, data: bytes) -> str:
    return sha256(codec.latents(data).values.astype("<i4").tobytes()).hexdigest()


def _part(box: tuple[int, int, int, int]) -> Image.Image:
    return read_picture(CAT).image.crop(box)


if __name__ == "__main__":
    write(load())
    print(f"wrote {GOLDEN}")
