"""Decode the same files under many settings and count latents that differ.

    python benchmarks/portability.py ../shared/data/kodak --out results/portability.json
    python benchmarks/portability.py ../shared/data/kodak --python other-venv/bin/python   # another NumPy

One process encodes; every other setting is a process of its own, so that thread counts, instruction sets and
library switches are those of a fresh start. ``--model`` takes a codec file, the shipped one is the default.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from threadpoolctl import threadpool_info

SETTINGS: dict[str, dict[str, str]] = {
    "as encoded": {},
    "1 thread": {"OMP_NUM_THREADS": "1"},
    "2 threads": {"OMP_NUM_THREADS": "2"},
    "4 threads": {"OMP_NUM_THREADS": "4"},
    "OpenBLAS Prescott": {"OPENBLAS_CORETYPE": "Prescott"},
    "OpenBLAS Nehalem": {"OPENBLAS_CORETYPE": "Nehalem"},
    "OpenBLAS Sandybridge": {"OPENBLAS_CORETYPE": "Sandybridge"},
    "OpenBLAS Haswell": {"OPENBLAS_CORETYPE": "Haswell"},
    "OpenBLAS Zen": {"OPENBLAS_CORETYPE": "Zen"},
    "OpenBLAS SkylakeX": {"OPENBLAS_CORETYPE": "SkylakeX"},
    "OpenBLAS Cooperlake": {"OPENBLAS_CORETYPE": "Cooperlake"},
    "NumPy without AVX-512": {"NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR"},
    "NumPy without AVX2": {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"},
    "ONNX Runtime": {"DIPTYCH_TRY": "onnxruntime"},
    "torch": {"DIPTYCH_TRY": "torch"},
}
ENGINES = {"onnxruntime": "OnnxRuntime", "torch": "Torch"}


def pictures(folder: Path, count: int) -> list[Image.Image]:
    """``count`` pictures of odd sizes: crops of the photos in ``folder``, every fifth one synthetic."""
    rng = np.random.default_rng(0)
    photos = [Image.open(path).convert("RGB") for path in sorted(folder.iterdir())]
    made = []
    for number in range(count):
        width, height = (int(side) for side in np.exp(rng.uniform(0, np.log(320), 2)).round())
        if number % 5 == 4:
            scale = rng.choice([1, 4, 64])
            noise = rng.integers(0, 256, (-(-height // scale), -(-width // scale), 3), dtype=np.uint8)
            made.append(Image.fromarray(noise.repeat(scale, 0).repeat(scale, 1)[:height, :width]))
        else:
            photo = photos[number % len(photos)]
            left, top = (int(rng.integers(a - b + 1)) for a, b in zip(photo.size, (width, height), strict=True))
            made.append(photo.crop((left, top, left + width, top + height)))
    return made


def encode(folder: Path, photos: Path, count: int, model: str | None) -> None:
    """Write ``count`` files into ``folder``, and the hash of the latents that each was made of."""
    import diptych

    codec = diptych.load(model)
    qualities = np.random.default_rng(1).uniform(0, 100, count).round(2)
    hashes = {}
    for number, (image, quality) in enumerate(zip(pictures(photos, count), qualities, strict=True)):
        data = codec.encode(image, float(quality), verify=True)
        (folder / f"{number:05}.dip").write_bytes(data)
        hashes[f"{number:05}.dip"] = _hash(codec, data)
    (folder / "hashes.json").write_text(json.dumps(hashes))


def decode(folder: Path, model: str | None) -> dict[str, Any]:
    """Count the files of ``folder`` whose latents are not those that were encoded."""
    import diptych
    from diptych.codec.codec import Codec

    codec = diptych.load(model)
    if name := os.environ.get("DIPTYCH_TRY"):
        engine = getattr(import_module(f"diptych.codec.engine.{name.removesuffix('runtime')}"), ENGINES[name])()
        codec = Codec(codec.frozen, codec.transforms.human, engine)
    expected = json.loads((folder / "hashes.json").read_text())
    wrong = [name for name, value in expected.items() if _hash(codec, (folder / name).read_bytes()) != value]
    blas = [library for library in threadpool_info() if library["user_api"] == "blas"]
    return {
        "files": len(expected),
        "mismatches": len(wrong),
        "engine": codec.transforms.engine.name,
        "blas": [f"{library['internal_api']} {library.get('architecture')}" for library in blas],
        "threads": [library["num_threads"] for library in blas],
    }


def _hash(codec: Any, data: bytes) -> str:
    return hashlib.sha256(codec.latents(data).values.astype("<i4").tobytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder of photos to cut crops from")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--model", help="codec file; the shipped one if not given")
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        help="further interpreters to decode with, which need the dependencies only",
    )
    parser.add_argument("--out", type=Path, help="JSON file of the outcome")
    parser.add_argument("--decode", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.decode:
        print(json.dumps(decode(arguments.photos, arguments.model)))
        return
    import diptych

    rows = {}
    with tempfile.TemporaryDirectory() as name:
        encode(Path(name), arguments.photos, arguments.count, arguments.model)
        tries = [(label, sys.executable, env) for label, env in SETTINGS.items()]
        here = {"PYTHONPATH": str(Path(diptych.__file__).parents[1])}
        tries += [(f"interpreter {number + 1}", python, here) for number, python in enumerate(arguments.python)]
        for label, python, env in tries:
            command = [python, __file__, name, "--decode"]
            command += ["--model", arguments.model] if arguments.model else []
            done = subprocess.run(command, env=os.environ | env, capture_output=True, text=True)
            failed = done.returncode != 0
            rows[label] = {"error": done.stderr} if failed else json.loads(done.stdout.splitlines()[-1])
            print(f"{label:34} {rows[label]}", flush=True)
    if arguments.out:
        found = {"machine": platform.machine(), "python": platform.python_version(), "settings": rows}
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(any(row.get("mismatches", 1) for row in rows.values()))


if __name__ == "__main__":
    main()
