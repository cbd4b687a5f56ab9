"""Results files as a report reads them: checked, so that whatever is in a file is shown or refused in one line."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diptych.errors import DiptychError
from diptych.io.files import read_bytes
from diptych.io.places import Name

NAMES = {
    "jpeg": "JPEG",
    "webp": "WebP",
    "avif": "AVIF",
    "heic": "HEIC",
    "jxl": "JPEG XL",
    "vvc": "VVC",
    "avif-default": "AVIF, tuned for people",
}
"""Codecs as people write them."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")  # what newer versions add does no harm


class Interval(_Part):
    """A number and its 95 % interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


class Variant(_Part):
    """What was measured; see :class:`diptych.evaluation.variants.Variant`."""

    codec: str
    setting: float | None
    view: str | float | None
    matched: bool

    @property
    def title(self) -> str:
        """Codec and view, and for an anchor that it was fitted to the codec's files."""
        return titled(self.codec, self.view) + ", in the same bytes" * self.matched


def titled(codec: str, view: str | float | None) -> str:
    """Name of a codec, with the view of its files."""
    name = NAMES.get(codec, codec)
    return name if view is None else f"{name}, {view} view"


class Point(Variant):
    """Statistics of one variant, by metric."""

    summary: dict[str, Interval]


class Comparison(_Part):
    """Paired differences of two variants at equal bytes, by metric."""

    tested: str
    reference: str
    difference: dict[str, Interval]


class BdRate(Interval):
    """Rate against an anchor at equal quality, in percent."""

    view: str | float
    anchor: str
    metric: str


class Needed(Interval):
    """Bits per pixel for a share of the accuracy on uncompressed photos."""

    codec: str
    view: str | float | None
    share: float
    reached: float
    at_smallest: bool


class Provenance(_Part):
    """What made the figures."""

    date: str
    command: str
    commit: str | None
    uncommitted_changes: bool
    weights: dict[str, str]
    versions: dict[str, str | None]
    machine: dict[str, Any]


class Photos(_Part):
    """The photos of an evaluation."""

    names: list[str] = Field(min_length=1)


class Evaluation(_Part):
    """What ``diptych evaluate`` wrote; files of older runs lack the fields with a default."""

    format: Literal["diptych-evaluation-1"]
    provenance: Provenance
    model_id: str
    recipe: dict[str, Any]
    anchors: dict[str, str] = {}
    overlap: str | None = None
    photos: Photos
    points: list[Point] = Field(min_length=1)
    comparisons: list[Comparison] = []
    bd_rate: list[BdRate] = []
    needed: list[Needed] = []


class TaskPoint(Variant):
    """One task network's score on one variant, and its change from the originals."""

    task: str
    measure: str
    bpp: float
    score: Interval
    change: Interval


class Transfer(_Part):
    """What :func:`diptych.evaluation.transfer.run` wrote."""

    format: Literal["diptych-transfer-1"]
    provenance: Provenance
    model_id: str
    recipe: dict[str, Any]
    photos: int
    points: list[TaskPoint] = Field(min_length=1)


class AblationRow(_Part):
    """One way to decode: statistics, and paired differences to the base codec, by metric."""

    name: str
    base: bool
    summary: dict[str, Interval]
    difference: dict[str, Interval]


class Ablation(_Part):
    """What ``diptych ablate`` wrote."""

    format: Literal["diptych-ablation-1"]
    provenance: Provenance
    model_id: str
    recipe: dict[str, Any]
    photos: list[str] = Field(min_length=1)
    rows: list[AblationRow] = Field(min_length=1)


Source = Evaluation | Transfer | Ablation
_KINDS: dict[str, type[Source]] = {
    "diptych-evaluation-1": Evaluation,
    "diptych-transfer-1": Transfer,
    "diptych-ablation-1": Ablation,
}


def read(path: Name) -> Source | None:
    """The results in a file, or None if it is JSON of something else, which names no format.

    Raises:
        DiptychError: if the file cannot be read, is of a format that is not known here, or lacks what its
            format promises.
    """
    try:
        content = json.loads(read_bytes(path))
    except ValueError as error:
        raise DiptychError(f"the results {path} cannot be read: {error}") from None
    if not isinstance(content, dict) or "format" not in content:
        return None
    kind = _KINDS.get(str(content["format"]))
    if kind is None:
        raise DiptychError(f"{path} is of the format '{content['format']}', a report shows {', '.join(_KINDS)}")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DiptychError(f"the results {path} are damaged at '{where}': {first['msg']}") from None
