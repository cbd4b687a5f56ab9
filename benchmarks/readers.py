"""Pictures read by Diptych and by libvips, compared upright, in sRGB, on white.

    pip install 'pyvips[binary]'
    python benchmarks/readers.py photos/ more/ --out results/readers.json

Every file below the folders that one of the two can read is compared: whether both read it, sizes, and the largest
and mean difference of levels. Files that differ are listed with what Diptych notes of them. libvips leaves out what
Diptych applies by other rules (code points, gamma, clean apertures of sequences); these are to be looked at by eye.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyvips

from diptych.errors import DiptychError
from diptych.io.files import make_folder, write_bytes
from diptych.io.images import read_picture

SAME = 3.0
"""Largest mean difference, in levels of 255, at which two readers are said to agree."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/readers.json"))
    parser.add_argument("--limit", type=int, help="files of each folder, evenly spread")
    arguments = parser.parse_args()
    rows = []
    for folder in arguments.folders:
        found = sorted(path for path in folder.rglob("*") if path.is_file())
        step = max(1, len(found) // arguments.limit) if arguments.limit else 1
        for path in found[::step]:
            if row := compared(path):
                rows.append({"file": path.relative_to(folder.parent).as_posix(), **row})
    counts = Counter(row["verdict"] for row in rows)
    result = {
        "command": f"python benchmarks/readers.py {' '.join(sys.argv[1:])}",
        "versions": {
            "diptych": importlib.metadata.version("diptych"),
            "pillow": importlib.metadata.version("pillow"),
            "libvips": ".".join(str(pyvips.version(part)) for part in range(3)),
        },
        "files": len(rows),
        "counts": dict(counts),
        "largest_mean_of_those_that_agree": max((r["mean"] for r in rows if r["verdict"] == "agree"), default=None),
        "differ": [row for row in rows if row["verdict"] != "agree"],
    }
    make_folder(arguments.out.parent)
    write_bytes((json.dumps(result, indent=1) + "\n").encode(), arguments.out, overwrite=True)
    print(f"{len(rows):,} files: " + ", ".join(f"{count:,} {verdict}" for verdict, count in counts.most_common()))
    for row in result["differ"]:
        print(*described(row), sep="  ")
    print(f"wrote {arguments.out}")


def compared(path: Path) -> dict[str, Any] | None:
    """How the two readers compare on a file; None for one that neither reads."""
    ours: np.ndarray | str
    notes: list[str] = []
    try:
        image, notes = read_picture(path)
        ours = np.asarray(image)
    except DiptychError as error:
        ours = str(error).partition(": ")[2]
    theirs = by_libvips(path)
    if isinstance(ours, str) and isinstance(theirs, str):
        return None
    if isinstance(ours, str):
        return {"verdict": "libvips alone", "notes": [ours]}
    if isinstance(theirs, str):
        return {"verdict": "Diptych alone", "notes": notes}
    if ours.shape != theirs.shape:
        sizes = {"diptych": list(ours.shape[1::-1]), "libvips": list(theirs.shape[1::-1])}
        return {"verdict": "other size", **sizes, "notes": notes}
    difference = np.abs(ours.astype(np.int16) - theirs)
    mean = round(float(difference.mean()), 3)
    verdict = "agree" if mean <= SAME else "other pixels"
    return {"verdict": verdict, "mean": mean, "largest": int(difference.max()), "notes": notes}


def by_libvips(path: Path) -> np.ndarray | str:
    """Pixels ``(H, W, 3)`` uint8, or why there are none."""
    try:
        image = pyvips.Image.new_from_file(str(path), access="sequential").autorot()
        if image.get_typeof("icc-profile-data"):
            image = image.icc_transform(
                "srgb", embedded=True, depth=8, intent="relative", black_point_compensation=True
            )
        elif image.interpretation not in ("srgb", "multiband"):
            image = image.colourspace("srgb")
        if image.hasalpha():
            image = image.flatten(background=255)
        if image.format != "uchar":
            image = image.cast("uchar")
        pixels = image.numpy()
    except pyvips.Error as error:
        return (str(error).strip().splitlines() or ["?"])[0]
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]


def described(row: dict[str, Any]) -> Iterator[str]:
    yield f"{row['verdict']:14}"
    yield row["file"]
    if "mean" in row:
        yield f"mean {row['mean']}, largest {row['largest']}"
    if "libvips" in row:
        yield f"{row['diptych']} and {row['libvips']}"
    yield "; ".join(row["notes"])


if __name__ == "__main__":
    main()
