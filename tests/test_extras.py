"""Without its extras the package does its everyday work, and says which one each other command needs."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from PIL import Image

from imports import FILES, ROOT, imported, part_of
from samples import picture

PROJECT = ROOT / "pyproject.toml"
EXTRAS = ("train", "eval", "onnx", "serve", "remote", "cluster")
WITHOUT = """
import json, sys

class Others:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in blocked else self.finder.find_spec(name, path, target)

    def find_distributions(self, *context):
        return getattr(self.finder, "find_distributions", lambda *_: ())(*context)

blocked, commands = map(json.loads, sys.argv[1:])
sys.meta_path[:] = map(Others, sys.meta_path)
from diptych.cli.main import app

codes = []
for command in commands:
    try:
        app(command)
    except SystemExit as end:
        codes.append(end.code or 0)
print(json.dumps(codes))
"""


def modules(extra: str) -> set[str]:
    """What an extra installs that the package itself does not require."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    own = {project["name"]}  # which an extra names to take in others
    more = names(project["optional-dependencies"][extra]) - names(project["dependencies"]) - own
    return {module for module, owners in installed().items() if names(owners) & more}


@cache
def installed() -> Mapping[str, list[str]]:
    """Distributions by the modules that they install."""
    return metadata.packages_distributions()


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-") for requirement in requirements}


def without(missing: set[str], *commands: list[str], folder: Path) -> tuple[list[int], str]:
    """Exit codes of commands run where modules are missing, and what they said on stderr."""
    arguments = [json.dumps(sorted(missing)), json.dumps(commands)]
    program = [sys.executable, "-c", WITHOUT, *arguments]
    ended = subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1]), ended.stderr


@pytest.mark.slow
def test_everyday_work_needs_no_extra(tmp_path: Path, codec_file: Path) -> None:
    picture(40, 30).save(tmp_path / "photo.png")
    picture(320, 320).save(tmp_path / "large.png")
    model = ["--model", str(codec_file)]
    codes, said = without(
        set().union(*map(modules, EXTRAS)),
        ["--help"],
        ["encode", "photo.png", *model],
        ["decode", "photo.dip", "-o", "decoded.webp", *model],
        ["info", "photo.dip"],
        ["encode", "photo.png", "-o", "hinted.dip", "--view-hint", "auto", *model],
        ["demo", "photo.png", "-o", "demo", *model],
        ["grid", "large.png"],
        ["lint", str(codec_file)],
        folder=tmp_path,
    )
    assert codes == [0] * 8, said
    assert (tmp_path / "demo/human-detections.png").is_file()
    assert Image.open(tmp_path / "decoded.webp").size == (40, 30)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extra", "command", "beginning"),
    [
        ("train", ["train", "pixel", "any.yaml"], "training needs the package "),
        ("train", ["encode", "photo.png", "--optimize", "2"], "--optimize needs the package "),
        ("eval", ["evaluate", "any.yaml"], "evaluation needs the package "),
        ("eval", ["encode", "photo.png", "--target", "ssimulacra2=60"], "--target ssimulacra2 needs the package "),
        ("onnx", ["lint", "any.onnx"], "an ONNX file needs the package 'onnx'"),
        ("onnx", ["export"], "an export needs the package 'onnx'"),
        ("train,onnx", ["label", ".", "--task", "network.yaml"], "network.yaml needs the package "),
        ("remote", ["encode", "s3://bucket/photo.png"], "s3://bucket/photo.png needs the package 'fsspec'"),
        ("remote", ["encode", "photo.png", "-o", "s3://bucket/"], "s3://bucket/photo.dip needs the package "),
        ("cluster", ["encode", "photo.png", "--cluster", "auto"], "--cluster needs the package 'ray'"),
        ("serve", ["serve"], "the server needs the package "),
    ],
)
def test_the_missing_extra_is_named(tmp_path: Path, extra: str, command: list[str], beginning: str) -> None:
    (tmp_path / "network.yaml").write_text("kind: onnx\nnetwork: net.onnx\nclasses: [cat]\n")
    picture(40, 30).save(tmp_path / "photo.png")
    codes, said = without(modules(extra.split(",")[-1]), command, folder=tmp_path)
    assert codes == [1]
    [line] = said.splitlines()
    assert line.startswith(f"diptych: error: {beginning}")
    assert line.endswith(f": pip install 'diptych[{extra}]'")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "extra"), [("training", "train"), ("evaluation", "eval"), ("serve", "serve"), ("cluster", "cluster")]
)
def test_a_part_imports_from_its_own_extra(part: str, extra: str) -> None:
    foreign = set().union(*map(modules, EXTRAS)) - modules(extra)
    used = {name.partition(".")[0] for path in FILES if part_of(path) == part for name in imported(path)}
    assert used & foreign == set()
