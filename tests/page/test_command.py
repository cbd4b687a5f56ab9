"""The command ``page``: a folder that is whole or not there."""

import json
import os
from pathlib import Path

from safetensors.numpy import load_file
from typer.testing import CliRunner

from diptych.cli.main import app
from diptych.codec.codec import Codec
from diptych.codec.registry import find, id_of


def page(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["page", *map(str, words)])
    return result.exit_code, " ".join(result.output.split())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_codec_of_the_package(tmp_path: Path) -> None:
    code, output = page("-o", tmp_path / "a" / "viewer")
    assert code == 0
    assert "python -m http.server" in output
    viewer = tmp_path / "a" / "viewer"
    listed = json.loads((viewer / "codecs" / "codecs.json").read_text())
    assert listed
    for model_id, codec in listed.items():
        arrays = load_file(viewer / "codecs" / codec["weights"])
        assert id_of(arrays, arrays.__getitem__).hex() == model_id
        assert find(bytes.fromhex(model_id)) is not None
        assert (viewer / "codecs" / codec["human"]).is_file()
    assert os.listdir(tmp_path / "a") == ["viewer"]
    assert sum(map(len, contents(viewer).values())) < 12e6


def test_nothing_is_replaced_unless_asked(tmp_path: Path, codec_file: Path) -> None:
    viewer = tmp_path / "viewer"
    viewer.mkdir()
    (viewer / "photo.dip").write_bytes(b"mine")
    assert page("-o", viewer, "--model", codec_file)[0] == 0
    (viewer / "index.html").write_text("changed")
    before = contents(viewer)
    code, output = page("-o", viewer, "--model", codec_file)
    assert code == 1
    assert "exists already; use --overwrite to replace it" in output
    assert contents(viewer) == before
    assert page("-o", viewer, "--model", codec_file, "--overwrite")[0] == 0
    after = contents(viewer)
    assert after["index.html"].startswith(b"<!doctype html>")
    assert after["photo.dip"] == b"mine"
    assert set(after) == set(before)


def test_what_cannot_be_used_leaves_nothing(tmp_path: Path, codec_file: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(codec_file.read_bytes()[:-9])
    viewer = tmp_path / "viewer"
    for words, sentence in {
        (broken,): "is not a readable safetensors file",
        (tmp_path / "none.safetensors",): "there is no weights file",
        (codec_file, codec_file): "again: name one file of each codec",
    }.items():
        models = [part for path in words for part in ("--model", path)]
        code, output = page("-o", viewer, *models)
        assert code == 1
        assert sentence in output
        assert os.listdir(tmp_path) == ["broken.safetensors"]
    code, output = page("-o", broken)
    assert code == 1
    assert "it is not a folder" in output


def test_several_codecs(tmp_path: Path, codec_file: Path, codec: Codec) -> None:
    shipped = find(bytes.fromhex("7fd21e79"))
    assert shipped is not None
    assert page("-o", tmp_path / "viewer", "--model", codec_file, "--model", shipped.path)[0] == 0
    listed = json.loads((tmp_path / "viewer" / "codecs" / "codecs.json").read_text())
    assert list(listed) == [codec.model_id.hex(), "7fd21e79"]
