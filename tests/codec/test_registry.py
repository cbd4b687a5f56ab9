"""Files of other codecs than the default one: found by id in the package and in a user's folder."""

import json
import shutil
import sys
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from torch.utils.data import DataLoader
from typer.testing import CliRunner, Result

import diptych
import diptych.pillow
import reference_decoder as reference
from diptych.bitstream import read_header
from diptych.cli.main import app
from diptych.codec import defaults, registry
from diptych.codec.codec import Codec
from diptych.codec.weights import CODEC_FORMAT, human_beside, read_arrays, write_arrays
from diptych.data.dip import DipDataset
from diptych.errors import BitstreamError, ModelError
from samples import picture

ROOT = Path(__file__).parents[2]
VECTORS = Path(__file__).parents[1] / "vectors"
FOREIGN = VECTORS / "codec.safetensors"
"""A codec that is never the default one, and has no human view."""
OLD = VECTORS / "shipped-739b42c3.dip"
"""Made by the codec that was shipped first: ``encode(landscape(), 40)``."""
OLD_DIGEST = "1ecb67b7de8abc5b4712d633d52b0e2140809995593d913cf415827b9c35414d"
"""SHA-256 of the file: when a test of it fails, the program has to change back."""
OLD_LATENTS = "306d45f9316ecb7c00b9b05440ff7f446b962f19a31f2ea074c9c5cb47d593b8"
"""SHA-256 of its latents, int32, little-endian."""
OLD_WEIGHTS = ("codec-739b42c3.safetensors", "codec-739b42c3.human.safetensors")


