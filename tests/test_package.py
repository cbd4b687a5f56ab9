"""The package as others meet it: its types, its manual page, completion in the shell."""

import importlib.util
import os
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]

DOWNSTREAM = """
from pathlib import Path

import numpy as np
from PIL import Image

import diptych
import diptych.pillow
from diptych.data.dip import DipDataset


def shrink(path: Path, codec: diptych.Codec, quality: float = 40) -> bytes:
    with Image.open(path) as image:
        return codec.encode(image, quality=quality, verify=True)


codec = diptych.load("codec.safetensors")
data: bytes = codec.encode(np.zeros((4, 4, 3), np.uint8))
view: Image.Image = codec.decode(data, view="human", region=(0, 0, 2, 2))
views: list[Image.Image] = codec.decode_views(data, ["machine", 0.5])
count: int = len(DipDataset("files", "machine"))
try:
    shrink(Path("photo.jpg"), diptych.load())
except (diptych.PictureError, diptych.BitstreamError, diptych.DiptychError) as error:
    print(error)
"""
MISTAKES = """
import diptych

codec = diptych.load(3)
codec.encode("photo.jpg", quality="high")
text: str = codec.decode(b"", view="human")
diptych.lod()
"""


def mypy(folder: Path, program: str) -> list[str]:
    """What a strict mypy says of a program that uses the installed package; torch, large, stays unread."""
    (folder / "program.py").write_text(program)
    (folder / "mypy.ini").write_text("[mypy]\nstrict = true\n[mypy-torch.*,torchvision.*]\nfollow_imports = skip\n")
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(folder / "cache"), "program.py"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return ended.stdout.splitlines()[:-1]


@pytest.mark.slow
def test_the_public_names_are_typed(tmp_path: Path) -> None:
    assert (resources.files("diptych") / "py.typed").is_file()
    assert mypy(tmp_path, DOWNSTREAM) == []
    found = mypy(tmp_path, MISTAKES)
    assert {line.split(":")[1] for line in found if ": error:" in line} == {"4", "5", "6", "7"}


@pytest.fixture(scope="module")
def manual() -> ModuleType:
    specification = importlib.util.spec_from_file_location("make", ROOT / "man/make.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_manual_page_says_what_help_says(manual: ModuleType) -> None:
    assert manual.PAGE.read_text(encoding="utf-8") == manual.page(), "run: python man/make.py"


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_the_manual_page_is_sound(manual: ModuleType) -> None:
    shown = subprocess.run(
        ["groff", "-man", "-ww", "-Tascii", "-P-cbou", str(manual.PAGE)], capture_output=True, text=True
    )
    assert shown.stderr == ""
    assert "-q, --quality 0..100" in shown.stdout
    assert "diptych encode 'holiday/**/*.jpg' scans/ -o compressed/" in shown.stdout


def in_bash(home: Path, line: str) -> str:
    """What a bash of a user with an empty home prints."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "HOME": str(home), "PATH": path, "COLUMNS": "200"}
    ended = subprocess.run(
        ["bash", "--norc", "-c", f"{line}\ntrue"], env=environment, capture_output=True, text=True, check=True
    )
    return ended.stdout


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_completion_in_bash(tmp_path: Path) -> None:
    assert "complete -o default -F _diptych_completion diptych" in in_bash(tmp_path, "diptych --show-completion")
    assert "completion installed" in in_bash(tmp_path, "diptych --install-completion")
    for typed, offered in {"de": "decode demo", "train hu": "human", "encode --qual": "--quality"}.items():
        words = f"COMP_WORDS=(diptych {typed}); COMP_CWORD={1 + typed.count(' ')}"
        complete = f'. ~/.bashrc; {words}; _diptych_completion diptych; echo "${{COMPREPLY[@]}}"'
        assert in_bash(tmp_path, complete).split() == offered.split()
