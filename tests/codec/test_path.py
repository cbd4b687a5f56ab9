"""How many files of the package a newcomer reads to follow one picture: those in which its encoding runs code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import diptych

PACKAGE = Path(diptych.__file__).parent
FOLLOWED = """
import inspect, json, os, sys, threading

def note(frame, event, _):
    code = frame.f_code
    if event == "call" and code.co_flags & inspect.CO_OPTIMIZED and code.co_filename.startswith(package):
        if not importing(frame):
            files.add(os.path.relpath(code.co_filename, package))

def importing(frame):
    while frame := frame.f_back:
        if frame.f_code.co_name == "<module>" and frame.f_code.co_filename.startswith(package):
            return True
    return False

files, package = set(), sys.argv[1]
threading.setprofile(note)
sys.setprofile(note)
from diptych.cli.main import app
try:
    app(sys.argv[2:])
except SystemExit as end:
    assert not end.code
sys.setprofile(None)
print(json.dumps(sorted(files)))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("command", "most"), [("encode", 20), ("decode", 17)])
def test_a_picture_runs_through_few_files(tmp_path: Path, command: str, most: int) -> None:
    """Functions that run, those called while modules are imported excepted; the aim is ten."""
    photo, dip = PACKAGE / "assets" / "chelsea.jpg", tmp_path / "cat.dip"
    if command == "decode":
        dip.write_bytes(diptych.load().encode(Image.open(photo)))
    arguments = {"encode": ["encode", photo, "-o", dip], "decode": ["decode", dip, "-o", tmp_path / "cat.png"]}
    program = [sys.executable, "-c", FOLLOWED, PACKAGE, *arguments[command]]
    ended = subprocess.run(list(map(str, program)), capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    files = json.loads(ended.stdout.splitlines()[-1])
    assert {f"cli/{command}.py", "codec/codec.py", "codec/entropy.py"} <= {Path(file).as_posix() for file in files}
    assert len(files) <= most, files
