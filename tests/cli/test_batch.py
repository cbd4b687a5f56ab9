"""Many files at once: worker processes, resuming, manifests, and what is left when all of it is killed."""

import csv
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from diptych.bitstream import read_header, unpack
from diptych.cli.main import app
from diptych.cli.manifest import FIELDS
from diptych.codec.codec import Codec
from samples import picture

PHOTOS = 12


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def lines_of(path: Path) -> list[dict[str, Any]]:
    text = path.read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(4):
        picture(40 + number, 30, number).save(folder / f"{number}.png")
    return folder


@pytest.mark.slow
def test_processes_write_what_one_does(tmp_path: Path, photos: Path, codec_file: Path, codec: Codec) -> None:
    (photos / "bad.jpg").write_bytes(b"nothing")
    Image.new("RGBA", (9, 9)).save(photos / "clear.png")
    result = run("encode", photos, "-o", tmp_path / "out", "--jobs", 2, "--model", codec_file)
    assert result.exit_code == 1
    assert names(tmp_path / "out") == ["0.dip", "1.dip", "2.dip", "3.dip", "clear.dip"]
    for number in range(4):
        data = codec.encode(picture(40 + number, 30, number), 40)
        assert (tmp_path / "out" / f"{number}.dip").read_bytes() == data
    assert len(result.stdout.splitlines()) == 5
    note, failure, summary = result.stderr.splitlines()
    assert note == f"diptych: note: {photos / 'clear.png'}: its transparent parts are shown on white"
    assert "bad.jpg: it is not a picture" in failure
    assert summary == "diptych: error: 1 of 6 files failed"

    back = run("decode", tmp_path / "out", "-o", tmp_path / "back", "-j", "all", "--model", codec_file)
    assert back.exit_code == 0
    assert names(tmp_path / "back") == ["0.png", "1.png", "2.png", "3.png", "clear.png"]


def test_unusable_model_is_said_once(photos: Path, tmp_path: Path) -> None:
    result = run("encode", photos, "--jobs", 2, "--model", tmp_path / "none.safetensors")
    assert result.exit_code == 1
    assert result.stderr == f"diptych: error: there is no weights file {tmp_path / 'none.safetensors'}\n"


@pytest.mark.parametrize(
    "arguments", [["--jobs", "x"], ["--jobs", "-1"], ["--jobs", "1.5"], ["--resume", "--overwrite"]]
)
def test_wrong_usage(photos: Path, arguments: list[str]) -> None:
    result = run("encode", photos, *arguments)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_resume_keeps_what_is_there(tmp_path: Path, photos: Path, codec_file: Path) -> None:
    command = ["encode", photos, "-o", tmp_path / "out", "--resume", "--model", codec_file]
    assert run(*command).stderr == ""
    before = times(tmp_path / "out")
    (tmp_path / "out" / "2.dip").unlink()
    again = run(*command)
    assert again.exit_code == 0
    assert again.stderr == "diptych: note: 3 of 4 files are done already\n"
    assert again.stdout.count("\n") == 1
    after = times(tmp_path / "out")
    assert after.pop("2.dip") != before.pop("2.dip")
    assert after == before
    assert run(*command).stdout == ""


def test_resume_removes_temporary_files_that_nobody_writes(tmp_path: Path, photos: Path, codec_file: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    old, new = out / ".diptych-00.part", out / ".diptych-01.part"
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (0, 0))
    assert run("encode", photos, "-o", out, "--resume", "--model", codec_file).exit_code == 0
    assert not old.exists()
    assert new.exists()


def test_manifest_has_a_line_per_file(tmp_path: Path, photos: Path, codec_file: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"nothing")
    out, manifest = tmp_path / "out", tmp_path / "lists" / "m.jsonl"
    command = ["encode", photos, "-o", out, "-q", 30, "--manifest", manifest, "--model", codec_file]
    assert run(*command).exit_code == 1
    lines = {Path(line["source"]).name: line for line in lines_of(manifest)}
    assert sorted(lines) == ["0.png", "1.png", "2.png", "3.png", "bad.jpg"]
    data = (out / "1.dip").read_bytes()
    assert lines["1.png"] == {
        "source": str(photos / "1.png"),
        "output": str(out / "1.dip"),
        "bytes": len(data),
        "width": 41,
        "height": 30,
        "bpp": 8 * len(data) / (41 * 30),
        "quality": 30,
        "sha256": hashlib.sha256(data).hexdigest(),
        "measure": None,
        "score": None,
        "reached": None,
        "error": None,
    }
    failed = lines["bad.jpg"]
    assert "not a picture" in failed["error"]
    assert failed["sha256"] is failed["bytes"] is None


def test_manifest_of_decoded_files(tmp_path: Path, photos: Path, codec_file: Path) -> None:
    run("encode", photos, "-o", tmp_path / "dip", "--model", codec_file)
    manifest = tmp_path / "m.jsonl"
    run("decode", tmp_path / "dip", "-o", tmp_path / "out", "--manifest", manifest, "--model", codec_file)
    for line in lines_of(manifest):
        assert line["sha256"] == hashlib.sha256(Path(line["output"]).read_bytes()).hexdigest()
        assert line["bytes"] == Path(line["source"]).stat().st_size


