"""Photos per second on a GPU, in batches, beside the CPU; and whether their files and latents are the same.

    python benchmarks/gpu.py ../shared/data/kodak --out results/gpu.json
    python benchmarks/gpu.py ../shared/data/kodak --device cpu --photos 4 --batches 1 4    # without a GPU

``encode_many`` and ``decode_many`` get batches of photos of one size, read before the clock starts: what is
measured is coding, entropy coding in threads included. The best of ``--repetitions``, after one that warms up.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import diptych
from diptych.codec.codec import Codec
from diptych.codec.engine.torch import Torch


def read(folder: Path, count: int) -> list[NDArray[np.uint8]]:
    """Photos as arrays of one size, upright ones turned."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in {".png", ".webp", ".jpg"})
    arrays = [np.asarray(Image.open(path).convert("RGB")) for path in paths[:count]]
    flat = [array if array.shape[0] <= array.shape[1] else np.rot90(array).copy() for array in arrays]
    return [array for array in flat if array.shape == flat[0].shape]


def per_second(count: int, work: Callable[[], Any], repetitions: int) -> float:
    seconds = []
    for _ in range(repetitions + 1):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return count / min(seconds[1:])


def agreement(codec: Codec, other: Codec, photos: list[NDArray[np.uint8]]) -> dict[str, Any]:
    """Files of both codecs, and what each decodes of the first one's."""
    files, others = codec.encode_many(photos), other.encode_many(photos)
    same_latents = [bool((codec.latents(f).values == other.latents(f).values).all()) for f in files]
    shown = zip(codec.decode_many(files, "human"), other.decode_many(files, "human"), strict=True)
    levels = [int(np.abs(np.asarray(a).astype(int) - np.asarray(b)).max()) for a, b in shown]
    return {
        "photos": len(photos),
        "same_files": sum(a == b for a, b in zip(files, others, strict=True)),
        "same_latents_of_one_file": sum(same_latents),
        "bytes": sum(map(len, files)),
        "bytes_of_cpu": sum(map(len, others)),
        "largest_difference_of_pictures": max(levels),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos_folder", type=Path, metavar="FOLDER")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    arguments = parser.parse_args()
    cpu = diptych.load()
    try:
        codec = Codec(cpu.frozen, cpu.transforms.human, Torch(arguments.device))
    except diptych.DiptychError as error:
        raise SystemExit(str(error)) from None
    photos = read(arguments.photos_folder, arguments.photos)
    rows = []
    for batch in arguments.batches:
        codec.transforms.engine.batch = batch
        many = [photos[k % len(photos)] for k in range(max(batch, len(photos)))]
        files = codec.encode_many(many)
        encoded = per_second(len(many), lambda many=many: codec.encode_many(many), arguments.repetitions)
        decoded = per_second(
            len(many), lambda files=files: codec.decode_many(files, "human"), arguments.repetitions
        )
        rows.append({"batch": batch, "encode_per_s": encoded, "decode_per_s": decoded})
        print(f"batch {batch:2}: {encoded:8.2f} photos/s encode, {decoded:8.2f} decode", flush=True)
    height, width = photos[0].shape[:2]
    found = {
        "command": " ".join(["python", *sys.argv]),
        "system": platform.platform(),
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu",
        "versions": {name: metadata.version(name) for name in ("diptych", "torch", "numpy")},
        "size": [width, height],
        "batches": rows,
        "against_the_cpu": agreement(codec, cpu, photos),
    }
    print(json.dumps(found["against_the_cpu"]))
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
