"""``decode --salvage``: the picture is written, what it lacks is said, and the exit code is 1."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import diptych.codec.codec as codec_module
from diptych.cli.main import app
from diptych.codec.codec import Codec
from samples import picture


@pytest.fixture
def dip(tmp_path: Path, codec: Codec, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six tiles of 128 pixels, in two rows."""
    monkeypatch.setattr(codec_module, "ONE_TILE_PIXELS", 0)
    monkeypatch.setattr(codec_module, "TILE", 128)
    path = tmp_path / "file.dip"
    path.write_bytes(codec.encode(picture(300, 200), 60))
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_damaged_file(dip: Path, codec_file: Path, tmp_path: Path) -> None:
    data = dip.read_bytes()
    dip.write_bytes(data[:-1])
    assert run("decode", dip, "--model", codec_file).exit_code == 1
    assert not dip.with_suffix(".png").exists()
    manifest = tmp_path / "m.jsonl"
    result = run("decode", dip, "--salvage", "--manifest", manifest, "--model", codec_file)
    assert result.exit_code == 1
    assert f"{dip} -> {dip.with_suffix('.png')}: view human" in result.stdout
    assert result.stderr == f"diptych: error: {dip}: 1 of 6 tiles lost: 256,128,44,72\n"
    shown = np.asarray(Image.open(dip.with_suffix(".png")))
    assert set(np.unique(shown[128:, 256:])) == {112, 144}
    line = json.loads(manifest.read_text())
    assert line["error"] == f"{dip}: 1 of 6 tiles lost: 256,128,44,72"
    assert line["output"] == str(dip.with_suffix(".png"))
    assert line["sha256"]


def test_a_sound_file(dip: Path, codec_file: Path, codec: Codec) -> None:
    result = run("decode", dip, "--salvage", "--view", "machine", "--model", codec_file)
    assert (result.exit_code, result.stderr) == (0, "")
    shown = np.asarray(Image.open(dip.with_suffix(".png")))
    assert np.array_equal(shown, np.asarray(codec.decode(dip.read_bytes(), "machine")))


@pytest.mark.parametrize("at", [0, 8, 15, 20])
def test_what_cannot_be_salvaged_is_refused_in_one_line(dip: Path, codec_file: Path, at: int) -> None:
    data = bytearray(dip.read_bytes())
    data[at] ^= 1
    dip.write_bytes(data)
    result = run("decode", dip, "--salvage", "--model", codec_file)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert not dip.with_suffix(".png").exists()


def test_a_map_of_what_is_left(dip: Path, codec_file: Path) -> None:
    dip.write_bytes(dip.read_bytes()[:-1])
    heat = dip.with_name("heat.png")
    assert run("decode", dip, "--salvage", "--map", heat, "--model", codec_file).exit_code == 1
    assert np.asarray(Image.open(heat))[160:, 280:].max() == np.asarray(Image.open(heat))[160:, 280:].min()


def test_salvage_does_not_resume(dip: Path) -> None:
    assert run("decode", dip, "--salvage", "--resume").exit_code == 2
