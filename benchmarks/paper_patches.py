"""The grid meter on the sample patches that the paper's authors published, and on this codec's views beside them.

    python benchmarks/paper_patches.py ../shared/data/paper-patches --photos ../shared/data/kodak

The patches show what their codec and their cures left of the grid; ours are Kodak photos, coded at a few qualities.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

import diptych
from diptych.checkerboard.baseline import STRIDES, natural
from diptych.checkerboard.score import grid_scores
from diptych.evaluation import results
from diptych.io.images import read_picture

Scores = dict[int, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patches", type=Path, help="a folder with one folder per patch, one picture per variant")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--quality", type=float, nargs="+", default=[5, 20, 40, 80])
    parser.add_argument("--out", type=Path, default=Path("results/paper-patches.json"))
    arguments = parser.parse_args()

    rows = {f"paper: {name}": scores for name, scores in _patches(arguments.patches).items()}
    rows |= _ours(arguments.photos, arguments.quality)
    found = {
        "provenance": results.provenance(["python", *sys.argv], {}).model_dump(),
        "natural_95": {stride: natural("phase", stride, 95, tiles=1) for stride in STRIDES},
        "rows": [
            {"row": name, "pictures": len(scores[STRIDES[0]]), "grid": {s: _spread(scores[s]) for s in STRIDES}}
            for name, scores in rows.items()
        ],
    }
    results.write(found, arguments.out)
    _show(found)


def _patches(folder: Path) -> dict[str, Scores]:
    rows: dict[str, Scores] = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.glob("*/*.png")):
        _add(rows[path.stem], read_picture(path).image)
    return rows


def _ours(folder: Path, qualities: list[float]) -> dict[str, Scores]:
    codec, views = diptych.load(), ("machine", "human")
    rows: dict[str, Scores] = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.iterdir()):
        photo = read_picture(path).image
        _add(rows["Kodak originals"], photo)
        for quality in qualities:
            data = codec.encode(photo, quality=quality)
            for view, picture in zip(views, codec.decode_views(data, views), strict=True):
                _add(rows[f"quality {quality:g}, {view} view"], picture)
    return dict(sorted(rows.items(), key=lambda row: row[0]))


def _add(scores: Scores, picture: Image.Image) -> None:
    for stride, score in grid_scores(picture, STRIDES).items():
        scores[stride].append(score)


def _spread(scores: list[float]) -> dict[str, float]:
    low, middle, high = np.percentile(scores, (0, 50, 100))
    return {"median": round(float(middle), 2), "lowest": round(float(low), 2), "highest": round(float(high), 2)}


def _show(found: dict) -> None:
    table = Table(title="Grid score: median (lowest .. highest)", title_justify="left")
    table.add_column("")
    for stride in STRIDES:
        table.add_column(f"s = {stride} (photos: 95 % below {found['natural_95'][stride]:.1f})", justify="right")
    for row in found["rows"]:
        cells = (row["grid"][s] for s in STRIDES)
        table.add_row(row["row"], *(f"{c['median']:.1f} ({c['lowest']:.1f} .. {c['highest']:.1f})" for c in cells))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
