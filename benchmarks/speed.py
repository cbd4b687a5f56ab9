"""Time Diptych, its peers and the machine's own limit, all in one run on the same cores.

    python benchmarks/speed.py ../shared/data/kodak/kodim03.webp --compressai-python other-venv/bin/python \\
        --out results/speed.json

Every repetition times every codec once, in turn, so that whatever else the machine does meets all alike; figures
are medians in milliseconds with the range. Each thread count is a pass of its own, confined to as many processors.
CompressAI runs in the interpreter given, see ``compressai_peer.py``; its networks and the files of the other codecs
are set to the bytes of Diptych's file. The limit is the best speed that PyTorch reaches on any of a few plain dense
convolutions and a matrix product, the fastest of all repetitions; the decode network is measured likewise.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import platform
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

import diptych
from diptych.codec.architecture import STRIDE
from diptych.codec.codec import Codec, as_pixels
from diptych.codec.engine.openvino import OpenVino
from diptych.codec.engine.transforms import Transforms
from diptych.codec.processes import limit_threads

QUALITY = 70
PILLOW = ("JPEG", "WEBP", "AVIF")
"""Pillow's formats, each run with Pillow's default options."""
CONVOLUTIONS = [
    (128, 128, 3, 8, 32, 32),
    (128, 128, 3, 1, 32, 48),
    (128, 128, 3, 1, 64, 96),
    (160, 320, 1, 1, 64, 96),
]
"""Inputs, outputs, kernel, batch, height, width."""
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
STAGES = (
    *("encode", "encode: convert", "encode: g_a", "encode: h_a, h_s, entropy coding"),
    *("decode", "decode: entropy decoding, h_s", "decode: g_s", "decode: convert"),
)
REST = 0.01
"""Seconds before each measurement in which the threads of the one before go to sleep."""

Times = dict[str, list[float]]


class Peer:
    """CompressAI in a process of its own."""

    def __init__(self, python: str, picture: Path, threads: int, bpp: float) -> None:
        script = str(Path(__file__).with_name("compressai_peer.py"))
        self._process = subprocess.Popen(
            [python, "-W", "ignore", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        )
        self.about = self.ask(picture=str(picture.resolve()), threads=threads, bpp=bpp)

    def ask(self, **request: Any) -> Any:
        """Send one request; its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def seconds(work: Callable[[], Any]) -> float:
    """How long ``work`` takes."""
    time.sleep(REST)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def timed(transforms: Transforms, name: str, times: list[float]) -> Iterator[None]:
    """Append to ``times`` the seconds of a transform summed over all its calls inside the context."""
    plain, spent = getattr(transforms, name), [0.0]

    def measured(*arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return plain(*arguments)
        finally:
            spent[0] += time.perf_counter() - began

    with patch.object(transforms, name, measured):
        yield
    times.append(spent[0])


def diptych_stages(codec: Codec, image: Image.Image, data: bytes, times: Times) -> None:
    """One encode and decode, whole and in stages; what no stage accounts for is that of the longest name."""
    with timed(codec.transforms, "analysis", times["encode: g_a"]):
        whole = seconds(lambda: codec.encode(image, QUALITY))
    convert = seconds(lambda: as_pixels(image))
    times["encode"].append(whole)
    times["encode: convert"].append(convert)
    times["encode: h_a, h_s, entropy coding"].append(whole - convert - times["encode: g_a"][-1])
    with timed(codec.transforms, "synthesis", times["decode: g_s"]):
        whole = seconds(lambda: codec.decode(data, "machine"))
    latents = seconds(lambda: codec.latents(data))
    times["decode"].append(whole)
    times["decode: entropy decoding, h_s"].append(latents)
    times["decode: convert"].append(whole - latents - times["decode: g_s"][-1])


def pillow_jobs(image: Image.Image, size: int) -> Iterator[tuple[str, Callable[[], Any], Callable[[], Any]]]:
    """Name, encoder and decoder of each of Pillow's formats at the largest file of at most ``size`` bytes."""

    def encode(kind: str, quality: int) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, quality=quality)
        return file.getvalue()

    def decode(data: bytes) -> Image.Image:
        return Image.open(io.BytesIO(data)).convert("RGB")

    for kind in PILLOW:
        sizes = partial(lambda kind, quality: len(encode(kind, quality)), kind)
        quality = max(0, bisect_right(range(96), size, key=sizes) - 1)
        yield kind.lower(), partial(encode, kind, quality), partial(decode, encode(kind, quality))