def landscape() -> Image.Image:
    """96 x 64: a sky with a sun, hills with grass, a house."""
    rng = np.random.default_rng(739)
    y, x = np.mgrid[:64, :96]
    sky = np.stack([90 + y, 140 + y, 230 - y / 2], -1)
    sky[(x - 72) ** 2 + (y - 14) ** 2 < 64] = 250, 230, 150
    grass = np.array([70, 120, 50]) + rng.normal(0, 14, (64, 96, 1)) * [1, 1.2, 0.7]
    pixels = np.where((y > 38 + 7 * np.sin(x / 13))[..., None], grass, sky)
    pixels[30:50, 18:40] = 180, 90, 70
    pixels[36:42, 24:30] = 40, 40, 60
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def fails(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    [line] = result.stderr.splitlines()
    return line


def same(found: Image.Image, expected: Image.Image) -> bool:
    return np.array_equal(np.asarray(found), np.asarray(expected))


def alike(found: Image.Image, expected: Image.Image) -> bool:
    """Whether two pictures are the same but for what the number of threads changes."""
    return found.size == expected.size and np.abs(np.asarray(found, float) - np.asarray(expected)).mean() < 1


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of codecs, not made yet."""
    path = tmp_path / "user" / "codecs"
    monkeypatch.setenv("DIPTYCH_CODECS", str(path))
    return path


def put(folder: Path, *files: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy(file, folder)


@pytest.fixture(scope="module")
def default() -> Codec:
    return diptych.load()


@pytest.fixture(scope="module")
def foreign() -> Codec:
    return diptych.load(FOREIGN)


@pytest.fixture
def foreign_dip(tmp_path: Path, foreign: Codec) -> Path:
    path = tmp_path / "foreign.dip"
    path.write_bytes(foreign.encode(picture(70, 40), 60))
    return path


@pytest.fixture
def own_dip(tmp_path: Path, default: Codec) -> Path:
    path = tmp_path / "own.dip"
    path.write_bytes(default.encode(picture(50, 35), 30))
    return path


@pytest.fixture
def another_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package whose only codec is the foreign one."""
    package = tmp_path / "package"
    package.mkdir()
    shutil.copy(FOREIGN, package / "codec.safetensors")
    monkeypatch.setattr(defaults, "WEIGHTS", package)
    monkeypatch.setattr(defaults, "CODEC", package / "codec.safetensors")


@pytest.mark.usefixtures("another_default")
def test_the_first_shipped_codec_reads_its_file(folder: Path, tmp_path: Path) -> None:
    put(folder, *(ROOT / "weights" / name for name in OLD_WEIGHTS))
    data = OLD.read_bytes()
    assert sha256(data).hexdigest() == OLD_DIGEST
    codec = diptych.load()
    assert codec.model_id != read_header(data).model_id == bytes.fromhex("739b42c3")
    assert sha256(codec.latents(data).values.astype("<i4").tobytes()).hexdigest() == OLD_LATENTS
    views = codec.decode_views(data, ["machine", "human"])
    for view in views:
        assert np.abs(np.asarray(view, float) - np.asarray(landscape())).mean() < 12
    assert not same(*views)

    for name, view in zip(("machine", "human"), views, strict=True):
        result = run("decode", OLD, "--view", name, "-o", tmp_path / f"{name}.png")
        assert result.exit_code == 0, result.output
        assert same(Image.open(tmp_path / f"{name}.png"), view)


def test_the_second_decoder_reads_its_latents() -> None:
    values = reference.latents(OLD.read_bytes(), load_file(ROOT / "weights" / OLD_WEIGHTS[0]))
    assert sha256(values.astype("<i4").tobytes()).hexdigest() == OLD_LATENTS


def test_the_codec_of_a_file_can_be_asked_for(
    folder: Path, default: Codec, foreign: Codec, foreign_dip: Path, own_dip: Path
) -> None:
    put(folder, FOREIGN)
    data = foreign_dip.read_bytes()
    found = default.for_file(data)
    assert found.model_id == foreign.model_id
    assert default.for_file(data) is found, "it is loaded once"
    assert default.for_file(own_dip.read_bytes()) is default
    part = (10, 5, 30, 20)
    assert same(default.decode(data, "machine", part), foreign.decode(data, "machine", part))
    assert same(default.synthesize(default.latents(data), "machine"), foreign.decode(data, "machine"))
    with pytest.raises(ModelError, match="no human view: decode the machine view"):
        default.decode(data, "human")


@pytest.mark.slow
def test_many_files_of_two_codecs(folder: Path, default: Codec, foreign: Codec, tmp_path: Path) -> None:
    put(folder, FOREIGN)
    (tmp_path / "in").mkdir()
    made = {f"{number}.dip": (default, foreign)[number % 2] for number in range(4)}
    for number, (name, codec) in enumerate(made.items()):
        (tmp_path / "in" / name).write_bytes(codec.encode(picture(40, 30, number), 50))
    for jobs in (1, 2):
        out = tmp_path / f"out-{jobs}"
        result = run("decode", tmp_path / "in", "-o", out, "--view", "machine", "--jobs", jobs)
        assert result.exit_code == 0, result.output
        for name, codec in made.items():
            expected = codec.decode((tmp_path / "in" / name).read_bytes(), "machine")
            assert alike(Image.open((out / name).with_suffix(".png")), expected)


def test_an_unknown_codec_is_named_with_where_to_put_it(folder: Path, foreign_dip: Path) -> None:
    line = fails("decode", foreign_dip, "--view", "machine")
    for words in (str(foreign_dip), "codec fd1e3e08", f"into {folder}", "'diptych codecs'"):
        assert words in line
    assert not foreign_dip.with_suffix(".png").exists()
    put(folder, FOREIGN)
    assert run("decode", foreign_dip, "--view", "machine").exit_code == 0


def test_a_codec_that_is_named_decodes_alone(
    folder: Path, foreign: Codec, foreign_dip: Path, own_dip: Path
) -> None:
    put(folder, FOREIGN)
    assert "with codec fd1e3e08, this is codec" in fails("decode", foreign_dip, "--model", defaults.CODEC)
    assert "this is codec fd1e3e08" in fails("decode", own_dip, "--model", FOREIGN)
    for codec in (diptych.load(defaults.CODEC), diptych.load(view=human_beside(defaults.CODEC))):
        with pytest.raises(BitstreamError, match="name no codec"):
            codec.decode(foreign_dip.read_bytes())


def test_a_view_file_goes_to_the_codec_of_the_file(folder: Path, codec_file: Path, codec: Codec) -> None:
    put(folder, codec_file)
    dip = folder / "small.dip"
    dip.write_bytes(codec.encode(picture(60, 40), 50))
    view = human_beside(codec_file)
    result = run("decode", dip, "--view", view)
    assert result.exit_code == 0, result.output
    assert same(Image.open(dip.with_suffix(".png")), codec.decode(dip.read_bytes(), "human"))
    refused = fails("decode", dip, "--view", human_beside(defaults.CODEC), "--overwrite")
    assert f"not of {codec.model_id.hex()}" in refused


BROKEN: dict[str, Callable[[Path], object]] = {
    "it is not a readable safetensors file: ": lambda path: path.write_bytes(FOREIGN.read_bytes()[:-9]),
    "it is not a readable safetensors file: Error": lambda path: path.write_bytes(b""),
    "it holds 'shoes' weights": lambda path: write_arrays(path, {"x": np.zeros(1)}, {"format": "shoes"}),
    "it is not a file": Path.mkdir,
    "the link leads nowhere": lambda path: path.symlink_to("nowhere"),
}


def listed() -> dict[str, dict[str, object]]:
    result = run("codecs", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    return {facts["name"]: facts for facts in map(json.loads, result.stdout.splitlines())}


@pytest.mark.parametrize("problem", BROKEN)
def test_a_broken_file_costs_itself_alone(folder: Path, foreign_dip: Path, problem: str) -> None:
    put(folder, FOREIGN)
    BROKEN[problem](folder / "broken.safetensors")
    facts = listed()
    assert (facts["broken"]["model_id"], facts["broken"]["human_view"]) == (None, False)
    assert str(facts["broken"]["problem"]).startswith(problem)
    assert f"{folder / 'broken.safetensors'}\n          problem: {problem}" in run("codecs").stdout
    assert run("decode", foreign_dip, "--view", "machine").exit_code == 0


def test_a_codec_without_transforms_fails_for_its_files(folder: Path, foreign_dip: Path, own_dip: Path) -> None:
    folder.mkdir(parents=True)
    tensors, metadata = read_arrays(FOREIGN, CODEC_FORMAT)
    incomplete = {name: tensor for name, tensor in tensors.items() if not name.startswith("g_s.")}
    write_arrays(folder / "half.safetensors", incomplete, metadata)
    result = run("decode", foreign_dip, own_dip, "--view", "machine", "-o", folder / "out")
    assert result.exit_code == 1
    assert f"{folder / 'half.safetensors'} is not a complete codec file" in result.stderr
    assert [path.name for path in (folder / "out").iterdir()] == ["own.png"]


def test_a_broken_human_view_costs_itself_alone(
    folder: Path, default: Codec, foreign: Codec, foreign_dip: Path
) -> None:
    put(folder, FOREIGN)
    view = folder / "codec.human.safetensors"
    for content, problem in (
        (b"x", f"{view.name}: it is not a readable safetensors file"),
        (human_beside(defaults.CODEC).read_bytes(), f"{view.name} is a view of codec"),
    ):
        view.write_bytes(content)
        facts = json.loads(run("codecs", "--json").stdout.splitlines()[-1])
        assert (facts["model_id"], facts["human_view"]) == ("fd1e3e08", False)
        assert facts["problem"].startswith(problem)
        data = foreign_dip.read_bytes()
        assert same(default.decode(data, "machine"), foreign.decode(data, "machine"))


def test_a_view_without_its_codec_is_named(folder: Path) -> None:
    put(folder, human_beside(defaults.CODEC))
    assert "there is no codec.safetensors beside it" in run("codecs").stdout


@pytest.mark.parametrize("make", [lambda path: path.write_text("x"), lambda path: path.symlink_to(path)])
def test_a_folder_that_cannot_be_read(folder: Path, own_dip: Path, make: Callable[[Path], object]) -> None:
    folder.parent.mkdir()
    make(folder)
    assert "the folder cannot be read" in run("codecs").stdout
    assert run("info", own_dip).exit_code == 0
    assert run("decode", own_dip, "--view", "machine").exit_code == 0


def test_the_list(folder: Path, codec_file: Path, codec: Codec, default: Codec) -> None:
    own = default.model_id.hex()
    assert run("codecs").stdout.startswith(f"{own}  codec\n          {defaults.CODEC}\n")
    assert run("codecs").stdout.endswith(f"\nyour folder: {folder}\n")
    put(folder, codec_file, human_beside(codec_file))
    tensors, metadata = read_arrays(FOREIGN, CODEC_FORMAT)
    write_arrays(folder / "birds.safetensors", tensors, {**metadata, "purpose": "small  birds\nfrom afar"})
    (folder / "notes.txt").write_text("no codec")
    facts = listed()
    assert list(facts) == ["codec", "birds", "small"]
    assert facts["codec"]["where"] == "package"
    assert facts["birds"] == {
        "model_id": "fd1e3e08",
        "name": "birds",
        "file": str(folder / "birds.safetensors"),
        "where": "folder",
        "purpose": "small birds from afar",
        "human_view": False,
        "problem": None,
    }
    assert (facts["small"]["model_id"], facts["small"]["human_view"]) == (codec.model_id.hex(), True)


def test_a_codec_that_is_replaced_is_read_again(folder: Path, codec: Codec, codec_file: Path) -> None:
    put(folder, FOREIGN)
    assert listed()["codec"]["problem"] is None
    assert registry.find(bytes.fromhex("fd1e3e08")) is not None
    shutil.copy(codec_file, folder / "codec.safetensors")
    assert registry.find(bytes.fromhex("fd1e3e08")) is None
    found = registry.find(codec.model_id)
    assert found
    assert found.path == folder / "codec.safetensors"


def test_info_says_whether_the_codec_is_here(folder: Path, foreign_dip: Path) -> None:
    assert f"codec           not here: put its .safetensors file into {folder}" in run("info", foreign_dip).stdout
    assert json.loads(run("info", foreign_dip, "--json").stdout)["codec"] is None
    put(folder, FOREIGN)
    assert json.loads(run("info", foreign_dip, "--json").stdout)["codec"] == str(folder / FOREIGN.name)


@pytest.mark.skipif(sys.platform != "linux", reason="where user data lie on Linux")
def test_where_the_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for named, place in (
        ("", tmp_path / "data/diptych/codecs"),
        ("~/mine", tmp_path / "mine"),
        (f"{tmp_path}/other", tmp_path / "other"),
    ):
        monkeypatch.setenv("DIPTYCH_CODECS", named)
        assert registry.folder() == place
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.delenv("DIPTYCH_CODECS")
    assert registry.folder() == tmp_path / ".local/share/diptych/codecs"


def test_pillow_finds_the_codec(folder: Path, foreign: Codec, foreign_dip: Path) -> None:
    put(folder, FOREIGN)
    image = Image.open(foreign_dip)
    image.use_view("machine")  # type: ignore[attr-defined]
    assert same(image, foreign.decode(foreign_dip.read_bytes(), "machine"))


def test_data_sets_find_the_codec(
    folder: Path, default: Codec, foreign: Codec, foreign_dip: Path, own_dip: Path
) -> None:
    put(folder, FOREIGN)
    dataset = DipDataset([own_dip, foreign_dip], "machine")
    for number, [image] in enumerate(DataLoader(dataset, num_workers=1, collate_fn=list)):
        expected = (default, foreign)[number].decode(dataset.files[number].read_bytes(), "machine")
        assert alike(Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy()), expected)


def test_the_server_finds_the_codec(folder: Path, foreign: Codec, foreign_dip: Path) -> None:
    pytest.importorskip("fastapi")
    from starlette.testclient import TestClient

    from diptych.serve.app import create_app
    from diptych.serve.limits import Limits
    from diptych.serve.pool import Pool

    data = foreign_dip.read_bytes()
    with TestClient(create_app(Pool(Limits(workers=1))), "http://127.0.0.1") as client:
        refused = client.post("/decode?view=machine", content=data)
        assert refused.status_code == 422
        assert "with codec fd1e3e08, which is not here" in refused.json()["error"]
        assert str(folder) not in refused.text, "what lies where on the server is nobody's business"
        put(folder, FOREIGN)
        answer = client.post("/decode?view=machine", content=data)
        assert answer.status_code == 200, answer.text
    assert alike(Image.open(BytesIO(answer.content)), foreign.decode(data, "machine"))
