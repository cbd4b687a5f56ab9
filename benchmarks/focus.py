"""What ``encode --focus detections`` saves: bits at equal AP50 and agreement of task networks, and for people.

    python benchmarks/focus.py ../shared/data/voc/val ../shared/data/voc/val.json --out results/focus.json

Files of some qualities with and without focus are decoded in both views. Networks look at the machine view: AP50
is that of boxes against the labels, agreement that of ``--keep``. People look at the human one: SSIMULACRA 2.1 of
the largest box alone, and of the whole picture with all boxes as in the photo. Bits at equal score are
Bjontegaard-delta rates between the means over the photos; intervals are those of resampled photos.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track

import diptych
from diptych.cli.focus import Detections
from diptych.codec import focus
from diptych.codec.codec import Codec
from diptych.data.coco import CocoDataset
from diptych.evaluation.average_precision import AveragePrecision, PictureMatches, match
from diptych.evaluation.people import ssimulacra2
from diptych.evaluation.statistics import bd_rate, interval, resamples
from diptych.io.boxes import Box
from diptych.io.files import write_bytes
from diptych.tasks import load_task
from diptych.tasks.agreement import Found, kept
from diptych.tasks.detector import shipped_detector
from diptych.tasks.labels import label_map
from diptych.tasks.view_hint import predicted

QUALITIES = (5, 12, 20, 40, 70)
ALONG = (0, *QUALITIES, 30, 55)
"""Of the files without focus, against which the others are held."""
RANGE = (0.02, 1.0)
SMALLEST = 48
"""Side of a box, in pixels, that is cut out for people to look at."""


class Coding(NamedTuple):
    """One photo's file of one quality.

    Attributes:
        people: SSIMULACRA 2.1 inside and outside of the boxes, NaN where there is none.
        agreements, matches: by network.
    """

    bpp: float
    people: dict[str, float]
    agreements: dict[str, float]
    matches: dict[str, PictureMatches]


class Trial:
    """A photo with its labels, and what the networks see in it."""

    def __init__(self, dataset: CocoDataset, index: int, truth: Any, networks: dict[str, Any]) -> None:
        self.photo = Image.fromarray(dataset.photo(index))
        self.boxes: Sequence[Box] = Detections().boxes(Path(), self.photo)
        self._id, self._truth, self._networks = dataset.ids[index], truth, networks
        self._wanted = {name: predicted(network, self.photo) for name, network in networks.items()}
        names = [category["name"] for category in truth.dataset["categories"]]
        self._labels = {name: label_map(network.classes, names) for name, network in networks.items()}

    def coded(self, codec: Codec, quality: float, boxes: Sequence[Box]) -> Coding:
        data = codec.encode(self.photo, quality, focus=boxes)
        machine, human = codec.decode_views(data, ["machine", "human"])
        seen = {name: predicted(network, machine) for name, network in self._networks.items()}
        return Coding(
            8 * len(data) / (self.photo.width * self.photo.height),
            self._people(human),
            {name: kept(self._wanted[name], found) for name, found in seen.items()},
            {name: self._matched(name, found) for name, found in seen.items()},
        )

    def _people(self, shown: Image.Image) -> dict[str, float]:
        width, height = self.photo.size
        cuts = [
            (max(0, int(x)), max(0, int(y)), min(width, int(x + w)), min(height, int(y + h)))
            for x, y, w, h in self.boxes
        ]
        large = [cut for cut in cuts if min(cut[2] - cut[0], cut[3] - cut[1]) >= SMALLEST]
        if not large:
            return {"inside": float("nan"), "outside": float("nan")}
        largest = max(large, key=lambda cut: (cut[2] - cut[0]) * (cut[3] - cut[1]))
        around = shown.copy()
        for cut in cuts:
            around.paste(self.photo.crop(cut), cut[:2])
        inside = ssimulacra2(self.photo.crop(largest), shown.crop(largest))
        return {"inside": inside, "outside": ssimulacra2(self.photo, around)}

    def _matched(self, name: str, found: Found) -> PictureMatches:
        labels = self._labels[name][found["labels"]]
        detections = [
            {"label": int(label), "score": float(score), "bbox": [x0, y0, x1 - x0, y1 - y0]}
            for label, score, (x0, y0, x1, y1) in zip(labels, found["scores"], found["boxes"].tolist(), strict=True)
            if label
        ]
        return match(self._truth, self._id, detections, "bbox")


Curve = dict[float, list[Coding]]
"""Codings of all photos by quality."""


def scores(codings: Sequence[Coding], drawn: np.ndarray) -> dict[str, np.ndarray]:
    """Each measure over all photos, then over each resample: ``(1 + draws,)``."""
    every = np.concatenate([np.arange(len(codings))[None], drawn])
    found = {"bpp": np.array([c.bpp for c in codings])[every].mean(1)}
    for place in ("inside", "outside"):
        values = np.array([c.people[place] for c in codings])
        found[f"SSIMULACRA 2.1 {place}"] = np.nanmean(values[every], axis=1)
    for name in codings[0].agreements:
        found[f"agreement of {name}"] = np.array([c.agreements[name] for c in codings])[every].mean(1)
        found[f"AP50 of {name}"] = AveragePrecision([c.matches[name] for c in codings]).resampled(every)[:, 1]
    return found


def compared(plain: Curve, focused: Curve, draws: int) -> dict[str, Any]:
    """The points of both curves, and bits of ``focused`` at equal score, in percent."""
    drawn = resamples(len(next(iter(plain.values()))), draws)
    points = {
        name: {quality: scores(codings, drawn) for quality, codings in sorted(curve.items())}
        for name, curve in (("plain", plain), ("focused", focused))
    }
    measures = [name for name in next(iter(points["plain"].values())) if name != "bpp"]
    saved = {}
    for measure in measures:
        curves = [
            [
                ([p["bpp"][k] for p in points[name].values()], [p[measure][k] for p in points[name].values()])
                for name in points
            ]
            for k in range(draws + 1)
        ]
        percents = [bd_rate(*both, RANGE).percent for both in curves]
        saved[measure] = interval(percents[0], percents[1:])._asdict()
    shown = {
        name: {quality: {m: float(values[0]) for m, values in point.items()} for quality, point in curve.items()}
        for name, curve in points.items()
    }
    return {"points": shown, "bits at equal score, percent": saved}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of photos")
    parser.add_argument("labels", type=Path, help="of them, in COCO format")
    parser.add_argument("--photos", type=int, default=80, help="how many, evenly spread")
    parser.add_argument("--blurs", type=float, nargs="+", default=[focus.BLUR], help="at quality 0, in pixels")
    parser.add_argument("--draws", type=int, default=300, help="resamples of the photos")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    codec, dataset = diptych.load(), CocoDataset(arguments.folder, arguments.labels)
    networks = {"own": shipped_detector()}
    networks |= {name: load_task(f"recipes/tasks/{name}.yaml") for name in ("fastestdet", "nanodet")}
    truth, plain = dataset.truth(), {quality: [] for quality in ALONG}
    focused: dict[float, Curve] = {blur: {quality: [] for quality in QUALITIES} for blur in arguments.blurs}
    covered = []
    places = np.linspace(0, len(dataset) - 1, arguments.photos).round().astype(int).tolist()
    for place in track(places, "photos", console=Console(stderr=True)):
        trial = Trial(dataset, place, truth, networks)
        covered.append(len(trial.boxes) > 0)
        for quality, codings in plain.items():
            codings.append(trial.coded(codec, quality, []))
        for blur, curve in focused.items():
            focus.BLUR = blur
            for quality, codings in curve.items():
                codings.append(trial.coded(codec, quality, trial.boxes))
    rows = {f"blur {blur:g}": compared(plain, curve, arguments.draws) for blur, curve in focused.items()}
    show(rows)
    if arguments.out:
        facts = {"command": " ".join(["python", *sys.argv]), "model_id": codec.model_id.hex()}
        facts |= {"photos": len(covered), "photos with a detection": sum(covered)}
        write_bytes(json.dumps(facts | rows, indent=1).encode(), arguments.out, True)


def show(rows: dict[str, Any]) -> None:
    """Print the figures."""
    for name, row in rows.items():
        print(name)
        for quality, point in row["points"]["focused"].items():
            before = row["points"]["plain"][quality]
            told = (f"{measure} {before[measure]:.3f} to {value:.3f}" for measure, value in point.items())
            print(f"  quality {quality}: {', '.join(told)}")
        for measure, found in row["bits at equal score, percent"].items():
            print("  {0}: {value:+.1f} % ({low:+.1f} .. {high:+.1f})".format(measure, **found))


if __name__ == "__main__":
    main()