def codecs(codec: Codec, image: Image.Image, peer: Peer | None, size: int, repetitions: int) -> dict[str, Times]:
    """Seconds of every codec, interleaved; the first of them warms up and is dropped."""
    data = codec.encode(image, QUALITY)
    found: dict[str, Times] = {"diptych": {name: [] for name in STAGES}}
    others = list(pillow_jobs(image, size))
    names = [name for name, *_ in others] + (["hyperprior", "factorized"] if peer else [])
    found |= {name: {"encode": [], "decode": []} for name in names}
    for _ in range(repetitions + 1):
        diptych_stages(codec, image, data, found["diptych"])
        for name, encode, decode in others:
            found[name]["encode"].append(seconds(encode))
            found[name]["decode"].append(seconds(decode))
        for name in ("hyperprior", "factorized") if peer else ():
            for what in ("encode", "decode"):
                time.sleep(REST)
                found[name][what].append(peer.ask(model=name, do=what))  # type: ignore[union-attr]
    return {name: {what: times[1:] for what, times in rows.items()} for name, rows in found.items()}


@torch.inference_mode()
def limits(codec: Codec, image: Image.Image, repetitions: int) -> dict[str, dict[str, Any]]:
    """GFLOP/s by precision: the best dense layer, all of them, and ``g_s`` on this picture."""
    jobs: dict[str, dict[str, tuple[float, Callable[[], Any]]]] = {}
    for precision, kind in PRECISIONS.items():
        jobs[precision] = {}
        for inputs, outputs, side, batch, height, width in CONVOLUTIONS:
            x = torch.randn(batch, inputs, height, width, dtype=kind).contiguous(memory_format=torch.channels_last)
            kernel = torch.randn(outputs, inputs, side, side, dtype=kind)
            kernel = kernel.contiguous(memory_format=torch.channels_last)
            work: Callable[[], Any] = partial(torch.nn.functional.conv2d, x, kernel, padding=side // 2)
            flop = 2 * batch * inputs * outputs * side**2 * height * width
            jobs[precision][f"{side}x{side} {inputs}->{outputs}, {batch} x {height}x{width}"] = flop, work
        square = torch.randn(1024, 1024, dtype=kind)
        jobs[precision]["matrix product of 1024"] = 2 * 1024**3, partial(torch.mm, square, square)
        jobs[precision]["g_s"] = _synthesis(codec, image, precision)
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(repetitions + 1):
        for precision, works in jobs.items():
            for name, (_, work) in works.items():
                times.setdefault((precision, name), []).append(seconds(work))
    speeds = {
        precision: {name: flop / min(times[precision, name]) / 1e9 for name, (flop, _) in works.items()}
        for precision, works in jobs.items()
    }
    found = {}
    for precision, layers in speeds.items():
        own = layers.pop("g_s")
        best = max(layers.values())
        found[precision] = {"g_s": own, "limit": best, "share": own / best, "layers": layers}
    return found


def _synthesis(codec: Codec, image: Image.Image, precision: str) -> tuple[float, Callable[[], Any]]:
    """Floating-point operations and a call of ``g_s`` on latents of the picture's size."""
    height, width = math.ceil(image.height / STRIDE), math.ceil(image.width / STRIDE)
    values = np.zeros((codec.frozen.widths.latent, height, width), np.int32)
    short = {"float32": "f32", "bfloat16": "bf16"}[precision]
    transforms = Transforms(codec.frozen, {}, OpenVino(torch.get_num_threads(), short))
    flop = 2000 * codec.complexity()["g_s kMAC/pixel"] * height * width * STRIDE**2
    return flop, partial(transforms.synthesis, values[None], QUALITY, 0.0)


def growth(codec: Codec, image: Image.Image, megapixels: list[float]) -> list[dict[str, float]]:
    """Seconds per megapixel of pictures of ``megapixels``, the photo repeated by reflection."""
    rows = []
    for size in megapixels:
        scale = math.sqrt(size * 1e6 / (image.width * image.height))
        height, width = (round(side * scale) for side in (image.height, image.width))
        photo = np.asarray(image)
        pixels = np.pad(
            photo, ((0, max(0, height - len(photo))), (0, max(0, width - photo.shape[1])), (0, 0)), "symmetric"
        )
        pixels = np.ascontiguousarray(pixels[:height, :width])
        tries = 3 if size < 30 else 1
        data = codec.encode(pixels, QUALITY)
        true = pixels.shape[0] * pixels.shape[1] / 1e6
        encode = median(seconds(partial(codec.encode, pixels, QUALITY)) for _ in range(tries))
        decode = median(seconds(partial(codec.decode, data)) for _ in range(tries))
        rows.append({"megapixels": true, "encode s/MP": encode / true, "decode s/MP": decode / true})
    return rows


def processor() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def measure(arguments: argparse.Namespace, threads: int) -> dict[str, Any]:
    """Everything at one thread count."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(arguments.processors)[:threads])
    torch.set_num_threads(threads)
    limit_threads(threads)
    codec, image = diptych.load(arguments.model), Image.open(arguments.picture).convert("RGB")
    size = len(codec.encode(image, QUALITY))
    bpp = 8 * size / (image.width * image.height)
    python = arguments.compressai_python
    peer = Peer(python, arguments.picture, threads, bpp) if python else None
    times = codecs(codec, image, peer, size, arguments.repetitions)
    found = {"threads": threads, "bpp": bpp, "peer": peer and peer.about, "engine": codec.transforms.engine.name}
    if peer:
        peer.close()
    found["codecs"] = {
        name: {what: {"median": median(row), "from": min(row), "to": max(row)} for what, row in rows.items()}
        for name, rows in times.items()
    }
    found["limits"] = limits(codec, image, arguments.repetitions)
    found["growth"] = growth(codec, image, arguments.megapixels)
    return found


def show(found: dict[str, Any], console: Console) -> None:
    """Print one thread count's figures."""
    ours = found["codecs"]["diptych"]
    table = Table(
        "codec",
        "what",
        "ms",
        "range",
        "times Diptych's",
        title=f"{found['threads']} threads, {found['bpp']:.3f} bpp",
    )
    for name, rows in found["codecs"].items():
        for what, row in rows.items():
            ratio = "" if name == "diptych" else f"{row['median'] / ours[what]['median']:.2f}"
            table.add_row(
                name, what, f"{1e3 * row['median']:.1f}", f"{1e3 * row['from']:.1f} .. {1e3 * row['to']:.1f}", ratio
            )
    console.print(table)
    for precision, row in found["limits"].items():
        console.print(f"g_s in {precision}: {row['g_s']:.0f} of {row['limit']:.0f} GFLOP/s, {row['share']:.0%}")
    for row in found["growth"]:
        speeds = f"encode {row['encode s/MP']:.3f}, decode {row['decode s/MP']:.3f}"
        console.print(f"{row['megapixels']:7.1f} MP: {speeds} s per megapixel")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, help="photo of 768x512")
    parser.add_argument("--compressai-python", help="interpreter that has CompressAI; left out if not given")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--megapixels", type=float, nargs="*", default=[0.4, 1.6, 6.3, 25, 100])
    parser.add_argument("--model", help="codec file; the shipped one if not given")
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    arguments = parser.parse_args()
    arguments.processors = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    console, passes = Console(width=120), []
    for threads in arguments.threads:
        passes.append(measure(arguments, threads))
        show(passes[-1], console)
    packages = ("diptych", "torch", "numpy", "pillow", "constriction")
    found = {
        "command": " ".join(["python", *sys.argv]),
        "processor": processor(),
        "processors": os.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "system": platform.platform(),
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in packages},
        "passes": passes,
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
