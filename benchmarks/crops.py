"""Crops to look at, side by side: both views of a file and AVIF in the same bytes, at several qualities.

    python benchmarks/crops.py ../shared/data/kodak

One picture per subject in results/crops/: rows are qualities; columns the original, the machine view, the human
view, and AVIF (as Pillow writes it by default) at the setting whose file is nearest in size. All are enlarged
twice without smoothing.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

import diptych
from diptych.io.files import make_folder
from diptych.io.images import read_picture

SIDE, ZOOM, MARGIN = 144, 2, 22


class Subject(NamedTuple):
    """What to look at: a Kodak photo and the crop's top left corner."""

    photo: str
    left: int
    top: int


SUBJECTS = {
    "face": Subject("kodim04", 190, 290),
    "paint": Subject("kodim15", 300, 90),
    "text": Subject("kodim14", 500, 335),
    "foliage": Subject("kodim07", 330, 210),
    "sky": Subject("kodim19", 250, 40),
    "water": Subject("kodim16", 300, 330),
    "edges": Subject("kodim08", 560, 280),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--quality", type=float, nargs="+", default=[5, 20, 40, 80])
    parser.add_argument("--out", type=Path, default=Path("results/crops"))
    arguments = parser.parse_args()

    make_folder(arguments.out)
    codec = diptych.load()
    for name, subject in SUBJECTS.items():
        path = next(arguments.photos.glob(f"{subject.photo}.*"))
        rows = [_row(read_picture(path).image, q, subject, codec) for q in arguments.quality]
        out = arguments.out / f"{name}.webp"
        _sheet(rows).save(out, quality=92)
        print(f"wrote {out}")


def _row(photo: Image.Image, quality: float, subject: Subject, codec: diptych.Codec) -> dict[str, Image.Image]:
    data = codec.encode(photo, quality=quality)
    machine, human = codec.decode_views(data, ("machine", "human"))
    rival = _avif(photo, len(data))
    bits = 8 / (photo.width * photo.height)
    pictures = {
        f"original  (q {quality:g}: {bits * len(data):.3f} bpp)": photo,
        "machine view": machine,
        "human view": human,
        f"AVIF  ({bits * len(rival):.3f} bpp)": Image.open(io.BytesIO(rival)),
    }
    box = (subject.left, subject.top, subject.left + SIDE, subject.top + SIDE)
    return {name: picture.convert("RGB").crop(box) for name, picture in pictures.items()}


def _avif(photo: Image.Image, size: int) -> bytes:
    """The AVIF file of the photo whose size is nearest to ``size``."""
    low, high, tried = 0, 100, []
    while low <= high:
        middle = (low + high) // 2
        photo.save(file := io.BytesIO(), "AVIF", quality=middle, speed=6)
        tried.append(file.getvalue())
        low, high = (middle + 1, high) if len(tried[-1]) < size else (low, middle - 1)
    return min(tried, key=lambda data: abs(len(data) - size))


def _sheet(rows: list[dict[str, Image.Image]]) -> Image.Image:
    large = SIDE * ZOOM
    sheet = Image.new("RGB", (len(rows[0]) * (large + 4), len(rows) * (large + MARGIN)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for down, row in enumerate(rows):
        for across, (name, crop) in enumerate(row.items()):
            left, top = across * (large + 4), down * (large + MARGIN)
            draw.text((left + 2, top + 3), name, "black", font)
            sheet.paste(crop.resize((large, large), Image.Resampling.NEAREST), (left, top + MARGIN))
    return sheet


if __name__ == "__main__":
    main()
