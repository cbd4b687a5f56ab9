"""The commands that make labels, on the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from diptych.cli.main import app
from samples import picture


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("command", [["label"], ["convert", "cityscapes"], ["convert", "openimages"]])
def test_help_has_examples(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert f"diptych {' '.join(command)} " in result.stdout.partition("Examples")[2]


def test_cityscapes(tmp_path: Path) -> None:
    for kind, suffix in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_instanceIds")):
        folder = tmp_path / kind / "val" / "bonn"
        folder.mkdir(parents=True)
        for number in range(2):
            image = (
                picture(40, 20) if kind == "leftImg8bit" else Image.fromarray(np.full((20, 40), 26003, np.uint16))
            )
            image.save(folder / f"bonn_{number}_{suffix}.png")
    (tmp_path / "gtFine" / "val" / "bonn" / "bonn_1_gtFine_instanceIds.png").unlink()
    output = tmp_path / "new" / "labels.json"
    result = run("convert", "cityscapes", tmp_path, "--split", "val", "-o", output)
    assert result.exit_code == 0
    assert result.stdout == f"wrote {output}: 1 photos, 1 instances\n"
    assert "bonn_1_leftImg8bit.png was left out" in result.stderr
    assert json.loads(output.read_text())["annotations"][0]["bbox"] == [0, 0, 40, 20]
    again = run("convert", "cityscapes", tmp_path, "--split", "val", "-o", output)
    assert again.exit_code == 1
    assert "--overwrite" in again.stderr


def test_openimages(tmp_path: Path) -> None:
    picture(40, 20).save(tmp_path / "a.jpg")
    (tmp_path / "classes.csv").write_text("/m/01yrx,Cat\n")
    header = "ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf"
    (tmp_path / "boxes.csv").write_text(f"{header}\na,/m/01yrx,0.5,1,0,0.5,0\n")
    arguments = ["--classes", tmp_path / "classes.csv", "--boxes", tmp_path / "boxes.csv"]
    assert run("convert", "openimages", tmp_path, *arguments, "-o", tmp_path / "labels.json").exit_code == 0
    assert json.loads((tmp_path / "labels.json").read_text())["annotations"][0]["bbox"] == [20, 0, 20, 10]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["convert"], 2, "Missing command"),
        (["convert", "cityscapes", "/nowhere"], 1, "no photos"),
        (["convert", "openimages", "/nowhere", "--classes", "/none", "--boxes", "/none"], 1, "cannot be read"),
        (["label", "/nowhere"], 1, "no photos in"),
        (["label", "/nowhere", "--min-score", "2"], 2, "from 0 to 1"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    result = run(*arguments, *([] if code == 2 else ["-o", tmp_path / "labels.json"]))
    assert result.exit_code == code
    [line] = result.stderr.splitlines()
    assert line.startswith("diptych: error: ")
    assert message in line
    assert list(tmp_path.iterdir()) == []
