"""Crops to look at, side by side: every way to decode one file, at several qualities.

    python benchmarks/crops.py ../shared/data/kodak --li runs/human-li/weights.safetensors

One picture per subject in results/crops/: rows are qualities; columns the original, the machine view, low impact
(LI), the human view, and the machine view through a Gaussian and a bilateral filter. All are enlarged twice without
smoothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

import diptych
from diptych.ablation.decoders import filtered
from diptych.ablation.recipe import Bilateral, Gaussian
from diptych.files import make_folder
from diptych.images import read_picture

SIDE, ZOOM, MARGIN = 144, 2, 22
GAUSSIAN, BILATERAL = Gaussian(kind="gaussian", sigma=0.8), Bilateral(kind="bilateral", sigma=1.5, contrast=25)


class Subject(NamedTuple):
    """What to look at: a Kodak photo and the crop's top left corner."""

    photo: str
    left: int
    top: int


SUBJECTS = {
    "face": Subject("kodim04", 190, 290),
    "text": Subject("kodim14", 500, 335),
    "foliage": Subject("kodim07", 330, 210),
    "sky": Subject("kodim19", 250, 40),
    "edges": Subject("kodim08", 560, 280),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--li", type=Path, help="view file of the low-impact decoder")
    parser.add_argument("--quality", type=float, nargs="+", default=[5, 20, 40, 80])
    parser.add_argument("--out", type=Path, default=Path("results/crops"))
    arguments = parser.parse_args()

    make_folder(arguments.out)
    codec = diptych.load()
    low_impact = diptych.load(view=arguments.li) if arguments.li else None
    for name, subject in SUBJECTS.items():
        path = next(arguments.photos.glob(f"{subject.photo}.*"))
        rows = [_row(read_picture(path).image, q, subject, codec, low_impact) for q in arguments.quality]
        out = arguments.out / f"{name}.webp"
        _sheet(rows).save(out, quality=92)
        print(f"wrote {out}")


def _row(
    photo: Image.Image, quality: float, subject: Subject, codec: diptych.Codec, low_impact: diptych.Codec | None
) -> dict[str, Image.Image]:
    data = codec.encode(photo, quality=quality)
    machine, human = codec.decode_views(data, ("machine", "human"))
    bpp = 8 * len(data) / (photo.width * photo.height)
    pictures = {f"original  (q {quality:g}: {bpp:.3f} bpp)": photo, "machine view": machine}
    if low_impact:
        pictures["low impact"] = low_impact.decode(data, "human")
    pictures |= {
        "human view": human,
        "machine + Gaussian": filtered(machine, GAUSSIAN),
        "machine + bilateral": filtered(machine, BILATERAL),
    }
    box = (subject.left, subject.top, subject.left + SIDE, subject.top + SIDE)
    return {name: picture.convert("RGB").crop(box) for name, picture in pictures.items()}


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
