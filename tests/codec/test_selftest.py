"""The self-test: it passes on the machine that made it, and notices what is wrong."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info
from typer.testing import CliRunner

import diptych
from diptych.cli.main import app
from diptych.codec import selftest
from diptych.codec.codec import Codec, load
from diptych.codec.engine import Engine
from diptych.codec.engine.onnx import OnnxRuntime
from diptych.codec.engine.openvino import OpenVino
from diptych.codec.engine.torch import Torch
from diptych.codec.entropy import EntropyModel
from diptych.errors import ModelError
from diptych.training.export import save_model
from samples import lively_model

SAMPLES = selftest.SAMPLES[1:3]
CHECKS = 5 * len(SAMPLES)


@pytest.fixture(scope="module")
def golden(codec: Codec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("golden") / "selftest.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selftest, "SAMPLES", SAMPLES)
        selftest.write(codec, path)
    return path


@pytest.fixture
def tampered(golden: Path, tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], None]], Path]:
    """Golden files of which the first has been changed."""

    def change(how: Callable[[dict[str, Any]], None]) -> Path:
        content = json.loads(golden.read_text())
        how(content["samples"][0])
        path = tmp_path / "tampered.json"
        path.write_text(json.dumps(content))
        return path

    return change


def failures(codec: Codec, path: Path) -> list[str]:
    checks = list(selftest.run(codec, path))
    assert len(checks) == CHECKS
    return [str(check) for check in checks if check.problem]


def test_all_is_well_where_it_was_made(codec: Codec, golden: Path) -> None:
    before = threadpool_info()
    checks = list(selftest.run(codec, golden))
    assert [check.problem for check in checks] == [None] * CHECKS
    assert str(checks[0]) == "pass  127 x 95 at quality 50: latents, 1 thread"
    assert threadpool_info() == before


@pytest.mark.slow
@pytest.mark.parametrize("engine", [OpenVino(precision="f32"), OpenVino(precision="bf16"), OnnxRuntime(), Torch()])
def test_the_shipped_codec_passes_on_any_engine(engine: Engine) -> None:
    shipped = diptych.load()
    codec = Codec(shipped.frozen, shipped.transforms.human, engine)
    assert [check for check in selftest.run(codec) if check.problem] == []


def test_golden_files_can_be_made_again(codec: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        monkeypatch.setattr(selftest, "GOLDEN", tmp_path / name)
        selftest.write(codec)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_other_latents_are_noticed(codec: Codec, tampered: Any) -> None:
    found = failures(codec, tampered(lambda sample: sample.update(latents="0" * 64)))
    assert len(found) == 2
    assert all("they differ from those that were encoded" in line for line in found)


@pytest.mark.parametrize("view", ["machine", "human"])
def test_other_pictures_are_noticed(codec: Codec, tampered: Any, view: str) -> None:
    def change(sample: dict[str, Any]) -> None:
        sample["views"][view][100] += 1.8

    [line] = failures(codec, tampered(change))
    assert line.startswith(f"FAIL  127 x 95 at quality 50: {view} view: it is off by 1.")


@pytest.mark.parametrize("place", [0, 9, 30, -1])
def test_damaged_golden_files_are_noticed(codec: Codec, tampered: Any, place: int) -> None:
    def change(sample: dict[str, Any]) -> None:
        data = bytearray(b64decode(sample["file"]))
        data[place] ^= 1
        sample["file"] = b64encode(data).decode()

    assert len(failures(codec, tampered(change))) == 4


def test_another_size_is_noticed(codec: Codec, golden: Path, tampered: Any) -> None:
    small = json.loads(golden.read_text())["samples"][-1]["file"]
    found = failures(codec, tampered(lambda sample: sample.update(file=small)))
    assert f"bytes where {len(b64decode(small))} were expected" in found[-1]


def test_inexact_arithmetic_is_noticed(codec: Codec, golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = EntropyModel.walk

    def inexact(self: EntropyModel, *arguments: Any) -> np.ndarray:
        values = exact(self, *arguments)
        return values + (max(library["num_threads"] for library in threadpool_info()) > 1)

    monkeypatch.setattr(EntropyModel, "walk", inexact)
    found = failures(codec, golden)
    assert len(found) == 2 * len(SAMPLES)
    assert sum("the latents depend on the number of threads" in line for line in found) == len(SAMPLES)


def test_golden_files_of_another_codec_are_refused(golden: Path, tmp_path: Path) -> None:
    save_model(lively_model(seed=1), tmp_path / "other.safetensors", {})
    other = load(tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=f"the installed codec is {other.model_id.hex()}"):
        selftest.run(other, golden)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"model_id": 3, "samples": []}'])
def test_unusable_golden_files_are_refused(codec: Codec, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "selftest.json"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="install the package again"):
        selftest.run(codec, path)


def test_command(codec: Codec, golden: Path, tampered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diptych, "load", lambda: codec, raising=False)
    monkeypatch.setattr(selftest, "GOLDEN", golden)
    good = CliRunner().invoke(app, ["selftest"])
    assert good.exit_code == 0
    assert good.stderr == ""
    assert good.stdout.count("pass  ") == CHECKS
    assert good.stdout.endswith(f"{CHECKS} of {CHECKS} checks passed\n")

    wrong = tampered(lambda sample: sample.update(latents="0" * 64))
    monkeypatch.setattr(selftest, "GOLDEN", wrong)
    bad = CliRunner().invoke(app, ["selftest"])
    assert bad.exit_code == 1
    assert bad.stdout.count("FAIL  ") == 2
    assert f"{CHECKS - 2} of {CHECKS} checks passed" in bad.stdout
    assert bad.stderr.startswith("diptych: error: ")


@pytest.mark.slow
@pytest.mark.skipif(not selftest.GOLDEN.exists(), reason="the package has no golden files yet")
def test_shipped_codec() -> None:
    assert [check for check in selftest.run(load()) if check.problem] == []
