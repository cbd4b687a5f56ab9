"""Results: what an evaluation writes, and what its tables, figures, reports and the README are made from.

::

    points        every codec's view and every anchor at every setting: statistics by metric, a value per photo
    comparisons   two of them in the same bytes, photo by photo
    bd_rate       bits of a codec's view against an anchor, or another codec, at equal score
    needed        bits per pixel for a share of the task networks' scores on the originals

A metric is named as in the recipe; of a task network's scores the network's name comes first: ``fcos.ap50``.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from diptych.errors import DiptychError
from diptych.io.files import make_folder, read_bytes, write_bytes
from diptych.io.places import Name

FORMAT = "diptych-results-1"
ORIGINAL = "original"
"""What stands for a codec in a :class:`Variant` that is not coded at all."""
_PACKAGES = (
    *("diptych", "torch", "torchvision", "torchmetrics", "timm", "numpy", "scipy", "bjontegaard"),
    *("pillow", "pycocotools", "ssimulacra2", "onnxruntime", "openvino"),
)

View = str | float


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite)]
"""None where it is not defined; JSON knows neither NaN nor infinity."""
Value = Annotated[bool | int | float | None, BeforeValidator(_finite)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Interval(_Part):
    """A statistic of the photos, and its 95 % bootstrap interval."""

    value: Number
    low: Number
    high: Number


class Variant(_Part):
    """One way to code every photo.

    Attributes:
        codec: a codec's name in the recipe, the name of an anchor, or ``original``.
        setting: quality of the codec, or setting of the anchor; None for the original, and for a codec's mean over
            all of its qualities.
        view: of the codec's files; None for others.
        matched: the codec whose files of quality ``setting`` bound the anchor's: each is the largest that fits.
    """

    codec: str
    setting: float | None = None
    view: View | None = None
    matched: str | None = None

    def __str__(self) -> str:
        if self.codec == ORIGINAL:
            return ORIGINAL
        setting = "mean over qualities" if self.setting is None else f"q{self.setting:g}"
        if self.matched is not None:
            return f"{self.codec} in the bytes of {self.matched} {setting}"
        return f"{self.codec} {setting}" + ("" if self.view is None else f" {self.view}")


class Point(Variant):
    """What was measured of a variant.

    Attributes:
        summary: statistics by metric.
        rows: by metric, a value for each photo, in their order; ``bytes`` of the files among them. None of a mean.
    """

    summary: dict[str, Interval]
    rows: dict[str, list[Value]] = {}


class Comparison(_Part):
    """Two variants in the same bytes.

    Attributes:
        difference: by metric, ``tested`` minus ``reference``, paired over the photos.
        percent: the same in percent of the reference, for scores of task networks and distances.
    """

    tested: Variant
    reference: Variant
    difference: dict[str, Interval]
    percent: dict[str, Interval] = {}


class BdRate(Interval):
    """Bits of a codec's view against others, in percent, at equal score: negative where it saves.

    Attributes:
        against: an anchor, or another codec of the recipe.
        bpp_range: to which both curves are cut.
        shared: the scores, lowest and highest, over which it is an average.
        defined: the part of the resamples in which it is defined.
        problem: why it has no value; empty if it has one.
    """

    codec: str
    view: View
    against: str
    metric: str
    bpp_range: tuple[float, float]
    shared: tuple[Number, Number] = (None, None)
    defined: float = 1.0
    problem: str = ""


class Needed(Interval):
    """Bits per pixel for a share of a task network's score on the originals; None where that is never reached.

    Attributes:
        target: the score.
        reached: the part of the resamples in which it is reached.
        at_smallest: the smallest files reach it already, and the rate is an upper bound.
    """

    codec: str
    view: View | None
    metric: str
    share: float
    target: Number
    reached: float
    at_smallest: bool


class Provenance(_Part):
    """What made the figures: all that is needed to make them again."""

    date: str
    command: str
    commit: str | None
    uncommitted_changes: bool
    weights: dict[str, str]
    versions: dict[str, str | None]
    machine: dict[str, Any]


class Photos(_Part):
    """The photos, in the order of all rows, and how many pixels each has."""

    names: list[str] = Field(min_length=1)
    pixels: list[int] = []


class Results(_Part):
    """A results file.

    Attributes:
        models: id of every codec by its name in the recipe.
        anchors: by name, what made their files.
        tasks: by name, how a task network is scored, such as ``mask AP50``.
        metrics: what computed those metrics that are not computed here.
        natural: what 95 % of photos stay below in the grid scores.
    """

    format: Literal["diptych-results-1"] = "diptych-results-1"
    provenance: Provenance
    models: dict[str, str]
    recipe: dict[str, Any]
    anchors: dict[str, str] = {}
    tasks: dict[str, str] = {}
    metrics: dict[str, str] = {}
    photos: Photos
    natural: dict[str, float] = {}
    points: list[Point] = Field(min_length=1)
    comparisons: list[Comparison] = []
    bd_rate: list[BdRate] = []
    needed: list[Needed] = []


def write(results: BaseModel | Mapping[str, Any], path: Path) -> None:
    """Write results as JSON, one line per entry of its lists, atomically.

    Raises:
        DiptychError: if the file cannot be written.
    """
    content = results.model_dump(mode="json") if isinstance(results, BaseModel) else results
    lines = []
    for key, value in content.items():
        if isinstance(value, list):
            entries = ",\n  ".join(json.dumps(entry, separators=(",", ":")) for entry in value)
            lines.append(f"{json.dumps(key)}: [\n  {entries}\n ]")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value)}")
    make_folder(path.parent)
    write_bytes(("{\n " + ",\n ".join(lines) + "\n}\n").encode(), path, overwrite=True)


def read(path: Path) -> Results:
    """The results in a file.

    Raises:
        DiptychError: if the file cannot be read, holds something else, or lacks what results have.
    """
    found = read_if_results(path)
    if found is None:
        raise DiptychError(f"{path} holds no results of an evaluation")
    return found


def read_if_results(path: Name) -> Results | None:
    """The results in a file, or None if it is JSON of something else, which names no format.

    Raises:
        DiptychError: as :func:`read`.
    """
    try:
        content = json.loads(read_bytes(path))
    except ValueError as error:
        raise DiptychError(f"the results {path} cannot be read: {error}") from None
    if not isinstance(content, dict) or "format" not in content:
        return None
    if content["format"] != FORMAT:
        raise DiptychError(f"{path} is of the format '{content['format']}', this version reads {FORMAT}")
    try:
        return Results.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DiptychError(f"the results {path} are damaged at '{where}': {first['msg']}") from None


def provenance(command: Sequence[str], weights: Mapping[str, Path]) -> Provenance:
    """What makes the figures now.

    Args:
        command: its words.
        weights: files by role.
    """
    return Provenance(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        command=" ".join(command),
        commit=_git("rev-parse", "HEAD"),
        uncommitted_changes=bool(_git("status", "--porcelain", "--untracked-files=no")),
        weights={role: hashlib.sha256(path.read_bytes()).hexdigest() for role, path in weights.items()},
        versions=versions(),
        machine={"processor": platform.machine(), "cpus": os.cpu_count()},
    )


def versions() -> dict[str, str | None]:
    """Of Python and of the packages that the figures depend on; None for those that are not installed."""
    return {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES}


def _git(*arguments: str) -> str | None:
    folder = Path(__file__).parent
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
