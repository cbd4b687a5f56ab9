"""The photos of a folder in which a detector of text finds most of it, for the key ``names`` of a recipe.

python benchmarks/text_photos.py ../shared/data/voc/val --task recipes/tasks/rapidocr.yaml --count 30
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from diptych.data.photos import Photos
from diptych.tasks import load_task

SURE = 0.5
"""Score from which a box counts, as it does for :func:`diptych.tasks.agreement.agreement`."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--task", type=Path, required=True, metavar="FILE")
    parser.add_argument("--count", type=int, default=30)
    arguments = parser.parse_args()
    task, photos = load_task(arguments.task), Photos(arguments.folder)
    boxes: dict[str, int] = {}
    for index, path in enumerate(photos.paths):
        pixels = photos.pixels(index)
        if pixels is not None:
            (found,) = task.predict([torch.tensor(pixels).permute(2, 0, 1).float() / 255])
            boxes[path.relative_to(arguments.folder).as_posix()] = int((found["scores"] >= SURE).sum())
    most = sorted(boxes, key=lambda name: -boxes[name])[: arguments.count]
    print(f"# {boxes[most[-1]]} to {boxes[most[0]]} boxes each")
    print(f"names: [{', '.join(sorted(most))}]")


if __name__ == "__main__":
    main()
