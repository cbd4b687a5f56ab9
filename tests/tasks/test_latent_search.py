"""Encoder-side search through the public API: ordinary files that cost less by the measure that is searched."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from diptych.bitstream import read_header, unpack
from diptych.cli.main import app
from diptych.codec.codec import Codec, load
from diptych.codec.defaults import CAT, CODEC, TASK
from diptych.errors import DiptychError
from diptych.io.images import read_picture
from diptych.nn.losses import feature_distance
from diptych.tasks import TaskNetwork, latent_search, shipped_task
from diptych.tasks.latent_search import Search
from diptych.tasks.mask_rcnn import MaskRCNNSettings, MaskRCNNTask
from samples import picture


@pytest.fixture(scope="module")
def network() -> MaskRCNNTask:
    torch.manual_seed(0)
    shape = {"channels": 8, "hidden": 16, "mask_layers": (8,), "anchors": (8, 16, 32, 64)}
    task = MaskRCNNTask(MaskRCNNSettings(classes=("square",), size=64, **shape))
    return task.requires_grad_(False).eval()


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def measured(codec: Codec, network: TaskNetwork, image: Image.Image, data: bytes) -> dict[str, float]:
    """Bytes of a real file, and how far its machine view is from the picture."""
    x, x_hat = pixels(image), pixels(codec.decode(data, "machine"))
    distance = feature_distance(network.features(x), network.features(x_hat))
    return {"bytes": len(data), "mse": float((x - x_hat).square().mean()), "features": float(distance)}


@pytest.mark.slow
@pytest.mark.parametrize(("weight", "lower"), [(0, "bytes"), (1e4, "mse")])
@pytest.mark.parametrize(("size", "quality"), [((200, 152), 30), ((160, 208), 60)])
def test_what_weighs_most_gets_lower(
    codec: Codec, network: MaskRCNNTask, weight: float, lower: str, size: tuple[int, int], quality: float
) -> None:
    image = picture(*size)
    plain = codec.encode(image, quality)
    refine = Search(codec, network, 12, mse_weight=weight, feature_weight=0)
    found = codec.encode(image, quality, verify=True, refine=refine)
    assert read_header(found) == read_header(plain)
    assert measured(codec, network, image, found)[lower] < measured(codec, network, image, plain)[lower]


@pytest.mark.slow
@pytest.mark.skipif(not (CODEC.is_file() and TASK.is_file()), reason="the weights are not shipped")
def test_the_shipped_task_is_served_better() -> None:
    codec, network = load(), shipped_task()
    cat = read_picture(CAT).image
    plain, found = (codec.encode(cat, 30, refine=refine) for refine in (None, Search(codec, network, 12)))
    before, after = (measured(codec, network, cat, data) for data in (plain, found))
    assert after["features"] < 0.9 * before["features"]
    assert after["bytes"] < 1.05 * before["bytes"]


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (17, 3), (40, 1), (600, 24)])
def test_any_size_is_searched(codec: Codec, network: MaskRCNNTask, size: tuple[int, int]) -> None:
    refine = Search(codec, network, 2)
    data = codec.encode(picture(*size), 50, verify=True, refine=refine)
    assert codec.decode(data).size == size
    assert codec.encode(picture(*size), 50, refine=refine) == data


@pytest.mark.slow
@pytest.mark.parametrize("tile", [None, 64])
def test_windows_and_tiles(
    codec: Codec, network: MaskRCNNTask, monkeypatch: pytest.MonkeyPatch, tile: int | None
) -> None:
    monkeypatch.setattr(latent_search, "SIDE", 4)
    monkeypatch.setattr(latent_search, "MARGIN", 4)
    if tile:
        monkeypatch.setattr("diptych.codec.codec.ONE_TILE_PIXELS", tile**2)
        monkeypatch.setattr("diptych.codec.codec.TILE", tile)
    image = picture(150, 90)
    refine = Search(codec, network, 4, mse_weight=1e4, feature_weight=0)
    plain, found = codec.encode(image, 40), codec.encode(image, 40, verify=True, refine=refine)
    assert len(unpack(found).payloads) == (6 if tile else 1)
    assert measured(codec, network, image, found)["mse"] < measured(codec, network, image, plain)["mse"]


def test_nothing_is_changed_by_a_search(codec: Codec, network: MaskRCNNTask) -> None:
    image = picture(64, 48)
    before = codec.encode(image, 40)
    search = Search(codec, network, 3)
    codec.encode(image, 40, refine=search)
    assert codec.encode(image, 40) == before
    parts = [*search.model.parameters(), *network.parameters()]
    assert all(p.grad is None for p in parts)


def test_no_steps_are_refused(codec: Codec, network: MaskRCNNTask) -> None:
    with pytest.raises(DiptychError, match="1 or more"):
        Search(codec, network, 0)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["encode", *(str(argument) for argument in arguments)])


@pytest.mark.slow
@pytest.mark.skipif(not TASK.is_file(), reason="the task network is not shipped")
def test_from_the_command_line(tmp_path: Path, codec_file: Path, codec: Codec) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(2):
        picture(80, 60, number).save(folder / f"{number}.png")
    common = ("--model", codec_file, "-q", 30)
    result = run(folder, "-o", tmp_path / "one", "--optimize", 3, "--verify", *common)
    assert result.exit_code == 0, result.stderr
    assert run(folder, "-o", tmp_path / "two", "--optimize", 3, "--jobs", 2, *common).exit_code == 0
    for number in range(2):
        data = (tmp_path / "one" / f"{number}.dip").read_bytes()
        assert data == (tmp_path / "two" / f"{number}.dip").read_bytes()
        assert data != codec.encode(picture(80, 60, number), 30)
        assert codec.decode(data).size == (80, 60)
    assert run(folder, "--optimize", -1, *common).exit_code == 2


def test_a_target_is_kept(tmp_path: Path, codec_file: Path) -> None:
    picture(160, 120).save(tmp_path / "photo.png")
    result = run(tmp_path / "photo.png", "--optimize", 3, "--target-size", 2000, "--model", codec_file)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "photo.dip").stat().st_size <= 2000
