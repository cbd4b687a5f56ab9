"""An ablation from recipe to tables: check everything, train what is missing, measure what is missing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO
from rich.console import Console

from diptych.checkerboard.baseline import FEW_TILES, STRIDES, natural
from diptych.codec.codec import load
from diptych.data.coco import CocoDataset
from diptych.errors import RecipeError
from diptych.evaluation import results
from diptych.evaluation.ablation.aggregate import Summary, against
from diptych.evaluation.ablation.decoders import Decoders, Source
from diptych.evaluation.ablation.plot import plot_all
from diptych.evaluation.ablation.recipe import Ablation, Measuring, Row
from diptych.evaluation.ablation.runner import Runner, measure_all
from diptych.evaluation.ablation.table import markdown, show
from diptych.evaluation.ablation.training import TrainedRow
from diptych.evaluation.measurements import Photo
from diptych.evaluation.metrics import FEATURES
from diptych.io.files import make_folder, read_bytes, write_bytes
from diptych.io.recipes import read_recipe

FORMAT = "diptych-ablation-1"


def run(recipe: Path, overrides: Sequence[str] = ()) -> list[Path]:
    """See :func:`diptych.evaluation.ablation.run`."""
    settings = read_recipe(recipe, Ablation, overrides)
    make_folder(settings.out.parent)
    photos, truth = _photos(settings.evaluation)
    trained = {row.name: TrainedRow(settings, row) for row in settings.rows if row.train is not None}
    _check(settings, truth, [row for row in trained.values() if not row.finished])
    _train([row for row in trained.values() if not row.finished])
    sources = [_source(row, trained) for row in settings.rows]
    runner = Runner(settings.evaluation, settings.codec, sources, truth)
    tables = measure_all(runner, photos, settings.codec, settings.evaluation.workers)
    areas = [photo.pixels.shape[0] * photo.pixels.shape[1] for photo in photos]
    evaluation, base = settings.evaluation, settings.rows.index(settings.base)
    summary = Summary(tables, areas, base, evaluation.resamples, evaluation.seed)
    found = {
        "format": FORMAT,
        "provenance": _provenance(recipe, overrides, settings),
        "model_id": load(settings.codec).model_id.hex(),
        "recipe": settings.model_dump(mode="json", exclude_none=True),
        "features": FEATURES,
        "overlap": runner.accuracy.overlap,
        "photos": [photo.name for photo in photos],
        "natural": {f"grid_{stride}": natural("phase", stride, 95, FEW_TILES) for stride in STRIDES},
        "bpp": summary.bpp(),
        "rows": [
            _described(settings, source, trained.get(source.row.name)) | summary.row(number)
            for number, source in enumerate(sources)
        ],
    }
    return _write(found, settings.out)


def _photos(settings: Measuring) -> tuple[list[Photo], COCO]:
    dataset = CocoDataset(settings.photos, settings.labels, limit=settings.limit or None)
    if dataset.problems:
        raise RecipeError(f"{dataset.problems[0]} ({len(dataset.problems)} such problems in the photos)")
    photos = [Photo(dataset.name(k), dataset.ids[k], dataset.photo(k)) for k in range(len(dataset))]
    return photos, dataset.truth()


def _check(settings: Ablation, truth: COCO, todo: Sequence[TrainedRow]) -> None:
    """Everything that can be wrong, before hours are spent on a row."""
    sources = [Source(row, row.view or row.decoder) for row in settings.rows if row.train is None]
    Decoders(load(settings.codec), sources).check()
    for trained in todo:
        trained.check()
    assert Runner(settings.evaluation, settings.codec, sources, truth).accuracy


def _train(todo: Sequence[TrainedRow]) -> None:
    for number, row in enumerate(todo, start=1):
        print(f"row {number} of {len(todo)} to train: {row.row.name}", flush=True)
        row.train()


def _source(row: Row, trained: Mapping[str, TrainedRow]) -> Source:
    return Source(row, trained[row.name].weights if row.name in trained else row.view or row.decoder)


def _provenance(recipe: Path, overrides: Sequence[str], settings: Ablation) -> dict[str, Any]:
    weights = {"codec": settings.codec, "task": settings.evaluation.task}
    command = " ".join(["diptych ablate", str(recipe), *overrides])
    return results.provenance(recipe, overrides, weights) | {"command": command}


def _described(settings: Ablation, source: Source, trained: TrainedRow | None) -> dict[str, Any]:
    """What a row is: its name, its weights, how they were trained, and the paper's figures for it."""
    row, published = source.row, settings.base.paper
    return {
        "name": row.name,
        "base": row.base is True,
        "weights": hashlib.sha256(read_bytes(source.weights)).hexdigest() if source.weights else None,
        "view": str(row.view) if row.view else None,
        "position": source.position,
        "trained": trained.settings if trained else None,
        "paper": row.paper.model_dump() if row.paper else None,
        "paper_change": against(row.paper, published) if row.paper and published else None,
    }


def _write(found: dict[str, Any], out: Path) -> list[Path]:
    results.write(found, out)
    written = json.loads(out.read_text(encoding="utf-8"))
    tables = out.with_suffix(".md")
    write_bytes(markdown(written).encode(), tables, overwrite=True)
    show(written, Console())
    return [out, tables, *plot_all(written, out)]
