"""Time coding in one process with each engine, beside an earlier build of Diptych, all in one run.

    python benchmarks/engines.py ../shared/data/kodak/kodim03.webp --before other-venv/bin/python \\
        --out results/engines.json

Every repetition times every engine once, in turn, so that whatever else the machine does meets all alike; one
thread each; figures are medians in milliseconds with the range. The earlier build runs in its own interpreter, told
what to do line by line, and loads this build's codec. It and OpenVINO run twice: in the precision that they choose,
and in float32.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

from PIL import Image
from rich.console import Console
from rich.table import Table

import diptych
from diptych.codec.codec import Codec
from diptych.codec.defaults import CODEC
from diptych.codec.engine.onnx import OnnxRuntime
from diptych.codec.engine.openvino import OpenVino
from diptych.codec.engine.torch import Torch
from diptych.codec.processes import limit_threads

QUALITY = 40
ENGINES = {
    "openvino": lambda: OpenVino(1),
    "openvino, float32": lambda: OpenVino(1, "f32"),
    "onnxruntime, float32": lambda: OnnxRuntime(1),
    "torch, float32": Torch,
}
BEFORE = """
import json, sys, time
import torch
torch.set_num_threads(1)
photo, codec_file, quality, float32 = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4] == "float32"
if float32:
    from diptych.nn import precision
    precision.bfloat16_pays = lambda: False
import diptych
from PIL import Image
codec, image = diptych.load(codec_file), Image.open(photo).convert("RGB")
data = codec.encode(image, quality)
work = {"encode": lambda: codec.encode(image, quality), "decode": lambda: codec.decode(data, "machine")}
print(json.dumps("torch " + torch.__version__), flush=True)
for line in sys.stdin:
    start = time.perf_counter()
    work[json.loads(line)]()
    print(time.perf_counter() - start, flush=True)
"""

Timed = Callable[[str], float]


def here(engine: Any, image: Image.Image) -> Timed:
    """Seconds of ``encode`` or ``decode`` with an engine of this build."""
    shipped = diptych.load()
    codec = Codec(shipped.frozen, shipped.transforms.human, engine)
    data = codec.encode(image, QUALITY)
    work = {"encode": lambda: codec.encode(image, QUALITY), "decode": lambda: codec.decode(data, "machine")}

    def timed(what: str) -> float:
        start = time.perf_counter()
        work[what]()
        return time.perf_counter() - start

    return timed


def before(python: Path, photo: Path, precision: str) -> tuple[str, Timed]:
    """Version of torch, and seconds of ``encode`` or ``decode``, of an earlier build."""
    command = [str(python), "-c", BEFORE, str(photo), str(CODEC), str(QUALITY), precision]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    told, answers = process.stdin, process.stdout
    version = json.loads(answers.readline())

    def timed(what: str) -> float:
        print(json.dumps(what), file=told, flush=True)
        return float(answers.readline())

    return version, timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--before", type=Path, metavar="PYTHON", help="interpreter of an earlier build")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    limit_threads(1)
    image = Image.open(arguments.photo).convert("RGB")
    jobs = {name: here(make(), image) for name, make in ENGINES.items()}
    if arguments.before:
        for precision in ("fastest", "float32"):
            version, timed = before(arguments.before.absolute(), arguments.photo, precision)
            jobs[f"before: {version}" + (", float32" if precision == "float32" else "")] = timed
    times: dict[str, dict[str, list[float]]] = {name: {"encode": [], "decode": []} for name in jobs}
    for _ in range(arguments.repetitions):
        for name, timed in jobs.items():
            for what, found in times[name].items():
                found.append(1e3 * timed(what))
    console, table = Console(), Table("", "encode, ms", "decode, ms", title=f"{image.width} x {image.height}")
    for name, found in times.items():
        table.add_row(name, *(f"{median(each):.0f} ({min(each):.0f}..{max(each):.0f})" for each in found.values()))
    console.print(table)
    if arguments.out:
        command = f"python benchmarks/engines.py {arguments.photo}" + " --before PYTHON" * bool(arguments.before)
        figures = {
            name: {
                what: {"median": median(each), "from": min(each), "to": max(each)} for what, each in found.items()
            }
            for name, found in times.items()
        }
        arguments.out.write_text(json.dumps({"command": command, "milliseconds": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
