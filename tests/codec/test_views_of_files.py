"""View files and maps on the command line."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

import diptych
from diptych.bitstream import pack, read_header, unpack
from diptych.cli.main import app
from diptych.codec.codec import Codec
from diptych.codec.view_difference import as_picture, difference_map
from diptych.codec.weights import save_view
from diptych.training.export import save_model
from samples import lively_model, picture


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments: object, code: int = 1) -> str:
    result = run(*arguments)
    assert result.exit_code == code, result.output
    [line] = result.stderr.splitlines()
    return line


@pytest.fixture
def dip(tmp_path: Path, codec: Codec) -> Path:
    path = tmp_path / "photo.dip"
    path.write_bytes(codec.encode(picture(70, 45), 60))
    return path


@pytest.fixture
def newer(tmp_path: Path, codec: Codec) -> Path:
    """A better human view, of other layers than the first one."""
    weight = codec.frozen.arrays["g_s.stages.pixel.weight"]
    path = tmp_path / "newer.safetensors"
    save_view({"stages.pixel.weight": 0.9 * weight}, codec.model_id, path, {})
    return path


def test_a_newer_view_for_an_old_file(dip: Path, newer: Path, codec_file: Path, codec: Codec) -> None:
    before = dip.read_bytes()
    result = run("decode", dip, "--view", newer, "--model", codec_file)
    assert result.exit_code == 0, result.output
    assert f"view {newer}, 70 x 45" in result.stdout
    shown = np.asarray(Image.open(dip.with_suffix(".png")))
    assert np.array_equal(shown, np.asarray(diptych.load(codec_file, newer).decode(before, "human")))
    assert not np.array_equal(shown, np.asarray(codec.decode(before, "human")))
    assert dip.read_bytes() == before


@pytest.mark.slow
def test_a_newer_view_in_worker_processes(dip: Path, newer: Path, codec_file: Path, tmp_path: Path) -> None:
    dip.with_name("other.dip").write_bytes(dip.read_bytes())
    arguments = ["--view", newer, "--model", codec_file, "--jobs", 2, "--map", tmp_path / "maps"]
    result = run("decode", dip, dip.with_name("other.dip"), *arguments)
    assert result.exit_code == 0, result.output
    expected = np.asarray(diptych.load(codec_file, newer).decode(dip.read_bytes(), "human"))
    for name in ("photo", "other"):
        assert np.array_equal(np.asarray(Image.open(tmp_path / f"{name}.png")), expected)
        assert (tmp_path / f"maps/{name}.map.png").is_file()


def test_a_view_that_does_not_fit(dip: Path, newer: Path, codec_file: Path, codec: Codec, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_view({"stages.pixel.weight": np.zeros(1)}, b"none", other, {})
    line = refused("decode", dip, "--view", other, "--model", codec_file)
    assert f"other.safetensors is a view of codec {b'none'.hex()}, not of {codec.model_id.hex()}" in line
    assert "there is no weights file" in refused("decode", dip, "--view", "x.safetensors", "--model", codec_file)
    assert "holds 'diptych-codec" in refused("decode", dip, "--view", codec_file, "--model", codec_file)
    assert "there is no view 'people'" in refused("decode", dip, "--view", "people", code=2)
    assert not dip.with_suffix(".png").exists()


def test_a_map_beside_the_picture(dip: Path, codec_file: Path, codec: Codec) -> None:
    target = dip.with_name("heat.png")
    result = run("decode", dip, "--view", "machine", "--map", target, "--model", codec_file)
    assert result.exit_code == 0, result.output
    levels = difference_map(codec, dip.read_bytes())
    assert np.array_equal(np.asarray(Image.open(target)), np.asarray(as_picture(levels)))
    assert np.array_equal(
        np.asarray(Image.open(dip.with_suffix(".png"))), np.asarray(codec.decode(dip.read_bytes(), "machine"))
    )
    _, second = result.stdout.splitlines()
    assert f"{target}: the views differ by {levels.mean():.1f} levels" in second


def test_a_map_of_a_region_has_its_size(dip: Path, codec_file: Path) -> None:
    target = dip.with_name("heat.webp")
    assert run("decode", dip, "--region", "3,4,30,20", "--map", target, "--model", codec_file).exit_code == 0
    assert Image.open(target).size == (30, 20)


def test_maps_that_cannot_be_written(dip: Path, codec_file: Path) -> None:
    end = ["--model", codec_file]
    assert "a picture and its map at once" in refused("decode", dip, "--map", dip.with_suffix(".png"), *end)
    assert "'.xyz' is not one of" in refused("decode", dip, "--map", dip.with_suffix(".xyz"), *end)
    assert "exclude each other" in refused("decode", dip, "--map", "m.png", "--resume", *end, code=2)
    mine = dip.with_name("mine.png")
    mine.write_bytes(b"mine")
    assert "use --overwrite" in refused("decode", dip, "--map", mine, *end)
    assert mine.read_bytes() == b"mine"
    assert not dip.with_suffix(".png").exists()


def test_info_tells_where_the_views_differ(dip: Path, codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diptych.load", lambda: codec)
    told = json.loads(run("info", dip, "--difference", "--json").stdout)
    levels = difference_map(codec, dip.read_bytes())
    assert told["views_differ"] == pytest.approx(float(levels.mean()))
    assert told["width"] == 70
    assert "largest_region" in told
    assert "views_differ" not in run("info", dip).stdout


class Blind:
    """A task network that never detects anything, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def predict(self, images: Sequence[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        self.asked += 1
        return [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0), "scores": torch.zeros(0)} for _ in images]


