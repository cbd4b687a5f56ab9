"""Mutate real .dip files and see that each is refused, or read as exactly what it says.

    python benchmarks/fuzz.py --count 100000 --jobs 2 --out results/fuzz.json

The originals are small pictures coded by the shipped codec (``--model`` for another): odd sizes, all qualities,
with and without tiles. Every mutation follows from ``--seed`` and its number, so that a part of a run can be run
again with ``--first`` and ``--count``. Half of the files get their checksums made right afterwards, so that the
mutations reach what is behind them: limits, entropy coder, symbols.

A mutated file must raise BitstreamError, or be byte for byte one of the originals and give its latents. One whose
checksums were made right may also be read as another file, if it is just the bytes that packing its content gives
(that its payloads are those of their symbols, the coder checks itself). Everything else is a violation: another
exception, a process that dies, one file that takes longer than ``TIME_LIMIT`` or more memory than ``MEMORY_LIMIT``.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import json
import multiprocessing
import os
import platform
import random
import resource
import shlex
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image

import diptych
import diptych.codec.codec as codec_module
from diptych import BitstreamError, Codec
from diptych.bitstream import pack, unpack
from diptych.codec.defaults import CAT
from diptych.codec.processes import cores
from mutations import EXPENSIVE, MUTATIONS, sealed

TIME_LIMIT = 30
"""Seconds that a file may take."""
MEMORY_LIMIT = 512 << 20
"""Bytes that a file may take, beyond what the process had before."""
FINE = ("refused", "original", "another")
CHUNK = 100
"""Files that a process is given at once."""
ROW = "{:26}{:>10}{:>9}{:>9}{:>9}{:>9}{:>9}"
PACKAGES = ("diptych", "torch", "numpy", "constriction")


class Original(NamedTuple):
    """A file as the codec wrote it, and the hash of its latents."""

    data: bytes
    latents: str


class Judged(NamedTuple):
    """What became of a mutated file.

    Attributes:
        verdict: ``refused``, ``original`` or ``another``; anything else is a violation, in words.
        seconds, memory: what it took to read it; memory in bytes, beyond what the process had before.
    """

    number: int
    kind: str
    resealed: bool
    verdict: str
    data: bytes
    seconds: float
    memory: int

    def violation(self) -> str | None:
        """What is wrong, if anything is."""
        if self.verdict not in FINE:
            return self.verdict
        if self.memory > MEMORY_LIMIT:
            return f"it took {self.memory >> 20} MiB"
        return None


class Fuzzer:
    """Makes mutated files and judges how the codec takes them.

    Args:
        originals: files of this codec; see :func:`make_originals`.
        seed: of the mutations.
    """

    def __init__(self, codec: Codec, originals: Sequence[Original], seed: int) -> None:
        self._codec = codec
        self._originals = {original.data: original.latents for original in originals}
        self._files = [original.data for original in originals]
        self._seed = seed

    def judge(self, number: int) -> Judged:
        """Make the file of this number and read it."""
        source = random.Random(f"{self._seed}/{number}")
        kind = source.choices(list(MUTATIONS), [1 if kind == EXPENSIVE else 4 for kind in MUTATIONS])[0]
        resealed = source.random() < 0.5
        data = MUTATIONS[kind](source, source.choice(self._files), source.choice(self._files))
        data = sealed(data) if resealed else data
        with _costs() as costs:
            verdict = self.verdict(data, resealed)
        return Judged(number, kind, resealed, verdict, data, *costs)

    def verdict(self, data: bytes, resealed: bool) -> str:
        """How the codec takes a file; see :class:`Judged`."""
        try:
            found = hash_of(self._codec, data)
        except BitstreamError:
            return "refused"
        except BaseException as error:
            return f"{type(error).__name__}: {error}"
        if data in self._originals:
            return "original" if found == self._originals[data] else "an original was read differently"
        if not resealed:
            return "a changed file was accepted"
        return "another" if pack(unpack(data)) == data else "what was read is spelled in another way"


def hash_of(codec: Codec, data: bytes) -> str:
    return hashlib.sha256(codec.latents(data).values.astype("<i4").tobytes()).hexdigest()


def make_originals(codec: Codec) -> list[Original]:
    """Small files of all kinds: a photo's details and noise, one tile and many, qualities from 0 to 100."""
    with Image.open(CAT) as photo:
        photo = photo.convert("RGB")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 24, 3), np.uint8))
    sizes = [(1, 1), (17, 33), (64, 64), (96, 80), (5, 90)]
    details = [photo.crop((120, 80, 120 + width, 80 + height)) for width, height in sizes]
    files = [codec.encode(detail, quality) for detail in details for quality in (0, 12.34, 50, 100)]
    files.append(codec.encode(noise, 100))
    with patch.multiple(codec_module, TILE=64, ONE_TILE_PIXELS=0):
        files += [codec.encode(photo.crop((0, 0, *size)), 60) for size in [(96, 80), (150, 100), (64, 300)]]
    return [Original(data, hash_of(codec, data)) for data in files]


@contextmanager
def _costs() -> Iterator[list[float]]:
    """Seconds that the block took, and bytes: the larger of what Python saw and of what became resident."""
    found: list[float] = []
    tracemalloc.reset_peak()
    held = tracemalloc.get_traced_memory()[0]
    resident = _reset_resident_peak()
    start = time.perf_counter()
    yield found
    found.append(time.perf_counter() - start)
    found.append(max(tracemalloc.get_traced_memory()[1] - held, _status("VmHWM") - resident))


