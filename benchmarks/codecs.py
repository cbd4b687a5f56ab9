"""What codecs that were trained differently are worth to several task networks, at equal bits.

    python benchmarks/codecs.py one=runs/one-task/weights.safetensors \\
        two=runs/two-tasks/weights.safetensors --task mask-rcnn=src/diptych/weights/task.safetensors \\
        --task fcos=weights/fcos.safetensors --task fastestdet=recipes/tasks/fastestdet.yaml \\
        --photos ../shared/data/voc/val --labels ../shared/data/voc/val.json --limit 200 \\
        --out results/two-tasks.json

Every photo is coded by every codec in real files and shown to every task network, in the machine view. A network is
scored by AP50 where the labels know its classes, else by how far it agrees with what it sees in the originals. The
BD-rate of a codec is taken at equal score against the first one named, with paired intervals over the photos; and
again at equal distance of the network's features, which tells small changes sooner.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from diptych.codec.codec import load
from diptych.data.coco import CocoDataset
from diptych.data.photos import Photos
from diptych.evaluation.cache import Cache
from diptych.evaluation.statistics import bd_rate, interval, resamples, sampled
from diptych.evaluation.task_accuracy import PredictionCache
from diptych.evaluation.transfer import measure_of
from diptych.evaluation.variants import ORIGINAL, Variant, decoded
from diptych.io.files import write_bytes
from diptych.io.progress import progress
from diptych.nn.losses import feature_distance
from diptych.tasks import load_task

DRAWS = 300


class Curves:
    """Rates and scores of one codec on all photos shown so far.

    Args:
        path: the codec's weights.
        arguments: of the command.
        dataset: the labels, if any.
    """

    def __init__(self, path: Path, arguments: argparse.Namespace, dataset: CocoDataset | None) -> None:
        self.codec, self.qualities = load(path), arguments.qualities
        cache = Cache(Path(".diptych-cache"))
        self.tasks = {name: load_task(where) for name, where in arguments.task}
        self.measures = {
            name: measure_of(self.tasks[name], dataset, 8, PredictionCache(cache, self.tasks[name], where))
            for name, where in arguments.task
        }
        self.bpp: dict[Variant, list[float]] = defaultdict(list)
        self.distances: dict[tuple[str, Variant], list[float]] = defaultdict(list)

    def add(self, photo: np.ndarray, image_id: int) -> None:
        pictures = list(decoded(photo, self.codec, self.qualities, ["machine"], {}, []))
        for one in pictures:
            self.bpp[one.variant].append(8 * one.size / photo[..., 0].size)
        for name, measure in self.measures.items():
            measure.add(pictures, image_id)
            wanted = self._features(name, photo)
            for one in pictures:
                found = feature_distance(wanted, self._features(name, np.asarray(one.picture)))
                self.distances[name, one.variant].append(float(found))

    def of(self, task: str, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rates, scores and distances, ``(1 + draws, qualities)`` each."""
        coded = [variant for variant in self.bpp if variant.codec != ORIGINAL]
        rates = [sampled(self.bpp[variant], drawn) for variant in coded]
        scores = [self.measures[task].values(variant, drawn) for variant in coded]
        distances = [sampled(self.distances[task, variant], drawn) for variant in coded]
        return np.stack(rates, 1), np.stack(scores, 1), np.stack(distances, 1)

    @torch.inference_mode()
    def _features(self, task: str, pixels: np.ndarray) -> dict[str, torch.Tensor]:
        x = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float() / 255
        found: dict[str, torch.Tensor] = self.tasks[task].features(x)
        return found


def named(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    return name, Path(path)


def photos_of(arguments: argparse.Namespace, dataset: CocoDataset | None) -> Iterator[tuple[int, np.ndarray]]:
    if dataset is not None:
        yield from ((image_id, dataset.photo(k)) for k, image_id in enumerate(dataset.ids))
        return
    folder = Photos(arguments.photos, arguments.limit)
    yield from ((0, photo) for photo in map(folder.pixels, range(len(folder))) if photo is not None)


def compared(curves: dict[str, Curves], count: int, bounds: tuple[float, float]) -> list[dict[str, Any]]:
    """A row per task network and codec."""
    drawn, rows = resamples(count, DRAWS), []
    first = next(iter(curves.values()))
    for task, measure in first.measures.items():
        on_originals = float(measure.values(Variant(ORIGINAL), drawn)[0])
        anchor = first.of(task, drawn)
        for name, curve in curves.items():
            rates, scores, distances = curve.of(task, drawn)
            row = {"task": task, "measure": measure.name, "codec": name, "on originals": on_originals}
            row |= {"bpp": rates[0].tolist(), "score": scores[0].tolist(), "distance": distances[0].tolist()}
            if curve is not first:
                row["bd_rate"] = _saved(anchor[0], anchor[1], rates, scores, bounds)
                row["bd_rate of distance"] = _saved(anchor[0], -anchor[2], rates, -distances, bounds)
            rows.append(row)
    return rows


def _saved(
    anchor_rates: np.ndarray,
    anchor_scores: np.ndarray,
    rates: np.ndarray,
    scores: np.ndarray,
    bounds: tuple[float, float],
) -> dict[str, float]:
    draws = zip(anchor_rates, anchor_scores, rates, scores, strict=True)
    found = [bd_rate((ra, sa), (rb, sb), bounds).percent for ra, sa, rb, sb in draws]
    return interval(found[0], found[1:])._asdict()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codecs", type=named, nargs="+", metavar="NAME=WEIGHTS", help="the first is the anchor")
    parser.add_argument("--task", type=named, action="append", required=True, metavar="NAME=FILE")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--limit", type=int, default=0, help="use only this many photos")
    parser.add_argument("--qualities", type=float, nargs="+", default=[3, 12, 25, 45, 65])
    parser.add_argument("--bpp", type=float, nargs=2, default=(0.02, 2.0), help="range of the BD-rate")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    dataset = None
    if arguments.labels:
        dataset = CocoDataset(arguments.photos, arguments.labels, limit=arguments.limit or None)
    curves = {name: Curves(path, arguments, dataset) for name, path in arguments.codecs}
    photos = list(photos_of(arguments, dataset))
    with progress(len(photos)) as advance:
        for image_id, photo in photos:
            for curve in curves.values():
                curve.add(photo, image_id)
            advance()
    rows = compared(curves, len(photos), tuple(arguments.bpp))
    show(rows)
    if arguments.out:
        models = {name: curve.codec.model_id.hex() for name, curve in curves.items()}
        found = {"command": " ".join(["python", *sys.argv]), "models": models, "photos": len(photos), "rows": rows}
        write_bytes(json.dumps(found, indent=1).encode(), arguments.out, True)


def show(rows: list[dict[str, Any]]) -> None:
    table = Table("task network", "score on the originals", "codec", "score at bpp", "BD-rate", "at equal distance")
    for row in rows:
        points = ", ".join(f"{s:.3f} at {b:.3f}" for b, s in zip(row["bpp"], row["score"], strict=True))
        cells = [_cell(row.get(name)) for name in ("bd_rate", "bd_rate of distance")]
        table.add_row(row["task"], f"{row['measure']} {row['on originals']:.3f}", row["codec"], points, *cells)
    Console(width=200).print(table)


def _cell(rate: dict[str, float] | None) -> str:
    if rate is None or math.isnan(rate["value"]):
        return ""
    return f"{rate['value']:+.1f} % ({rate['low']:+.1f} .. {rate['high']:+.1f})"


if __name__ == "__main__":
    main()
