"""Training a row: the human stage with the row's overrides, or the same with other upsamplers.

A finished row is known by ``row.json`` in its folder, whose name carries a hash of everything that the training
depends on: another setting is another folder, and nothing is ever trained twice or overwritten.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import cached_property
from pathlib import Path
from typing import Any

from diptych.errors import RecipeError
from diptych.evaluation.ablation.decoders import save_decoder
from diptych.evaluation.ablation.recipe import Ablation, Overrides, Row
from diptych.io.files import read_bytes, write_bytes
from diptych.io.recipes import read_recipe
from diptych.nn.upsamplers import Upsampler, replace_upsamplers
from diptych.training.human import HumanRecipe, HumanStage
from diptych.training.loop import train

_CHANGES_NOTHING = {"out", "threads", "workers", "checkpoint_minutes", "log_every", "pictures_every"}


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
        row: one of its rows that has ``train``.

    Raises:
        RecipeError: if the row's recipe, with all overrides, is not one.
    """

    def __init__(self, ablation: Ablation, row: Row) -> None:
        assert row.train is not None
        self.row = row
        given = {"codec": str(ablation.codec), "loop": {"out": str(ablation.folder / row.slug)}}
        overrides = [text for part in (ablation.training, row.train, given) for text in _flat(part)]
        try:
            self._recipe = read_recipe(row.recipe or ablation.human, HumanRecipe, overrides)
        except RecipeError as error:
            raise RecipeError(f"row '{row.name}': {error}") from None

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
            raise RecipeError(f"row '{self.row.name}': {error}") from None
        except FileNotFoundError as error:
            raise RecipeError(f"row '{self.row.name}' names {error.filename}, which does not exist") from None


def _flat(overrides: Overrides, prefix: str = "") -> Iterator[str]:
    """``key=value`` for every leaf of nested overrides."""
    for key, value in overrides.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={json.dumps(value)}"
