"""What is compared: a recipe of rows, each one way to make a picture from the base codec's latents."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from diptych.evaluation.runner import Quality, Sampling
from diptych.nn.upsamplers import Upsampler

KINDS = ("base", "train", "view", "filter", "decoder")
_ONLY_WITH = {"recipe": "train", "upsampler": "train", "blend": "view"}
Overrides = dict[str, Any]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Gaussian(_Settings):
    """A blur: ``sigma`` in pixels."""

    kind: Literal["gaussian"]
    sigma: float = Field(gt=0)


class Bilateral(_Settings):
    """A blur that stops at edges: ``sigma`` in pixels, ``contrast`` in levels of 255."""

    kind: Literal["bilateral"]
    sigma: float = Field(gt=0)
    contrast: float = Field(gt=0)


Filter = Annotated[Gaussian | Bilateral, Field(discriminator="kind")]


class Published(_Settings):
    """The figures that the paper gives for a row."""

    mAP: float
    psnr: float
    ssim: float


class Row(_Settings):
    """One way to decode, by exactly one of ``base``, ``train``, ``view``, ``filter`` and ``decoder``.

    Attributes:
        name: in the table.
        paper: the paper's own figures, where it has the row.
        base: the base codec as it is.
        train: overrides of the recipe that this row is trained by.
        recipe: a recipe of its own; the one that all rows share if not given.
        upsampler: what stands in for the transposed convolutions of a trained row; all stages are then tuned.
        view: a view file.
        blend: position on the dial between the base codec (0) and the view (1).
        filter: what the base codec's picture is filtered by.
        decoder: another codec's file, whose whole decoder reads the base codec's latents.
    """

    name: str = Field(min_length=1, pattern=r"\w")
    paper: Published | None = None
    base: Literal[True] | None = None
    train: Overrides | None = None
    recipe: Path | None = None
    upsampler: Upsampler | None = None
    view: Path | None = None
    blend: float | None = Field(default=None, ge=0, le=1)
    filter: Filter | None = None
    decoder: Path | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Row:
        kinds = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError(f"row '{self.name}' must have exactly one of {', '.join(KINDS)}")
        for key, kind in _ONLY_WITH.items():
            if getattr(self, key) is not None and kind not in kinds:
                raise ValueError(f"row '{self.name}' has '{key}', which belongs to '{kind}'")
        return self

    @property
    def slug(self) -> str:
        """The name, fit for a folder."""
        return re.sub(r"\W+", "-", self.name.lower()).strip("-")


class Measuring(Sampling):
    """On what all rows are measured, and how; see :class:`diptych.evaluation.runner.Evaluation`."""

    photos: Path
    labels: Path
    task: Path
    qualities: list[Quality] = Field(min_length=1)


class Ablation(_Settings):
    """A table and how to make it. Paths are relative to the folder the command runs in.

    Attributes:
        codec: the base codec, which writes every file; it replaces the one in the recipes of trained rows.
        human: recipe that trained rows start from, see :class:`diptych.training.human.HumanRecipe`.
        training: overrides of it, common to all trained rows.
        folder: where rows are trained, each in a folder of its own, named after the row and its settings.
        evaluation: what the rows are measured on.
        out: results file; the tables and figures are written beside it.
        rows: in the order of the table; one of them is the base codec.
    """

    codec: Path
    human: Path
    training: Overrides = {}
    folder: Path
    evaluation: Measuring
    out: Path
    rows: list[Row] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Ablation:
        if sum(row.base is not None for row in self.rows) != 1:
            raise ValueError("exactly one row must be the base codec (base: true)")
        slugs = [row.slug for row in self.rows]
        for row in self.rows:
            if slugs.count(row.slug) > 1:
                raise ValueError(f"there are several rows '{row.name}'")
        return self

    @property
    def base(self) -> Row:
        """The row that all others are compared with."""
        return next(row for row in self.rows if row.base)
