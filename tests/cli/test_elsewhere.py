"""Commands on files elsewhere (fsspec), and many at once through a codec that works in batches."""

import hashlib
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image
from typer.testing import CliRunner, Result

from diptych.cli.batches import in_batches
from diptych.cli.console import JobRunner, Outcome
from diptych.cli.decode import Decoding
from diptych.cli.encode import Encoding
from diptych.cli.main import app
from diptych.codec import engine
from diptych.codec.codec import Codec
from diptych.codec.engine.torch import Torch
from diptych.io.files import Job
from samples import picture


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def stored() -> dict[str, bytes]:
    return {name: file.getvalue() for name, file in MemoryFileSystem.store.items()}


def lines_of(name: str) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in stored()[name].splitlines()]
    found = {line["source"]: line for line in lines}
    assert len(found) == len(lines)
    return found


@pytest.fixture
def bucket() -> Iterator[MemoryFileSystem]:
    """memory://in/{0.png, sub/1.png, bad.jpg, notes.txt}"""
    system = MemoryFileSystem()
    for number, name in enumerate(("0.png", "sub/1.png")):
        data = BytesIO()
        picture(40 + number, 30, number).save(data, "PNG")
        system.pipe_file(f"/in/{name}", data.getvalue())
    system.pipe_file("/in/bad.jpg", b"nothing")
    system.pipe_file("/in/notes.txt", b"nothing")
    yield system
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


def test_there_and_back(bucket: MemoryFileSystem, codec_file: Path, codec: Codec) -> None:
    command = ["encode", "memory://in/", "-o", "memory://out/", "--manifest", "memory://lists/m.jsonl"]
    result = run(*command, "--model", codec_file)
    assert result.exit_code == 1
    assert "memory://in/bad.jpg: it is not a picture" in result.stderr
    assert "notes.txt" in result.stderr
    for number, name in enumerate(("0", "sub/1")):
        data = codec.encode(picture(40 + number, 30, number), 40)
        assert stored()[f"/out/{name}.dip"] == data
        line = lines_of("/lists/m.jsonl")[f"memory://in/{name}.png"]
        assert line["output"] == f"memory://out/{name}.dip"
        assert line["sha256"] == hashlib.sha256(data).hexdigest()
        assert line["bytes"] == len(data)
    assert "not a picture" in lines_of("/lists/m.jsonl")["memory://in/bad.jpg"]["error"]

    assert run("decode", "memory://out", "-o", "memory://back/", "--model", codec_file).exit_code == 0
    shown = Image.open(BytesIO(stored()["/back/sub/1.png"]))
    assert shown.tobytes() == codec.decode(stored()["/out/sub/1.dip"], "human").tobytes()
    assert "memory://out/sub/1.dip" in run("info", "memory://out/sub/1.dip").stdout


def test_nothing_is_replaced_and_resuming_does_what_is_missing(bucket: MemoryFileSystem, codec_file: Path) -> None:
    command = ["encode", "memory://in/*.png", "memory://in/sub", "-o", "memory://out/", "--model", codec_file]
    command += ["--manifest", "memory://lists/m.csv"]
    assert run(*command).exit_code == 0
    whole = stored()
    again = run(*command)
    assert again.exit_code == 1
    assert "memory://lists/m.csv exists already; use --overwrite" in again.stderr
    assert "2 files such as memory://out/0.dip exist already" in run(*command[:-2]).stderr
    assert stored() == whole

    bucket.rm("/out/0.dip")
    bucket.pipe_file("/lists/m.csv", whole["/lists/m.csv"] + b"memory://in/cut o")
    resumed = run(*command, "--resume")
    assert resumed.exit_code == 0
    assert "1 of 2 files are done already" in resumed.stderr
    assert sorted(stored()["/lists/m.csv"].splitlines()) == sorted(whole["/lists/m.csv"].splitlines())
    assert stored()["/out/0.dip"] == whole["/out/0.dip"]
    assert run(*command, "--overwrite").exit_code == 0


def test_from_here_to_there_and_by_file_urls(bucket: MemoryFileSystem, tmp_path: Path, codec_file: Path) -> None:
    picture(33, 21).save(tmp_path / "photo.png")
    model = ["--model", codec_file]
    assert run("encode", tmp_path / "photo.png", "-o", "memory://out/a.dip", *model).exit_code == 0
    assert run("encode", f"file://{tmp_path}/photo.png", "-o", f"file://{tmp_path}/a.dip", *model).exit_code == 0
    assert (tmp_path / "a.dip").read_bytes() == stored()["/out/a.dip"]
    assert run("decode", "memory://out/a.dip", "-o", tmp_path / "a.png", *model).exit_code == 0
    assert Image.open(tmp_path / "a.png").size == (33, 21)
    result = run("encode", f"file://{tmp_path}/*.png", "-o", f"file://{tmp_path}/out/", *model)
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.dip", "photo.dip"]
    assert "no such file" in run("encode", "memory://in/none.png", *model).stderr


