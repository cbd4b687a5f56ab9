"""Check a wheel where it is installed with nothing but what it requires: ``python .ci/clean.py FILE.whl``.

It holds all it should, everyday commands work, and the others say in one sentence which extra they need.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "src/diptych/assets/chelsea.jpg"

WORKS = (
    ("--help",),
    ("encode", str(SAMPLE), "-o", "cat.dip"),
    ("encode", str(SAMPLE), "-o", "hinted.dip", "--view-hint", "auto", "--keep", "0.9"),
    ("decode", "cat.dip", "-o", "cat.png"),
    ("info", "cat.dip"),
    ("grid", "cat.png"),
    ("lint", str(ROOT / "src/diptych/weights/codec.safetensors")),
    ("selftest",),
    ("demo",),
    ("page", "-o", "viewer"),
    ("report", str(ROOT / "results/eval-kodak.json")),
)
NEEDS = (
    ("train", ("train", "pixel", str(ROOT / "recipes/pixel.yaml"))),
    ("train", ("encode", str(SAMPLE), "-o", "better.dip", "--optimize", "3")),
    ("train", ("label", ".")),
    ("eval", ("evaluate", str(ROOT / "recipes/eval-kodak.yaml"))),
    ("onnx", ("lint", "network.onnx")),
    ("serve", ("serve",)),
    ("remote", ("encode", "s3://bucket/photo.jpg")),
    ("cluster", ("encode", str(SAMPLE), "-o", "cluster.dip", "--cluster", "auto")),
)
TRAINING = ("torch", "torchvision", "timm", "pycocotools")
MEGABYTES = 400


def main() -> None:
    check_contents(Path(sys.argv[1]))
    check_installation()
    with tempfile.TemporaryDirectory() as folder:
        for command in WORKS:
            ended = run(command, folder)
            expect(ended.returncode == 0, command, ended)
            print(f"works: diptych {command[0]}")
        for extra, command in NEEDS:
            ended = run(command, folder)
            said = ended.stderr.startswith("diptych: error: ") and ended.stderr.count("\n") == 1
            named = ended.stderr.endswith(f"pip install 'diptych[{extra}]'\n")
            expect(ended.returncode == 1 and said and named, command, ended)
            print(ended.stderr, end="")


def check_contents(wheel: Path) -> None:
    """Every file of the package is in the wheel, with its licence and manual page, and nothing else."""
    files = {
        path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src/diptych").rglob("*") if path.is_file()
    }
    files = {file for file in files if "__pycache__" not in file}
    with ZipFile(wheel) as archive:
        held = set(archive.namelist())
    name = "-".join(wheel.name.split("-")[:2])
    metadata = {f"{name}.dist-info/{part}" for part in ("METADATA", "RECORD", "WHEEL", "entry_points.txt")}
    beside = {f"{name}.dist-info/licenses/LICENSE", f"{name}.data/data/share/man/man1/diptych.1"}
    wanted = files | metadata | beside
    if held != wanted:
        raise SystemExit(f"{wheel.name} lacks {sorted(wanted - held)} and holds too much: {sorted(held - wanted)}")
    print(f"{wheel.name}: {len(held)} files, {wheel.stat().st_size / 1e6:.1f} MB")


def check_installation() -> None:
    """What is installed is light, and nothing of it is for training only."""
    heavy = [name for name in TRAINING if find_spec(name)]
    files = (path for path in Path(sysconfig.get_path("platlib")).rglob("*") if path.is_file())
    size = sum(file.stat().st_size for file in files) / 1e6
    if heavy or size > MEGABYTES:
        raise SystemExit(f"installed: {size:.0f} MB, and of what training needs: {', '.join(heavy) or 'nothing'}")
    print(f"installed: {size:.0f} MB")


def run(command: tuple[str, ...], folder: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["diptych", *command], cwd=folder, capture_output=True, text=True)


def expect(true: bool, command: tuple[str, ...], ended: subprocess.CompletedProcess[str]) -> None:
    if not true:
        raise SystemExit(f"diptych {' '.join(command)} ended with {ended.returncode}\n{ended.stdout}{ended.stderr}")


if __name__ == "__main__":
    main()
