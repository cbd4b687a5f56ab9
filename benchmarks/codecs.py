"""What codecs that were trained differently are worth to several machines, at equal bits.

    python benchmarks/codecs.py one=runs/one-machine/weights.safetensors \\
        two=runs/two-machines/weights.safetensors --machine own=src/diptych/weights/task.safetensors \\
        --machine fcos=weights/fcos.safetensors --machine fastestdet=recipes/machines/fastestdet.yaml \\
        --photos ../shared/data/voc/val --labels ../shared/data/voc/val.json --limit 200 \\
        --out results/two-machines.json

Every photo is coded by every codec in real files and shown to every machine, in the machine view. A machine is
scored by AP50 where the labels know its classes, else by how far it agrees with what it sees in the originals. The
BD-rate of a codec is taken at equal score against the first one named, with paired intervals over the photos.
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

from diptych.codec import load
from diptych.data.coco import CocoDataset
from diptych.data.photos import Photos
from diptych.evaluation.cache import Cache
from diptych.evaluation.eye import Memory
from diptych.evaluation.progress import progress
from diptych.evaluation.statistics import bd_rate, interval, resamples, sampled
from diptych.evaluation.transfer import measure_of
from diptych.evaluation.variants import ORIGINAL, Variant, decoded
from diptych.files import write_bytes
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
        self.measures = {}
        for name, where in arguments.machine:
            machine = load_task(where)
            self.measures[name] = measure_of(machine, dataset, 8, Memory(cache, machine, where))
        self.bpp: dict[Variant, list[float]] = defaultdict(list)

    def add(self, photo: np.ndarray, image_id: int) -> None:
        pictures = list(decoded(photo, self.codec, self.qualities, ["machine"], {}, []))
        for one in pictures:
            self.bpp[one.variant].append(8 * one.size / photo[..., 0].size)
        for measure in self.measures.values():
            measure.add(pictures, image_id)

    def of(self, machine: str, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rates and scores ``(1 + draws, qualities)``, and the score on the originals ``(1 + draws,)``."""
        coded = [variant for variant in self.bpp if variant.codec != ORIGINAL]
        rates = np.stack([sampled(self.bpp[variant], drawn) for variant in coded], 1)
        scores = np.stack([self.measures[machine].values(variant, drawn) for variant in coded], 1)
        return rates, scores, self.measures[machine].values(Variant(ORIGINAL), drawn)


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
    """A row per machine and codec."""
    drawn, rows = resamples(count, DRAWS), []
    first = next(iter(curves.values()))
    for machine, measure in first.measures.items():
        anchor = first.of(machine, drawn)
        for name, curve in curves.items():
            rates, scores, original = curve.of(machine, drawn)
            saved = [
                bd_rate((ra, sa), (rb, sb), bounds).percent
                for ra, sa, rb, sb in zip(anchor[0], anchor[1], rates, scores, strict=True)
            ]
            rows.append(
                {
                    "machine": machine,
                    "measure": measure.name,
                    "codec": name,
                    "on originals": float(original[0]),
                    "bpp": rates[0].tolist(),
                    "score": scores[0].tolist(),
                    "bd_rate": interval(saved[0], saved[1:])._asdict() if curve is not first else None,
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codecs", type=named, nargs="+", metavar="NAME=WEIGHTS", help="the first is the anchor")
    parser.add_argument("--machine", type=named, action="append", required=True, metavar="NAME=FILE")
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
    table = Table("machine", "score on the originals", "codec", "score at bpp", "BD-rate")
    for row in rows:
        points = ", ".join(f"{s:.3f} at {b:.3f}" for b, s in zip(row["bpp"], row["score"], strict=True))
        rate = row["bd_rate"]
        cell = "" if rate is None or math.isnan(rate["value"]) else f"{rate['value']:+.1f} %"
        cell += f" ({rate['low']:+.1f} .. {rate['high']:+.1f})" if cell else ""
        table.add_row(row["machine"], f"{row['measure']} {row['on originals']:.3f}", row["codec"], points, cell)
    Console(width=180).print(table)


if __name__ == "__main__":
    main()
