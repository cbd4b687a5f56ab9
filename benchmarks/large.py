"""Time and memory of large pictures: `diptych encode` and `decode` as a user runs them, one process each.

    python benchmarks/large.py ../shared/data/kodak --out results/large.json

Pictures of 0.4 to 100 megapixels are laid out from the photos given (mirrored where they meet, so that borders
stay natural). The time of the first one, of 16x16, is start-up, and is taken off the others' time per
megapixel. Peak memory is the largest resident set of the process, program and libraries included.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path

from PIL import Image, ImageOps

from diptych.codec.engine import engine_for, threads
from diptych.io.files import write_bytes

SIZES = ((768, 512), (2400, 1600), (5000, 5000), (10000, 10000))
LIMIT_MIB = 2048


def layout(photos: list[Image.Image], width: int, height: int) -> Image.Image:
    """A picture of the size asked for, photos side by side and every second one mirrored."""
    canvas = Image.new("RGB", (width, height))
    each = cycle(photos)
    side = photos[0].size
    for row, top in enumerate(range(0, height, side[1])):
        for column, left in enumerate(range(0, width, side[0])):
            photo = next(each).resize(side)
            photo = ImageOps.mirror(photo) if column % 2 else photo
            canvas.paste(ImageOps.flip(photo) if row % 2 else photo, (left, top))
    return canvas


def run(arguments: list[str]) -> tuple[float, float]:
    """Wall time in seconds and peak memory in MiB of a command."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "diptych", *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"diptych {' '.join(arguments)} failed with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - start, used.ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    photos = [Image.open(path).convert("RGB") for path in sorted(arguments.photos.glob("*.*"))]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start_up: dict[str, float] = {}
        for width, height in ((16, 16), *SIZES):
            layout(photos, width, height).save(folder / "picture.png", compress_level=1)
            row: dict[str, float] = {"megapixels": width * height / 1e6}
            for what, command in (
                (
                    "encode",
                    ["encode", str(folder / "picture.png"), "-o", str(folder / "picture.dip"), "--overwrite"],
                ),
                ("decode", ["decode", str(folder / "picture.dip"), "-o", str(folder / "out.ppm"), "--overwrite"]),
            ):
                seconds, peak = run(command)
                row[f"{what} seconds"] = round(seconds, 2)
                start_up.setdefault(what, seconds)
                row[f"{what} seconds/MP"] = round((seconds - start_up[what]) / row["megapixels"], 3)
                row[f"{what} peak MiB"] = round(peak)
            row["bytes"] = (folder / "picture.dip").stat().st_size
            rows.append(row)
            print("  ".join(f"{key} {value:g}" for key, value in row.items()), flush=True)
    worst = max(row[f"{what} peak MiB"] for row in rows for what in ("encode", "decode"))
    print(f"largest peak {worst:g} MiB, limit {LIMIT_MIB}")
    if arguments.out:
        about = {
            "command": " ".join(["python", *sys.argv]),
            "engine": engine_for("cpu").name,
            "python": platform.python_version(),
            "threads": threads() or os.cpu_count(),
        }
        write_bytes((json.dumps({**about, "pictures": rows}, indent=1) + "\n").encode(), arguments.out, True)
    raise SystemExit(worst > LIMIT_MIB)


if __name__ == "__main__":
    main()
