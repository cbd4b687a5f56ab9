"""Images per second into a detector: straight from .dip files, and from the photos themselves.

    python benchmarks/loader.py ../shared/data/voc/val --limit 200

The photos are encoded into a temporary folder. Then a ``DataLoader`` with 0, 1 and 2 workers reads each kind of
file, alone and in front of the shipped task network, which has as many threads as torch gives
it (``OMP_NUM_THREADS``).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import diptych
from diptych.data.dip import DipDataset
from diptych.io.images import read_picture
from diptych.tasks import shipped_task


class Photos(Dataset[Tensor]):
    """The photos as a data set of plain Pillow."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        pixels = np.array(Image.open(self.files[index]).convert("RGB"))
        return torch.from_numpy(pixels).permute(2, 0, 1).float().div_(255)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--quality", type=float, default=40)
    parser.add_argument("--model", help="a codec file, by default the shipped one")
    arguments = parser.parse_args()
    files = sorted(arguments.photos.iterdir())[: arguments.limit]
    task = shipped_task()
    with tempfile.TemporaryDirectory() as folder:
        codec = diptych.load(arguments.model)
        for path in files:
            data = codec.encode(read_picture(path).image, arguments.quality)
            Path(folder, f"{path.stem}.dip").write_bytes(data)
        dips = DipDataset(folder, "machine", model=arguments.model)
        print(f"{len(files)} photos at quality {arguments.quality:g}, {torch.get_num_threads()} threads, images/s")
        print(f"{'workers':10}{'.dip':>8}{'photos':>8}{'.dip to task':>18}{'photos to task':>20}")
        for workers in (0, 1, 2):
            rates = [rate(data, workers, network) for network in (None, task) for data in (dips, Photos(files))]
            print(f"{workers:<10}{rates[0]:8.1f}{rates[1]:8.1f}{rates[2]:18.2f}{rates[3]:20.2f}", flush=True)


def rate(data: Dataset[Any], workers: int, task: Any) -> float:
    """Images per second, the start of the workers not counted."""
    loader = DataLoader(data, batch_size=4, num_workers=workers, collate_fn=list)
    batches = iter(loader)
    next(batches)
    start, count = time.perf_counter(), 0
    for images in batches:
        count += len(images)
        if task is not None:
            task.predict(images)
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