def with_hint(path: Path, hint: float | None) -> None:
    container = unpack(path.read_bytes())
    path.write_bytes(pack(container._replace(header=container.header._replace(hint=hint))))


def test_a_hint_is_stored_when_asked_for(tmp_path: Path, codec_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Blind()
    monkeypatch.setattr("diptych.tasks.detector.shipped_detector", lambda: task)
    for name in ("a", "b"):
        picture(50, 40).save(tmp_path / f"{name}.png")
    command = ["encode", tmp_path / "a.png", tmp_path / "b.png", "--verify", "--model", codec_file]
    assert run(*command).exit_code == 0
    plain = (tmp_path / "a.dip").read_bytes()
    assert read_header(plain).hint is None
    assert task.asked == 0
    assert run(*command, "--view-hint", "auto", "--overwrite").exit_code == 0
    assert task.asked == 4
    for name in ("a", "b"):
        hinted = unpack((tmp_path / f"{name}.dip").read_bytes())
        assert hinted.header.hint == 1
        assert hinted.payloads == unpack(plain).payloads
    assert "can only be 'auto', not '0.5'" in refused(*command, "--view-hint", "0.5", code=2)


def test_a_hint_takes_a_human_view(tmp_path: Path, codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diptych.tasks.detector.shipped_detector", Blind)
    picture(50, 40).save(tmp_path / "a.png")
    save_model(lively_model(), tmp_path / "alone.safetensors", {})
    command = ["encode", tmp_path / "a.png", "--view-hint", "auto", "--model", tmp_path / "alone.safetensors"]
    assert "no human view" in refused(*command)
    assert not (tmp_path / "a.dip").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("hint", "shown"), [(0.0, "0"), (0.5, "0.5"), (5 / 6, "0.83"), (1.0, "1")])
def test_the_view_that_a_file_hints_at(dip: Path, codec_file: Path, codec: Codec, hint: float, shown: str) -> None:
    with_hint(dip, hint)
    heat = dip.with_name("heat.png")
    result = run("decode", dip, "--view", "auto", "--map", heat, "--model", codec_file)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert f"view auto ({shown}), 70 x 45" in result.stdout
    expected = codec.decode(dip.read_bytes(), hint)
    assert np.array_equal(np.asarray(Image.open(dip.with_suffix(".png"))), np.asarray(expected))
    assert heat.is_file()


def test_without_a_hint_the_human_view_is_shown(dip: Path, codec_file: Path, codec: Codec) -> None:
    result = run("decode", dip, "--view", "auto", "--model", codec_file)
    assert result.exit_code == 0, result.output
    assert result.stderr == f"diptych: note: {dip}: it has no view hint, so this is the human view\n"
    expected = codec.decode(dip.read_bytes(), "human")
    assert np.array_equal(np.asarray(Image.open(dip.with_suffix(".png"))), np.asarray(expected))


def test_info_shows_the_hint(dip: Path) -> None:
    assert "view_hint       none" in run("info", dip).stdout
    assert json.loads(run("info", dip, "--json").stdout)["view_hint"] is None
    with_hint(dip, 0.5)
    assert "view_hint       0.5" in run("info", dip).stdout
    assert json.loads(run("info", dip, "--json").stdout)["view_hint"] == 0.5
