"""What ``encode --keep`` costs and saves: bits per pixel, codings and time, against one quality for all photos.

    python benchmarks/keep.py ../shared/data/voc/val --photos 100 --out results/keep.json

For each share, and for each task network and both together, a quality is searched for every photo, of Diptych and
of AVIF in the same way. Beside the mean bits per pixel stands what one quality for all photos takes for the same
average agreement (none where no quality has it), and the average agreement that one quality has at the same mean
bits: the curve over the rungs of the search's ladder is interpolated (agreement linear, bits logarithmic). Seconds
are those that the processor spent on the codings, decodings and predictions of one such search, with those of the
photo. Bits against AVIF's are of the photos where both reach the goal.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

import diptych
from diptych.codec.rate_control import LADDER, smallest
from diptych.data.photos import Photos
from diptych.evaluation.anchors import ANCHORS
from diptych.evaluation.statistics import interval, resamples
from diptych.io.files import write_bytes
from diptych.tasks import load_task
from diptych.tasks.agreement import Found, kept
from diptych.tasks.detector import shipped_detector
from diptych.tasks.view_hint import predicted

NETWORKS: dict[str, Callable[[], Any]] = {
    "own": shipped_detector,
    "fastestdet": lambda: load_task("recipes/tasks/fastestdet.yaml"),
}
SETS = (("own",), ("fastestdet",), ("own", "fastestdet"))
SHARES = (0.9, 0.95, 0.99)

Coder = tuple[Callable[[Image.Image, float], bytes], Callable[[bytes], Image.Image]]


class Coding(NamedTuple):
    """A file of a photo at one quality.

    Attributes:
        agreements, predicting: by network, agreement and seconds of prediction.
        coding: seconds of coding and decoding.
    """

    data: bytes
    agreements: dict[str, float]
    predicting: dict[str, float]
    coding: float

    def agreement(self, names: Sequence[str]) -> float:
        return min(self.agreements[name] for name in names)

    def seconds(self, names: Sequence[str]) -> float:
        return self.coding + sum(self.predicting[name] for name in names)


class Kept(NamedTuple):
    """What a search found for a photo."""

    bpp: float
    agreement: float
    reached: bool
    codings: int
    seconds: float


class Trial:
    """One photo and one coder; every quality is coded once, whoever asks for it."""

    def __init__(self, photo: Image.Image, coder: Coder, networks: dict[str, Any]) -> None:
        self._photo, self._networks = photo, networks
        self._encode, self._decode = coder
        self._wanted = {name: timed(self._seen, name, photo) for name in networks}
        self.at = cache(self._at)

    def search(self, names: Sequence[str], share: float) -> Kept:
        asked: list[Coding] = []

        def encode(quality: float) -> bytes:
            asked.append(self.at(int(quality)))
            return asked[-1].data

        found = smallest(encode, lambda _: asked[-1].agreement(names), share, steady=False)
        seconds = sum(coding.seconds(names) for coding in asked) + sum(self._wanted[name][1] for name in names)
        return Kept(self.bpp(found.data), found.score, found.reached, found.codings, seconds)

    def bpp(self, data: bytes) -> float:
        return 8 * len(data) / (self._photo.width * self._photo.height)

    def _at(self, quality: int) -> Coding:
        start = time.process_time()
        data = self._encode(self._photo, quality)
        shown = self._decode(data)
        coding = time.process_time() - start
        seen = {name: timed(self._seen, name, shown) for name in self._networks}
        agreement = {name: kept(self._wanted[name][0], found) for name, (found, _) in seen.items()}
        return Coding(data, agreement, {name: seconds for name, (_, seconds) in seen.items()}, coding)

    def _seen(self, name: str, picture: Image.Image) -> Found:
        return predicted(self._networks[name], picture)


def timed(work: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """What the work returns, and the seconds it took."""
    start = time.process_time()
    return work(*arguments), time.process_time() - start


def curve(trials: Sequence[Trial], names: Sequence[str]) -> dict[str, list[float]]:
    """Mean bits per pixel and average agreement of one quality for all photos, at every rung."""
    codings = [[trial.at(rung) for trial in trials] for rung in LADDER]
    bpp = [float(np.mean([trial.bpp(c.data) for trial, c in zip(trials, row, strict=True)])) for row in codings]
    return {"bpp": bpp, "agreement": [float(np.mean([c.agreement(names) for c in row])) for row in codings]}


def bpp_for(one_quality: dict[str, list[float]], agreement: float) -> float | None:
    """Bits per pixel at which one quality for all first has an average agreement; None where none has."""
    bpp, reached = one_quality["bpp"], one_quality["agreement"]
    first = next((k for k, value in enumerate(reached) if value >= agreement), None)
    if not first:
        return first if first is None else bpp[0]
    ends = slice(first - 1, first + 1)
    return float(np.exp(np.interp(agreement, reached[ends], np.log(bpp[ends]))))


def measure(coder: str, trials: Sequence[Trial], names: Sequence[str], share: float) -> dict[str, Any]:
    found = [trial.search(names, share) for trial in trials]
    row: dict[str, Any] = {"coder": coder, "networks": " and ".join(names), "keep": share}
    row |= {field: float(np.mean([getattr(one, field) for one in found])) for field in Kept._fields}
    one_quality = curve(trials, names)
    row["one quality: bpp for that agreement"] = bpp_for(one_quality, row["agreement"])
    at_bpp = np.interp(np.log(row["bpp"]), np.log(one_quality["bpp"]), one_quality["agreement"])
    row |= {"agreement at that bpp": float(at_bpp), "best agreement": max(one_quality["agreement"])}
    row |= {"bpp of each": [one.bpp for one in found], "reached by each": [one.reached for one in found]}
    return row | {"one quality for each": one_quality}


def compared(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Bits against the other coder's for the same goal, ratio of the means over the photos where both reach it."""
    both = np.array(ours["reached by each"]) & np.array(theirs["reached by each"])
    mine, other = (np.array(row["bpp of each"])[both] for row in (ours, theirs))
    row = {"networks": ours["networks"], "keep": ours["keep"], "photos": int(both.sum())}
    if not both.any():
        return row | {"against avif": None}
    drawn = resamples(len(mine))
    ratios = mine[drawn].mean(1) / other[drawn].mean(1)
    return row | {"against avif": interval(float(mine.mean() / other.mean()), ratios)._asdict()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of photos")
    parser.add_argument("--photos", type=int, default=100, help="how many, evenly spread")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    codec, avif = diptych.load(), ANCHORS["avif"]
    coders: dict[str, Coder] = {
        "diptych": (codec.encode, codec.decode),
        "avif": (lambda photo, quality: avif.encode(photo, int(quality)), avif.decode),
    }
    networks = {name: load() for name, load in NETWORKS.items()}
    folder = Photos(arguments.folder)
    places = np.linspace(0, len(folder) - 1, arguments.photos).round().astype(int)
    found = [pixels for place in places if (pixels := folder.pixels(int(place))) is not None]
    photos = [Image.fromarray(pixels) for pixels in found]
    rows = []
    for coder, both_ways in coders.items():
        trials = [Trial(photo, both_ways, networks) for photo in photos]
        for trial in track(trials, coder, console=Console(stderr=True)):
            for names in SETS:
                for share in SHARES:
                    trial.search(names, share)
        rows += [measure(coder, trials, names, share) for names in SETS for share in SHARES]
    half = len(rows) // 2
    ratios = [compared(ours, theirs) for ours, theirs in zip(rows[:half], rows[half:], strict=True)]
    show(rows, ratios)
    if arguments.out:
        versions = {"diptych": diptych.__version__, "torch": metadata.version("torch"), "avif": avif.made_with}
        facts = {
            "command": " ".join(["python", *sys.argv]),
            "model_id": codec.model_id.hex(),
            "versions": versions,
            "photos": len(photos),
        }
        result = facts | {"rows": rows, "against_avif": ratios}
        write_bytes(json.dumps(result, indent=1).encode(), arguments.out, True)


def show(rows: Sequence[dict[str, Any]], ratios: Sequence[dict[str, Any]]) -> None:
    """Print the figures."""
    names = [name for name in rows[0] if not name.endswith("each")]
    table = Table(*names)
    for row in rows:
        table.add_row(*(f"{row[name]:.3g}" if isinstance(row[name], float) else row[name] or "" for name in names))
    Console(width=160).print(table)
    for row in ratios:
        ratio = row["against avif"]
        words = "{value:.2f} ({low:.2f} .. {high:.2f}) of AVIF's bits".format(**ratio) if ratio else "nothing"
        print(f"{row['networks']}, keep {row['keep']}: {words} on the {row['photos']} photos where both reach it")


if __name__ == "__main__":
    main()