def test_what_excludes_each_other(tmp_path: Path) -> None:
    picture(9, 9).save(tmp_path / "a.png")
    for options in (
        ["--cluster", "auto", "--jobs", "2"],
        ["--device", "cuda", "--cluster", "auto"],
    ):
        result = run("encode", tmp_path / "a.png", *options)
        assert result.exit_code == 2
        assert "exclude each other" in result.stderr
    assert run("encode", tmp_path / "a.png", "-o", "-", "--cluster", "auto").exit_code == 2
    assert "there is no device 'tpu'" in run("encode", tmp_path / "a.png", "--device", "tpu").stderr


@pytest.fixture
def in_batches_of_torch(codec: Codec) -> Codec:
    """What ``--device cuda`` codes with, on the CPU."""
    return Codec(codec.frozen, codec.transforms.human, Torch("cpu"))


@pytest.mark.parametrize("size", [1, 5, 40])
def test_batches(tmp_path: Path, codec: Codec, in_batches_of_torch: Codec, size: int) -> None:
    """Files coded together have the latents, and are the pictures, of those coded one by one.

    A size of 1 is as many as the engine wants.
    """
    sizes = [(48, 32)] * 18 + [(33, 47)] * 3
    for number, width_height in enumerate(sizes):
        picture(*width_height, number).save(tmp_path / f"{number:02}.png")
    (tmp_path / "21.png").write_bytes(b"nothing")
    photos = sorted(tmp_path.glob("*.png"))
    jobs = [Job(photo, photo.with_suffix(".dip")) for photo in photos]
    (tmp_path / "05.dip").write_bytes(b"mine")
    outcomes: list[Outcome] = []
    in_batches(jobs, JobRunner(Encoding(40), listed=True), in_batches_of_torch, size, outcomes.append)
    assert sorted(outcome.source for outcome in outcomes) == photos
    failed = {outcome.source.name: outcome.error for outcome in outcomes if outcome.error}
    assert sorted(failed) == ["05.png", "21.png"]
    assert "05.dip exists already" in str(failed["05.png"])
    assert (tmp_path / "05.dip").read_bytes() == b"mine"
    whole = {job.source.name: job for job in jobs if job.source.name not in failed}
    for outcome in outcomes:
        if not outcome.error:
            data = Path(whole[outcome.source.name].target).read_bytes()
            assert outcome.entry is not None
            assert outcome.entry["sha256"] == hashlib.sha256(data).hexdigest()
            assert (codec.latents(data).values == in_batches_of_torch.latents(data).values).all()

    back = [Job(job.target, Path(job.target).with_suffix(".back.png")) for job in whole.values()]
    (tmp_path / "05.dip").write_bytes(b"mine")
    damaged = Job(tmp_path / "05.dip", tmp_path / "05.back.png")
    outcomes.clear()
    runner = JobRunner(Decoding("human"), listed=False)
    in_batches([*back[:4], damaged, *back[4:]], runner, in_batches_of_torch, size, outcomes.append)
    assert [outcome.source.name for outcome in outcomes if outcome.error] == ["05.dip"]
    for job in back:
        shown = in_batches_of_torch.decode(Path(job.source).read_bytes(), "human")
        assert Image.open(job.target).tobytes() == shown.tobytes()


def test_batches_of_one_by_one_work(tmp_path: Path, in_batches_of_torch: Codec) -> None:
    """What has a goal of its own for each file."""
    for number in range(3):
        picture(48, 32, number).save(tmp_path / f"{number}.png")
    jobs = [Job(tmp_path / f"{number}.png", tmp_path / f"{number}.dip") for number in range(3)]
    outcomes: list[Outcome] = []
    runner = JobRunner(Encoding(40, target_size=400, verify=True), listed=False)
    in_batches(jobs, runner, in_batches_of_torch, 1, outcomes.append)
    assert [outcome.error for outcome in outcomes] == [None] * 3
    assert all(Path(job.target).stat().st_size <= 400 for job in jobs)


def test_a_command_codes_in_batches(
    tmp_path: Path, codec_file: Path, in_batches_of_torch: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the engine gains from it: a GPU's, which is the CPU's as well where there is no other."""
    monkeypatch.setattr(engine, "_ON_CPU", {"torch": engine._ON_CPU["torch"]})
    for number in range(7):
        picture(48, 32, number).save(tmp_path / f"{number}.png")
    options = ["--model", codec_file, "--manifest", tmp_path / "m.jsonl", "--device", "cpu"]
    assert run("encode", tmp_path, "-o", tmp_path / "out", *options).exit_code == 0
    images = [picture(48, 32, number) for number in range(7)]
    files = [(tmp_path / f"out/{number}.dip").read_bytes() for number in range(7)]
    assert files == in_batches_of_torch.encode_many(images)
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert sorted(line["sha256"] for line in lines) == sorted(hashlib.sha256(data).hexdigest() for data in files)
