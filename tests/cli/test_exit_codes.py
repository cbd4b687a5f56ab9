"""Exit codes are those of ``docs/exit-codes.md``."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from diptych.cli.main import app
from samples import picture

DOCUMENT = Path(__file__).parents[2] / "docs/exit-codes.md"
DIPTYCH = [sys.executable, "-m", "diptych"]


def exit_code(*arguments: object) -> int:
    return CliRunner().invoke(app, [str(argument) for argument in arguments]).exit_code


def test_the_document_and_help_name_the_same_codes() -> None:
    documented = re.findall(r"^\| (\d+) \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    helped = CliRunner().invoke(app, ["--help"]).stdout.partition("Exit codes:")[2]
    assert documented == re.findall(r"\d+", helped) == ["0", "1", "2", "130"]


@pytest.mark.slow
def test_success_and_failure(tmp_path: Path, codec_file: Path) -> None:
    picture(30, 20).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    model = ["--model", codec_file]
    assert exit_code("encode", tmp_path / "good.png", *model) == 0
    assert exit_code("encode", tmp_path / "good.png", *model) == 1  # it exists
    assert exit_code("encode", tmp_path, "-o", tmp_path / "out", *model) == 1  # one of two
    assert (tmp_path / "out/good.dip").is_file()
    assert exit_code("encode", tmp_path, "-o", tmp_path / "out", "--resume", *model) == 1  # the bad one again
    assert exit_code("info", tmp_path / "none.dip") == 1


def test_findings_are_no_failures(tmp_path: Path, codec_file: Path) -> None:
    assert exit_code("lint", codec_file) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("nope",),
        ("encode",),
        ("encode", "x.png", "-q", "101"),
        ("encode", "x.png", "--bpp", "1", "--target-size", "9"),
        ("encode", "x.png", "--overwrite", "--resume"),
        ("decode", "x.dip", "--view", "people"),
        ("decode", "x.dip", "--jobs", "many"),
        ("grid", "x.png", "--stride", "3"),
        ("train", "nope", "x.yaml"),
        ("label", ".", "--min-score", "3"),
        ("serve", "--token", "not ascii: é"),
        ("convert", "nope"),
    ],
)
def test_wrong_commands(arguments: tuple[str, ...]) -> None:
    assert exit_code(*arguments) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
def test_output_that_cannot_be_written() -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run([*DIPTYCH, "--version"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith("diptych: error: ")
    assert "Traceback" not in ended.stderr


def test_a_reader_that_has_gone() -> None:
    with subprocess.Popen([*DIPTYCH, "--version"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are of POSIX")
def test_an_interrupted_server() -> None:
    command = [*DIPTYCH, "serve", "--port", "0", "--jobs", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert "open http://" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in said
