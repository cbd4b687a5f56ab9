"""Do tiles show? Photos are coded whole and in small tiles, and compared along the borders of the tiles.

    python benchmarks/seams.py ../shared/data/kodak --out results/seams.json

Tiles of 256 pixels stand for the 1024 of real files: four times as many borders per picture. Averaged over
photos, it reports the PSNR of both against the original and against each other, bytes, the mean step of luma
across tile borders against that across the lines beside them (1 for no seam), and the grid score of squares
centred on border crossings against the same squares of the picture that was coded whole.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

import diptych
import diptych.codec.codec as codec_module
from diptych.checkerboard.score import grid_score
from diptych.io.files import write_bytes

SIDE = 256
HALF = 88
"""Half the side of a square: 160 pixels and the border that the grid score leaves out."""
QUALITIES = (5, 20, 40, 80)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((a.astype(float) - b.astype(float)) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def luma(pixels: np.ndarray) -> np.ndarray:
    return pixels @ np.array([0.299, 0.587, 0.114])


def border_step(pixels: np.ndarray) -> float:
    """Mean luma step across tile borders, relative to the steps two pixels before and after them."""

    def steps(lines: np.ndarray) -> tuple[float, float]:
        change = np.abs(np.diff(lines, axis=0))
        borders = np.arange(SIDE, len(lines), SIDE) - 1
        return change[borders].mean(), np.concatenate([change[borders - 2], change[borders + 2]]).mean()

    pairs = [steps(luma(pixels)), steps(luma(pixels).T)]
    return float(np.mean([on for on, _ in pairs]) / np.mean([beside for _, beside in pairs]))


def crossing_grid(pixels: np.ndarray, stride: int) -> float:
    """Median grid score of the squares centred on crossings of tile borders."""
    height, width = pixels.shape[:2]
    crossings = [(y, x) for y in range(SIDE, height - HALF, SIDE) for x in range(SIDE, width - HALF, SIDE)]
    squares = [pixels[y - HALF : y + HALF, x - HALF : x + HALF] for y, x in crossings]
    return float(np.median([grid_score(square, stride) for square in squares]))


def coded(codec: codec_module.Codec, photo: Image.Image, quality: float, tile: int) -> tuple[int, np.ndarray]:
    limit = 0 if tile else codec_module.ONE_TILE_PIXELS
    with patch.object(codec_module, "TILE", tile), patch.object(codec_module, "ONE_TILE_PIXELS", limit):
        data = codec.encode(photo, quality)
    return len(data), np.asarray(codec.decode(data, "machine"))


def row(photos: list[Image.Image], of: Callable[[Image.Image], dict[str, float]]) -> dict[str, float]:
    found = [of(photo) for photo in photos]
    return {name: round(float(np.mean([each[name] for each in found])), 4) for name in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    codec = diptych.load()
    photos = [Image.open(path).convert("RGB") for path in sorted(arguments.photos.glob("*.*"))]

    def measured(photo: Image.Image, quality: float) -> dict[str, float]:
        original = np.asarray(photo)
        (whole_bytes, whole), (tiled_bytes, tiled) = (coded(codec, photo, quality, tile) for tile in (0, SIDE))
        return {
            "PSNR whole": psnr(original, whole),
            "PSNR tiled": psnr(original, tiled),
            "PSNR tiled to whole": min(psnr(whole, tiled), 99.0),
            "bytes tiled / whole": tiled_bytes / whole_bytes,
            "border step original": border_step(original),
            "border step whole": border_step(whole),
            "border step tiled": border_step(tiled),
            **{f"grid s={s} whole": crossing_grid(whole, s) for s in (2, 4, 8)},
            **{f"grid s={s} tiled": crossing_grid(tiled, s) for s in (2, 4, 8)},
        }

    rows = {}
    for quality in QUALITIES:
        rows[quality] = row(photos, lambda photo, quality=quality: measured(photo, quality))
        print(f"q{quality}", "  ".join(f"{name} {value:g}" for name, value in rows[quality].items()), flush=True)
    if arguments.out:
        about = {
            "command": " ".join(["python", *sys.argv]),
            "model_id": codec.model_id.hex(),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "photos": len(photos),
            "tile": SIDE,
        }
        write_bytes((json.dumps({**about, "qualities": rows}, indent=1) + "\n").encode(), arguments.out, True)


if __name__ == "__main__":
    main()
