"""What natural photos score on the grid meter: makes the table that ``diptych grid`` compares with.

    python benchmarks/natural_grid.py kodak=../shared/data/kodak voc=../shared/data/voc/val

Then says how often those photos would themselves be called a grid.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np

from diptych.checkerboard.baseline import PERCENTILES, STRIDES, TABLE, percentiles
from diptych.checkerboard.detector import measure
from diptych.checkerboard.score import TileScores, tile_scores
from diptych.io.images import read_picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--out", type=Path, default=TABLE)
    arguments = parser.parse_args()
    folders = {name: Path(folder) for name, _, folder in (text.partition("=") for text in arguments.sets)}

    sets = {}
    for name, folder in folders.items():
        photos = [tile_scores(read_picture(path).image, STRIDES) for path in sorted(folder.iterdir())]
        tiles = [{s: scores for s, scores in photo.items() if len(scores.phase)} for photo in photos]
        sets[name] = {
            "photos": len(photos),
            "tiles": _rows([[photo[s] for photo in tiles] for s in STRIDES]),
            "pictures": _rows([[_median(photo[s]) for photo in tiles] for s in STRIDES]),
        }
        print(f"{name}: {len(photos)} photos")
    table = {"strides": STRIDES, "percentiles": PERCENTILES, "sets": sets}
    text = json.dumps(table).replace("[[", "[\n  [").replace("], [", "],\n  [")
    for name in ("sets", "tiles", "pictures"):
        text = text.replace(f'"{name}"', f'\n "{name}"')
    arguments.out.write_text(f"{text}\n")
    print(f"wrote {arguments.out}")
    for name, folder in folders.items():
        verdicts = Counter(measure(read_picture(path).image).verdict for path in sorted(folder.iterdir()))
        print(f"{name}: " + ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common()))


def _rows(strides: list[list[TileScores]]) -> dict[str, list[list[float]]]:
    return {
        "phase": [percentiles(np.concatenate([photo.phase for photo in photos])) for photos in strides],
        "spectral": [percentiles(np.concatenate([photo.spectral for photo in photos])) for photos in strides],
    }


def _median(scores: TileScores) -> TileScores:
    return TileScores(*(np.median(values, keepdims=True) for values in scores))


if __name__ == "__main__":
    main()
