"""What is exported codes and shows pictures where there is ONNX Runtime and nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator
from PIL import Image
from typer.testing import CliRunner, Result

import diptych
from diptych.bitstream import Container, Header, pack
from diptych.cli.main import app
from diptych.codec.codec import Codec
from samples import picture
from test_documentation import DOCS, blocks

SIZES = [(1, 1), (17, 33), (150, 100), (64, 64), (5, 200)]
BLOCKED = ("torch", "openvino", "onnx")
WITHOUT = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Blocked())
"""
TOLD = """
import json
print(json.dumps({"meant": np.array_equal(meant, values), "values": values.ravel().tolist()}))
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    result = run("export", *arguments)
    assert result.exit_code in (1, 2)
    [line] = result.stderr.splitlines()
    return line


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory, codec_file: Path) -> Path:
    folder = tmp_path_factory.mktemp("edge")
    result = run("export", "-o", folder, "--model", codec_file)
    assert result.stdout == f"wrote {folder / 'encoder.onnx'}\nwrote {folder / 'view-human.onnx'}\n", result.output
    return folder


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def of(quality: float) -> np.ndarray:
    return np.array([quality], np.float32)


def coded(codec: Codec, encoder: onnxruntime.InferenceSession, image: Image.Image, quality: float) -> bytes:
    """The file that a device makes, checked to hold what its encoder meant."""
    y, z = encoder.run(None, {"pixels": np.asarray(image)[None], "quality": of(quality)})
    payload, meant = codec.frozen.entropy.encode(y[0], z[0], quality)
    data = pack(Container(Header(*image.size, quality, codec.model_id), [payload]))
    assert np.array_equal(codec.latents(data).values, meant)
    return data


def levels_apart(
    codec: Codec, viewer: onnxruntime.InferenceSession, data: bytes, view: str, size: tuple[int, int]
) -> float:
    values, header, _ = codec.latents(data)
    [pixels] = viewer.run(None, {"values": values[None], "quality": of(header.quality)})
    shown = pixels[0, : size[1], : size[0]].astype(int)
    return float(np.abs(shown - np.asarray(codec.decode(data, view))).max())


def test_the_documented_lines_are_a_device(tmp_path: Path) -> None:
    size = (211, 117)
    picture(*size).save(tmp_path / "photo.jpg")
    assert run("export", "-o", tmp_path / "edge").exit_code == 0
    lines = "".join(block.text for block in blocks(DOCS / "export.md") if block.language == "python")
    program = [sys.executable, "-c", WITHOUT + lines + TOLD]
    ended = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["meant"]
    assert run("decode", tmp_path / "device.dip", "-o", tmp_path / "ours.png").exit_code == 0
    values = diptych.load().latents((tmp_path / "device.dip").read_bytes()).values
    assert values.ravel().tolist() == told["values"]
    ours, theirs = (np.asarray(Image.open(tmp_path / name)).astype(int) for name in ("ours.png", "shown.png"))
    assert ours.shape == theirs.shape == (*size[::-1], 3)
    assert np.abs(ours - theirs).max() <= 2


@pytest.mark.parametrize("quality", [0.0, 12.34, 100.0])
def test_any_size_and_quality(edge: Path, codec: Codec, quality: float) -> None:
    encoder, viewer = session(edge / "encoder.onnx"), session(edge / "view-human.onnx")
    for size in SIZES:
        data = coded(codec, encoder, picture(*size), quality)
        assert len(data) == pytest.approx(len(codec.encode(picture(*size), quality)), rel=0.02, abs=8)
        assert levels_apart(codec, viewer, data, "human", size) <= 2


@pytest.mark.parametrize("view", ["machine", "0.25"])
def test_any_view(tmp_path: Path, codec_file: Path, codec: Codec, view: str) -> None:
    assert run("export", "-o", tmp_path, "--view", view, "--model", codec_file).exit_code == 0
    data = codec.encode(picture(70, 45), 60)
    assert levels_apart(codec, session(tmp_path / f"view-{view}.onnx"), data, view, (70, 45)) <= 2


@pytest.mark.parametrize(("width", "height"), [(150, 100), (64, 128), (1, 1)])
def test_one_size(tmp_path: Path, codec_file: Path, codec: Codec, width: int, height: int) -> None:
    assert run("export", "-o", tmp_path, "--size", f"{width}x{height}", "--model", codec_file).exit_code == 0
    encoder, viewer = (session(tmp_path / name) for name in ("encoder.onnx", "view-human.onnx"))
    assert encoder.get_inputs()[0].shape == [1, height, width, 3]
    data = coded(codec, encoder, picture(width, height), 50)
    assert levels_apart(codec, viewer, data, "human", (width, height)) <= 2
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument, match="pixels"):
        coded(codec, encoder, picture(width + 1, height), 50)
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument, match="values"):
        levels_apart(codec, viewer, codec.encode(picture(width + 16, height), 50), "human", (width + 16, height))


def test_half_precision(tmp_path: Path, edge: Path, codec_file: Path, codec: Codec) -> None:
    command = ["export", "-o", tmp_path, "--precision", "float16", "--model", codec_file]
    assert run(*command).exit_code == 0
    data = coded(codec, session(tmp_path / "encoder.onnx"), picture(97, 50), 50)
    assert levels_apart(codec, session(tmp_path / "view-human.onnx"), data, "human", (97, 50)) <= 2
    networks = [onnx.load(folder / "encoder.onnx") for folder in (tmp_path, edge)]
    kinds = [{each.data_type for each in network.graph.initializer} for network in networks]
    assert [onnx.TensorProto.FLOAT16 in kind for kind in kinds] == [True, False]
    y, exact = (  # the reference has float16 for what ONNX Runtime computes in float32
        ReferenceEvaluator(network).run(None, {"pixels": np.asarray(picture(33, 20))[None], "quality": of(50)})[0]
        for network in networks
    )
    assert 0 < np.abs(y - exact).max() <= 0.02 * np.abs(exact).max()


def test_graphs_name_their_codec(edge: Path, codec: Codec) -> None:
    for name in ("encoder.onnx", "view-human.onnx"):
        model = onnx.load(edge / name)
        onnx.checker.check_model(model, full_check=True)
        facts = {each.key: each.value for each in model.metadata_props}
        assert facts == {"model_id": codec.model_id.hex(), "precision": "float32"}


def test_files_are_kept_unless_told(tmp_path: Path, codec_file: Path) -> None:
    (tmp_path / "view-human.onnx").write_text("mine")
    command = ["-o", tmp_path, "--model", codec_file]
    assert "view-human.onnx exists already; use --overwrite" in refused(*command)
    assert [path.name for path in tmp_path.iterdir()] == ["view-human.onnx"]
    assert (tmp_path / "view-human.onnx").read_text() == "mine"
    assert run("export", *command, "--overwrite").exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"encoder.onnx", "view-human.onnx"}


def test_what_cannot_be_exported(tmp_path: Path, codec_file: Path) -> None:
    out = tmp_path / "out"
    for arguments, said in {
        ("--view", "alien"): "there is no view 'alien'",
        ("--view", "nan"): "outside 0 (machine) to 1 (human)",
        ("--size", "768"): "a size is WIDTHxHEIGHT in pixels",
        ("--size", "0x16"): "each side is 1 or more",
        ("--size", "4000x3000"): "4,194,304 pixels at most",
        ("--precision", "int8"): "'int8'",
    }.items():
        assert said in refused("-o", out, "--model", codec_file, *arguments)
    (tmp_path / "alone.safetensors").write_bytes(codec_file.read_bytes())
    assert "no human view" in refused("-o", out, "--model", tmp_path / "alone.safetensors")
    assert not out.exists()
    (tmp_path / "file").write_text("")
    assert "cannot" in refused("-o", tmp_path / "file", "--model", codec_file)
