"""The commands ``grid`` and ``lint`` as a user meets them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner, Result

from diptych.cli.main import app
from samples import picture


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    clean = np.asarray(picture(200, 180)).astype(int)
    dotted = clean.copy()
    dotted[::4, ::4] += 40
    for name, pixels in (("clean", clean), ("dotted", dotted)):
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{name}.png")
    return folder


def test_grid_tells_pictures_apart(photos: Path) -> None:
    result = run("grid", photos, "--json")
    assert result.exit_code == 0, result.output
    clean, dotted = map(json.loads, result.stdout.splitlines())
    assert (clean["verdict"], dotted["verdict"]) == ("as photos", "grid")
    assert [row["stride"] for row in dotted["strides"]] == [2, 4, 8, 16]
    text = run("grid", photos / "dotted.png", "--stride", 4).stdout
    assert text.startswith(f"{photos / 'dotted.png'}: grid (1 tile)")
    assert len(text.splitlines()) == 2


def test_grid_writes_maps(photos: Path, tmp_path: Path) -> None:
    one = tmp_path / "heat.png"
    result = run("grid", photos / "dotted.png", "--map", one, "--stride", 4)
    assert f"wrote {one}: stride 4" in result.stdout
    assert Image.open(one).size == (200, 180)
    again = run("grid", photos / "dotted.png", "--map", one)
    assert again.exit_code == 1
    assert "use --overwrite" in again.stderr
    assert run("grid", photos, "--map", tmp_path / "maps", "--stride", 2).exit_code == 0
    assert {path.name for path in (tmp_path / "maps").iterdir()} == {"clean.grid.png", "dotted.grid.png"}


def test_grid_refuses_in_one_line(photos: Path, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "small.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    for arguments, code, message in (
        ([tmp_path / "small.png"], 1, "small.png: a grid cannot be measured on less than 32 x 32"),
        ([tmp_path / "bad.png"], 1, "bad.png"),
        ([tmp_path / "none.png"], 1, "no such file"),
        ([photos / "clean.png", "--stride", 3], 2, "a stride is 2, 4, 8 or 16, not 3"),
        ([photos / "clean.png", "--map", tmp_path / "heat.xyz"], 1, "'.xyz' is not one of"),
    ):
        result = run("grid", *arguments)
        assert result.exit_code == code
        assert result.stdout == ""
        [line] = result.stderr.splitlines()
        assert message in line
    assert not list(tmp_path.glob("heat*"))


def test_grid_needs_neither_torch_nor_scipy(photos: Path) -> None:
    program = """
import sys
from diptych.cli.main import app
try:
    app(sys.argv[1:])
finally:
    assert not {"torch", "scipy", "matplotlib"} & set(sys.modules)
"""
    arguments = ["grid", str(photos / "clean.png"), "--map", str(photos / "map.png")]
    result = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_lint_of_a_foreign_network(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_file(nn.ModuleDict({"a": nn.ConvTranspose2d(8, 4, 4, 2), "b": nn.Conv2d(6, 12, 3)}).state_dict(), path)
    layers = ["--layer", "a:transposed:2", "--layer", "b:subpixel:2"]
    text = run("lint", path, *layers).stdout.splitlines()
    assert text[0].split()[:4] == ["a", "transposed", "4x4", "by"]
    assert text[0].endswith("uneven  [hint]")
    assert text[-1] == "2 of 2 upsamplers uneven"
    told = json.loads(run("lint", path, *layers, "--json").stdout)
    assert [layer["kind"] for layer in told["layers"]] == ["transposed", "subpixel"]
    assert told["flat_grid"] == {}


def test_lint_of_a_network_without_a_grid(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    layer = nn.ConvTranspose2d(8, 4, 4, 2)
    nn.init.ones_(layer.weight)
    save_file({f"up.{name}": value for name, value in layer.state_dict().items()}, path)
    named = [path, "--layer", "up:transposed:2"]
    assert run("lint", *named).stdout.endswith("none of 1 upsamplers uneven\n")
    [row] = json.loads(run("lint", *named, "--json").stdout)["layers"]
    assert row["kernel_db"] is None
    assert row["even"] is True


@pytest.mark.slow
def test_lint_of_a_codec_and_its_view(codec_file: Path) -> None:
    for arguments in ([codec_file], [codec_file, "--view", codec_file.with_suffix(".human.safetensors")]):
        told = json.loads(run("lint", *arguments, "--json").stdout)
        assert len(told["layers"]) == 3
        assert set(told["flat_grid"]) == {"machine", "human"}
    assert "levels in the human view" in run("lint", codec_file).stdout


def test_lint_refuses_in_one_line(tmp_path: Path, codec_file: Path) -> None:
    foreign = tmp_path / "net.safetensors"
    save_file(nn.ConvTranspose2d(8, 4, 4, 2).state_dict(), foreign)
    for arguments, message in (
        ([tmp_path / "none.safetensors"], "there is no weights file"),
        ([foreign], "name them with --layer"),
        ([codec_file, "--layer", "x"], "'x' is not NAME:transposed:STRIDE"),
        ([codec_file, "--view", codec_file], "is not a Diptych view"),
    ):
        result = run("lint", *arguments)
        assert result.exit_code == 1
        [line] = result.stderr.splitlines()
        assert message in line