def test_manifest_is_not_replaced_unless_told(tmp_path: Path, photos: Path, codec_file: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    command = ["encode", photos, "-o", tmp_path / "out", "--manifest", manifest, "--model", codec_file]
    for content in (b"mine", b"mine\n", b'{"source": "mine"}\n'):
        manifest.write_bytes(content)
        assert "--overwrite" in run(*command).stderr
        assert "is not a manifest" in run(*command, "--resume").stderr
        assert manifest.read_bytes() == content
    assert not (tmp_path / "out").exists()
    assert run(*command, "--overwrite").exit_code == 0
    assert len(lines_of(manifest)) == 4


def test_manifest_of_an_unknown_kind(photos: Path, tmp_path: Path) -> None:
    assert ".jsonl or .csv" in run("encode", photos, "--manifest", tmp_path / "m.txt").stderr


def test_no_manifest_without_a_codec(photos: Path, tmp_path: Path) -> None:
    assert run("encode", photos, "--manifest", tmp_path / "m.csv", "--model", tmp_path / "none").exit_code == 1
    assert not (tmp_path / "m.csv").exists()


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_resumed_manifest_has_one_line_per_file(
    tmp_path: Path, photos: Path, codec_file: Path, suffix: str
) -> None:
    late = photos / 'late, "and" odd\nname.png'
    late.write_bytes(b"nothing")
    manifest = tmp_path / f"m{suffix}"
    command = ["encode", photos, "-o", tmp_path / "out", "--manifest", manifest, "--model", codec_file]
    assert run(*command).exit_code == 1
    whole = manifest.read_bytes()

    (tmp_path / "out" / "0.dip").unlink()  # to be done again
    kept = [line for line in whole.splitlines(keepends=True) if b"3.png" not in line]  # never got its line
    manifest.write_bytes(b"".join(kept) + b'{"source": "cut o')  # killed while writing
    picture(9, 9).save(late)
    result = run(*command, "--resume")
    assert result.exit_code == 0
    assert "3 of 5 files are done already" in result.stderr

    if suffix == ".csv":
        with open(manifest, newline="") as file:
            header, *rows = csv.reader(file)
        assert tuple(header) == FIELDS
        lines = [dict(zip(FIELDS, row, strict=True)) for row in rows]
    else:
        lines = lines_of(manifest)
    assert sorted(line["source"] for line in lines) == sorted(str(path) for path in photos.iterdir())
    for line in lines:
        assert not line["error"]
        data = Path(line["output"]).read_bytes()
        assert line["sha256"] == hashlib.sha256(data).hexdigest()
        assert int(line["width"]) == read_header(data).width


# What follows starts real processes and kills them.


def alive(session: int) -> list[int]:
    """Processes of a session that have not ended (a zombie has: nobody may be there to collect it)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of_session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(of_session) == session and state not in "ZX":
            found.append(int(stat.parent.name))
    return found


def wait_until(true: Any) -> None:
    end = time.monotonic() + 100
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


class Batch:
    """An encode of a folder in two processes, slow enough to be stopped in the middle of it."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.out, self.manifest = folder / "out", folder / "m.jsonl"
        (folder / "in").mkdir()
        for number in range(PHOTOS):
            picture(300, 200, number).save(folder / "in" / f"{number:02}.png")
        self.command = [sys.executable, "-m", "diptych", "encode", str(folder / "in"), "-o", str(self.out), "-j2"]
        self.command += ["--bpp", "1", "--verify", "--manifest", str(self.manifest), "--model", str(model)]

    def start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            wait_until(lambda: self.finished() or process.poll() is not None)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        assert process.poll() is None, process.communicate()
        return process

    def finished(self) -> list[Path]:
        return sorted(self.out.glob("*.dip"))

    def check_resume(self, codec: Codec) -> None:
        """All that is there is whole; the rest, and only that, is done by another run."""
        before = times(self.out)
        assert 0 < len(self.finished()) < PHOTOS
        for path in self.finished():
            codec.latents(path.read_bytes())
        assert all(name.endswith(".dip") or name.startswith(".") for name in before)
        done = subprocess.run([*self.command, "--resume"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert f"{len([n for n in before if n.endswith('.dip')])} of {PHOTOS} files are done already" in done.stderr
        after = times(self.out)
        assert {name: after[name] for name in before} == before
        assert len(self.finished()) == PHOTOS
        for path in self.finished():
            unpack(path.read_bytes())
        lines = lines_of(self.manifest)
        assert sorted(line["output"] for line in lines) == [str(path) for path in self.finished()]
        for line in lines:
            assert line["sha256"] == hashlib.sha256(Path(line["output"]).read_bytes()).hexdigest()


@pytest.fixture
def batch(tmp_path: Path, codec_file: Path) -> Batch:
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc to see which processes are left")
    return Batch(tmp_path, codec_file)


@pytest.mark.slow
def test_everything_is_killed(batch: Batch, codec: Codec) -> None:
    process = batch.start()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    batch.check_resume(codec)


@pytest.mark.slow
def test_only_the_parent_is_killed(batch: Batch, codec: Codec) -> None:
    process = batch.start()
    process.kill()
    process.communicate()
    wait_until(lambda: not alive(process.pid))
    batch.check_resume(codec)


@pytest.mark.slow
def test_interrupt_ends_all_processes(batch: Batch, codec: Codec) -> None:
    process = batch.start()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate()
    assert process.returncode == 130
    assert not re.search("Traceback|Error|leaked", errors)
    wait_until(lambda: not alive(process.pid))
    assert not list(batch.out.glob(".*"))
    batch.check_resume(codec)


@pytest.mark.slow
def test_a_worker_is_killed(batch: Batch, codec: Codec) -> None:
    process = batch.start()
    workers = [pid for pid in alive(process.pid) if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
    os.kill(workers[0], signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert re.fullmatch(r"diptych: error: a worker process died.* \d+ of 12 files are not done; .*\n", errors)
    wait_until(lambda: not alive(process.pid))
    batch.check_resume(codec)
