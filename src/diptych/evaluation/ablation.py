"""Table 1 of the paper, and the rows it leaves out: trains what has to be trained, hands all rows to the harness.

::

    recipe -> rows -> training -> one codec per row, all of which decode the files of the base codec -> harness

A finished row is known by ``row.json`` in its folder, whose name carries a hash of everything that the training
depends on: another setting is another folder, and nothing is ever trained twice or overwritten.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from diptych.errors import RecipeError
from diptych.evaluation.codecs import opened, save_decoder
from diptych.evaluation.harness import Runner, evaluate, photos_of
from diptych.evaluation.recipe import CodecFile, Evaluation, Settings
from diptych.io.files import read_bytes, write_bytes
from diptych.io.recipes import read_recipe
from diptych.nn.upsamplers import Upsampler, replace_upsamplers
from diptych.training.human import HumanRecipe, HumanStage
from diptych.training.loop import train

Overrides = dict[str, Any]
_CHANGES_NOTHING = {"out", "threads", "workers", "checkpoint_minutes", "log_every", "pictures_every"}


class Row(Settings):
    """A human view to be trained.

    Attributes:
        train: overrides of the recipe that this row is trained by.
        recipe: a recipe of its own; the one that all rows share if not given.
        upsampler: what stands in for the transposed convolutions; all stages are then tuned.
    """

    train: Overrides
    recipe: Path | None = None
    upsampler: Upsampler | None = None


def _is(row: Any) -> str:
    trained = isinstance(row, Row) or (isinstance(row, dict) and "train" in row)
    return "trained" if trained else "file"


RowOrFile = Annotated[Annotated[Row, Tag("trained")] | Annotated[CodecFile, Tag("file")], Discriminator(_is)]


class Ablation(Settings):
    """A table and how to make it. Paths are relative to the folder the command runs in.

    Attributes:
        human: recipe that trained rows start from, see :class:`diptych.training.human.HumanRecipe`.
        training: overrides of it, common to all trained rows.
        folder: where rows are trained, each in a folder of its own, named after the row and its settings.
        rows: by name what to train, or a decoder that is there: a
            :class:`~diptych.evaluation.recipe.CodecFile`. The first is the base codec, whose file, its ``model``,
            replaces the one of every other row and of the recipes that they are trained by.
        evaluation: what all rows are measured on, as in any :class:`~diptych.evaluation.recipe.Evaluation`, but for
            the codecs.
    """

    human: Path
    training: Overrides = Field(default={})
    folder: Path
    rows: dict[str, RowOrFile] = Field(min_length=1)
    evaluation: Evaluation

    @model_validator(mode="after")
    def _consistent(self) -> Ablation:
        if isinstance(self.base, Row) or self.base.model is None:
            raise ValueError("the first row must name the base codec, its 'model'")
        slugs = [_slug(name) for name in self.rows]
        for name in self.rows:
            if slugs.count(_slug(name)) > 1:
                raise ValueError(f"there are several rows '{name}'")
        if "codecs" in self.evaluation.model_fields_set:
            raise ValueError("the codecs are the rows: 'evaluation' names none")
        return self

    @property
    def base(self) -> RowOrFile:
        return next(iter(self.rows.values()))

    @property
    def codec(self) -> Path:
        """The base codec's file."""
        assert isinstance(self.base, CodecFile)
        assert self.base.model
        return self.base.model

    def measured(self, trained: dict[str, TrainedRow]) -> Evaluation:
        """The evaluation of all rows that are there: those in files, and those of ``trained``."""
        codecs = {}
        for name, row in self.rows.items():
            if name in trained:
                codecs[name] = trained[name].decoder
            elif isinstance(row, CodecFile):
                codecs[name] = row.model_copy(update={"model": self.codec})
        return self.evaluation.model_copy(update={"codecs": codecs})


def run(recipe: Path, overrides: Sequence[str] = ()) -> Path:
    """Train and measure every row of ``recipe``, print the tables and write the results.

    What is trained, or measured, already is kept: the command may be killed and repeated at any time.

    Args:
        recipe: YAML file of an :class:`Ablation`.
        overrides: ``key=value`` strings that replace entries of the recipe (``evaluation.limit=20``).

    Returns:
        The results file.

    Raises:
        DiptychError: if the recipe, a row, the photos or a file cannot be used (before anything is trained).
    """
    settings = read_recipe(recipe, Ablation, overrides)
    rows = {name: TrainedRow(settings, name, row) for name, row in settings.rows.items() if isinstance(row, Row)}
    todo = {name: row for name, row in rows.items() if not row.finished}
    _check(settings, list(todo.values()))
    for number, (name, row) in enumerate(todo.items(), start=1):
        print(f"row {number} of {len(todo)} to train: {name}", flush=True)
        row.train()
    measured = settings.measured(rows)
    evaluate(measured, ["diptych ablate", str(recipe), *overrides])
    return measured.out


