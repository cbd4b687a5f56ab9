"""Whole processes: `diptych encode` and `decode` of one photo, beside `cjxl` and `avifenc`, as users run them.

    python benchmarks/processes.py ../shared/data/kodak/kodim03.webp --before old-venv/bin/python

One thread each. Every repetition runs every command once, in turn, so that whatever else the machine does meets
all alike; figures are medians. The processor's seconds count, since the clock's depend on who else wants it; both
are told. `diptych` is that of the interpreter which runs this, ``--before`` another one to compare with.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import NamedTuple

from PIL import Image
from rich.console import Console
from rich.table import Table

TIMES, MEGABYTES = 8, 250
"""Bounds: of the time, relative to `cjxl`'s, and of the memory."""
PEERS = {
    "cjxl -e 7": ["cjxl", "--num_threads=0", "-e", "7", "-q", "40", "photo.png", "photo.jxl"],
    "djxl": ["djxl", "--num_threads=0", "photo.jxl", "jxl.png"],
    "avifenc -s 6": ["avifenc", "-s", "6", "-j", "1", "--min", "45", "--max", "45", "photo.png", "photo.avif"],
    "avifdec": ["avifdec", "-j", "1", "photo.avif", "avif.png"],
}
CODING = {
    "diptych --version": ["--version"],
    "diptych encode": ["encode", "photo.png", "-o", "photo.dip", "--overwrite"],
    "diptych decode": ["decode", "photo.dip", "-o", "dip.png", "--overwrite"],
}


class Run(NamedTuple):
    """Seconds of the processor and of the clock, and the largest resident set in MB."""

    processor: float
    clock: float
    memory: float


def run(command: list[str], folder: Path) -> Run:
    """Run a command to its end.

    Raises:
        SystemExit: if it fails.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed with {os.waitstatus_to_exitcode(status)}")
    kilobytes = used.ru_maxrss / (1000 if sys.platform == "darwin" else 1000 / 1024)
    return Run(used.ru_utime + used.ru_stime, time.perf_counter() - start, kilobytes / 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--before", help="interpreter with another build of Diptych")
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    arguments = parser.parse_args()
    missing = [command[0] for command in PEERS.values() if not shutil.which(command[0])]
    if missing:
        raise SystemExit(f"{', '.join(missing)} not found: apt install libjxl-tools libavif-bin")
    commands = dict(PEERS)
    for label, python in (("", sys.executable), ("before: ", arguments.before)):
        if python:
            program = [str(Path(python).absolute()), "-m", "diptych"]
            commands |= {f"{label}{name}": [*program, *words] for name, words in CODING.items()}
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Image.open(arguments.photo) as photo:
            photo.convert("RGB").save(folder / "photo.png")
        for _ in range(arguments.repetitions + 1):
            for label, command in commands.items():
                runs[label].append(run(command, folder))
        sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
    figures = {name: Run(*map(median, zip(*found[1:], strict=True))) for name, found in runs.items()}
    unit = figures["cjxl -e 7"].processor
    table = Table("command", "processor, s", "times cjxl -e 7", "clock, s", "MB")
    for name, (processor, clock, memory) in figures.items():
        table.add_row(name, f"{processor:.3f}", f"{processor / unit:.1f}", f"{clock:.3f}", f"{memory:.0f}")
    Console(width=110).print(table)
    if arguments.out:
        about = {
            "command": " ".join(["python", *sys.argv]),
            "system": platform.platform(),
            "versions": {name: metadata.version(name) for name in ("diptych", "openvino", "numpy")},
            "bytes": sizes,
        }
        rows = {name: found._asdict() for name, found in figures.items()}
        arguments.out.write_text(json.dumps(about | {"commands": rows}, indent=1) + "\n")
    ours = (figures["diptych encode"], figures["diptych decode"])
    raise SystemExit(any(one.processor > TIMES * unit or one.memory > MEGABYTES for one in ours))


if __name__ == "__main__":
    main()
