"""``encode --focus``: whose boxes count, what is told, and what is refused."""

import json
from importlib import resources
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import diptych
from diptych.bitstream import read_header
from diptych.cli.focus import Detections
from diptych.cli.main import app

BOXES = [(20, 30, 60, 40)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two parts of the cat, the second with no detection in it."""
    with Image.open(str(resources.files("diptych") / "assets" / "chelsea.jpg")) as cat:
        cat.convert("RGB").crop((60, 0, 400, 260)).save(tmp_path / "cat.png")
        cat.convert("RGB").crop((400, 100, 440, 140)).save(tmp_path / "wall.png")
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def expected(photo: Path, quality: float, boxes: object) -> bytes:
    with Image.open(photo) as image:
        return diptych.load().encode(image, quality, focus=boxes)


def test_boxes_by_name(folder: Path) -> None:
    boxes = folder / "boxes.json"
    boxes.write_text(json.dumps({"cat.png": BOXES}))
    result = run("encode", folder / "cat.png", folder / "wall.png", "--focus", boxes)
    assert result.exit_code == 0, result.output
    assert (folder / "cat.dip").read_bytes() == expected(folder / "cat.png", 40, BOXES)
    assert (folder / "wall.dip").read_bytes() == expected(folder / "wall.png", 40, [])
    assert "bpp, focus on 1 box\n" in result.stdout
    assert "wall.png: there is nothing to focus on, so it is coded evenly" in result.stderr


@pytest.mark.slow
def test_detections_with_processes(folder: Path) -> None:
    result = run("encode", folder, "-q", 30, "--focus", "detections", "--jobs", 2)
    assert result.exit_code == 0, result.output
    with Image.open(folder / "cat.png") as image:
        boxes = Detections().boxes(folder / "cat.png", image)
    assert f"focus on {len(boxes)} box" in result.stdout
    assert (folder / "cat.dip").read_bytes() == expected(folder / "cat.png", 30, boxes)


@pytest.mark.slow
def test_for_a_size_more_goes_inside(folder: Path) -> None:
    (folder / "boxes.json").write_text(json.dumps(BOXES))
    qualities = []
    for options in ([], ["--focus", folder / "boxes.json"]):
        result = run("encode", folder / "cat.png", "--target-size", 2500, "--overwrite", *options)
        assert result.exit_code == 0, result.output
        data = (folder / "cat.dip").read_bytes()
        assert len(data) <= 2500
        qualities.append(read_header(data).quality)
    assert qualities[0] + 5 < qualities[1]


def test_what_is_wrong_is_said_in_a_sentence(folder: Path) -> None:
    boxes = folder / "boxes.json"
    for content, said in {
        "no JSON": "boxes.json holds no boxes",
        "[[500, 0, 9, 9]]": "the box 500, 0, 9, 9",
    }.items():
        boxes.write_text(content)
        result = run("encode", folder / "cat.png", "--focus", boxes)
        assert result.exit_code == 1
        [line] = result.stderr.splitlines()
        assert said in line
        assert not (folder / "cat.dip").exists()