def _reset_resident_peak() -> int:
    """Resident bytes, from which on the peak counts; what torch takes is seen only here, and so only on Linux."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    """An entry of Linux's account of this process, in bytes."""
    if sys.platform != "linux":
        return 0
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


_fuzzer: Fuzzer
_note: BinaryIO


def _start(model: str | None, originals: list[Original], seed: int, notes: str) -> None:
    """Prepare a process. In ``notes`` it keeps the number of the file that it is at, in case it dies."""
    global _fuzzer, _note
    _fuzzer = Fuzzer(diptych.load(model), originals, seed)
    _note = open(Path(notes) / str(os.getpid()), "wb", buffering=0)  # noqa: SIM115
    for number in range(1, 30):  # what is loaded and kept at first use is no file's cost
        _fuzzer.judge(-number)
    faulthandler.enable()
    tracemalloc.start()
    if sys.platform == "linux":  # memory that is asked for and never touched counts, too
        limit = _status("VmSize") + 2 * MEMORY_LIMIT
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _judge_some(numbers: range) -> list[Judged]:
    found = []
    for number in numbers:
        os.pwrite(_note.fileno(), b"%12d" % number, 0)
        faulthandler.dump_traceback_later(TIME_LIMIT, exit=True)
        judged = _fuzzer.judge(number)
        faulthandler.cancel_dump_traceback_later()
        found.append(judged if judged.violation() else judged._replace(data=b""))
    return found


def fuzz(model: str | None, originals: list[Original], seed: int, numbers: range, jobs: int) -> Iterator[Judged]:
    """Judge files in several processes; what killed one of them is the last that is reported."""
    chunks = [numbers[start : start + CHUNK] for start in range(0, len(numbers), CHUNK)]
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as notes,
        ProcessPoolExecutor(jobs, context, _start, (model, originals, seed, notes)) as pool,
    ):
        try:
            for found in pool.map(_judge_some, chunks):
                yield from found
        except BrokenProcessPool:
            at = sorted(int(path.read_text()) for path in Path(notes).iterdir())
            yield Judged(
                at[0], "?", False, f"a process died, or took too long, at one of the files {at}", b"", 0, 0
            )


def table(counts: Counter[tuple[str, bool, str]]) -> str:
    """How many files of each kind met which end."""
    rows = sorted({(kind, resealed) for kind, resealed, _ in counts})
    lines = [ROW.format("", "checksums", "files", *FINE, "wrong")]
    for kind, resealed in rows:
        ends = {verdict: n for (*row, verdict), n in counts.items() if row == [kind, resealed]}
        fine = [ends.pop(verdict, 0) for verdict in FINE]
        files = sum(fine) + sum(ends.values())
        lines.append(ROW.format(kind, "right" if resealed else "as were", files, *fine, sum(ends.values())))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=cores())
    parser.add_argument("--model", help="codec file; the shipped one if not given")
    parser.add_argument("--out", type=Path, help="JSON file of the outcome")
    arguments = parser.parse_args()

    codec = diptych.load(arguments.model)
    originals = make_originals(codec)
    start = time.perf_counter()
    counts: Counter[tuple[str, bool, str]] = Counter()
    violations, slowest, largest = [], None, None
    numbers = range(arguments.first, arguments.first + arguments.count)
    for judged in fuzz(arguments.model, originals, arguments.seed, numbers, arguments.jobs):
        wrong = judged.violation()
        counts[judged.kind, judged.resealed, "wrong" if wrong else judged.verdict] += 1
        if wrong:
            violations.append({"number": judged.number, "problem": wrong, "file": judged.data.hex()})
            print(f"number {judged.number} ({judged.kind}): {wrong}", file=sys.stderr, flush=True)
        slowest = max(slowest or judged, judged, key=lambda each: each.seconds)
        largest = max(largest or judged, judged, key=lambda each: each.memory)
    seconds = time.perf_counter() - start
    assert slowest
    assert largest
    files = counts.total()
    print(table(counts))
    print(f"{files:,} files of {len(originals)} originals in {seconds:.0f} s: {files / seconds:.0f} a second")
    print(f"slowest: number {slowest.number} ({slowest.kind}), {slowest.seconds:.2f} s of {TIME_LIMIT}")
    print(
        f"most memory: number {largest.number} ({largest.kind}), {largest.memory >> 20} of {MEMORY_LIMIT >> 20} MiB"
    )
    print(f"{len(violations)} violations")
    if arguments.out:
        outcome = {
            "command": shlex.join(["python", *sys.argv]),
            "model_id": codec.model_id.hex(),
            "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
            "machine": platform.machine(),
            "seed": arguments.seed,
            "files": files,
            "seconds": round(seconds, 1),
            "time_limit_seconds": TIME_LIMIT,
            "memory_limit_bytes": MEMORY_LIMIT,
            "slowest": _cost(slowest),
            "most_memory": _cost(largest),
            "counts": [
                {"kind": kind, "checksums_right": resealed, "verdict": verdict, "files": n}
                for (kind, resealed, verdict), n in sorted(counts.items())
            ],
            "violations": violations,
        }
        arguments.out.write_text(json.dumps(outcome, indent=1) + "\n")
    sys.exit(bool(violations))


def _cost(judged: Judged) -> dict[str, Any]:
    return {
        "number": judged.number,
        "kind": judged.kind,
        "verdict": judged.verdict,
        "seconds": round(judged.seconds, 3),
        "bytes": judged.memory,
    }


if __name__ == "__main__":
    main()