def _check(settings: Ablation, todo: Sequence[TrainedRow]) -> None:
    """Everything that can be wrong, before hours are spent on a row."""
    measured = settings.measured({})
    opened(measured)
    for row in todo:
        row.check()
    _, dataset = photos_of(measured)
    assert Runner(measured, dataset.truth() if dataset else None).scores is not None


class RebuiltStage(HumanStage):
    """The human stage on a ``g_s`` with other upsamplers, all of whose stages learn."""

    def __init__(self, recipe: HumanRecipe, upsampler: Upsampler) -> None:
        super().__init__(recipe)
        self.upsampler: Upsampler = upsampler
        g_s = self.model.codec.g_s
        replace_upsamplers(g_s, upsampler)
        self.model.tuned = [name for name, _ in g_s.stages.named_children()]
        self.model.train()

    def export(self, path: Path) -> None:
        save_decoder(self.model.codec.g_s, self.upsampler, self.frozen.model_id, path)


class TrainedRow:
    """A row that is trained, its settings complete.

    Args:
        ablation: the recipe.
        name: of the row.
        row: what to train.

    Raises:
        RecipeError: if the row's recipe, with all overrides, is not one.
    """

    def __init__(self, ablation: Ablation, name: str, row: Row) -> None:
        self.row, self._name, self._codec = row, name, ablation.codec
        given = {"codec": str(ablation.codec), "loop": {"out": str(ablation.folder / _slug(name))}}
        overrides = [text for part in (ablation.training, row.train, given) for text in _flat(part)]
        try:
            self._recipe = read_recipe(row.recipe or ablation.human, HumanRecipe, overrides)
        except RecipeError as error:
            raise RecipeError(f"row '{name}': {error}") from None

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All that the row's weights depend on but code and photos."""
        found = self._recipe.model_dump(mode="json")
        found["loop"] = {key: value for key, value in found["loop"].items() if key not in _CHANGES_NOTHING}
        recipe = self._recipe
        labels = [source.labels for source in recipe.photos]
        used = (recipe.codec, recipe.start, *labels, *(teacher.network for teacher in recipe.tasks))
        hashes = {str(path): hashlib.sha256(read_bytes(path)).hexdigest() for path in used if path}
        return {"recipe": found, "upsampler": self.row.upsampler, "files": hashes}

    @property
    def folder(self) -> Path:
        digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()
        out = self._recipe.loop.out
        return out.with_name(f"{out.name}-{digest[:8]}")

    @property
    def weights(self) -> Path:
        """What training writes: a view file, or a decoder file if the row has other upsamplers."""
        return self.folder / "weights.safetensors"

    @property
    def decoder(self) -> CodecFile:
        """The base codec with what training writes."""
        if self.row.upsampler:
            return CodecFile(model=self._codec, decoder=self.weights, views=["machine"])
        return CodecFile(model=self._codec, view=self.weights, views=["human"])

    @property
    def finished(self) -> bool:
        return self._mark.is_file() and self.weights.is_file()

    def check(self) -> None:
        """Build everything that training needs.

        Raises:
            DiptychError: if that is impossible; the row is named.
        """
        with redirect_stdout(io.StringIO()):
            self._stage()

    def train(self) -> None:
        """Train from the last checkpoint on, or from the start if there is none."""
        recipe = self._recipe.model_copy(update={"loop": self._recipe.loop.model_copy(update={"out": self.folder})})
        resume = (self.folder / "checkpoint.pt").is_file()
        # overwrite: the folder's name tells that it is this row's
        train(self._stage(), recipe.loop, resume, overwrite=not resume)
        write_bytes(json.dumps(self.settings, indent=1).encode(), self._mark, overwrite=True)

    @property
    def _mark(self) -> Path:
        return self.folder / "row.json"

    def _stage(self) -> HumanStage:
        try:
            upsampler = self.row.upsampler
            return RebuiltStage(self._recipe, upsampler) if upsampler else HumanStage(self._recipe)
        except RecipeError as error:
            raise RecipeError(f"row '{self._name}': {error}") from None
        except FileNotFoundError as error:
            raise RecipeError(f"row '{self._name}' names {error.filename}, which does not exist") from None


def _slug(name: str) -> str:
    """A row's name, fit for a folder."""
    return re.sub(r"\W+", "-", name.lower()).strip("-")


def _flat(overrides: Overrides, prefix: str = "") -> Iterator[str]:
    """``key=value`` for every leaf of nested overrides."""
    for key, value in overrides.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={json.dumps(value)}"
