"""``encode --keep`` and ``--target``: what is reached, in how many ways it is told, and what is refused."""

import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

import diptych
from diptych.bitstream import read_header
from diptych.cli.goals import METRICS
from diptych.cli.main import app
from diptych.codec.codec import Codec
from diptych.evaluation import metrics, people
from samples import picture

MEASURES = {name: getattr(people if module == "people" else metrics, name) for name, (module, _) in METRICS.items()}


class Critic:
    """A task network that finds one object where a picture is close to the cat, else another.

    Args:
        enough: mean absolute error, in levels, that it does not notice.
    """

    classes = ("cat", "other")

    def __init__(self, enough: float) -> None:
        self.enough = enough

    def predict(self, images: Sequence[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        shown = [image.permute(1, 2, 0).numpy() * 255 for image in images]
        labels = [1 if np.abs(pixels - cat()).mean() < self.enough else 2 for pixels in shown]
        return [
            {"boxes": torch.tensor([[0.0, 0, 9, 9]]), "labels": torch.tensor([k]), "scores": torch.tensor([0.9])}
            for k in labels
        ]


@cache
def cat() -> Image.Image:
    """Part of a real photo: scores grow with quality there, in the codec that is shipped."""
    with Image.open(str(resources.files("diptych") / "assets" / "chelsea.jpg")) as image:
        return image.convert("RGB").crop((100, 60, 228, 156))


@pytest.fixture(scope="module")
def shipped() -> Codec:
    return diptych.load()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    cat().save(path)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def error(codec: Codec, quality: float, view: str = "machine") -> float:
    """Mean absolute error of the cat, in levels."""
    shown = np.asarray(codec.decode(codec.encode(cat(), quality), view)).astype(float)
    return float(np.abs(shown - cat()).mean())


def use(monkeypatch: pytest.MonkeyPatch, **networks: Critic) -> None:
    monkeypatch.setattr("diptych.tasks.load_task", lambda path: networks[Path(path).stem])


@pytest.mark.slow
@pytest.mark.parametrize("view", ["machine", "human"])
def test_the_smallest_file_in_which_the_network_sees_the_same(
    photo: Path, shipped: Codec, view: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    enough = error(shipped, 40, view) + 1e-6
    use(monkeypatch, noticing=Critic(enough))
    chosen = ["--view", view] if view == "human" else []
    result = run("encode", photo, "--keep", 0.95, "--task", f"{view}/noticing.yaml", *chosen)
    assert result.exit_code == 0, result.output
    data = photo.with_suffix(".dip").read_bytes()
    quality = round(read_header(data).quality)
    assert data == shipped.encode(cat(), quality)
    assert error(shipped, quality, view) < enough <= error(shipped, quality - 1, view)
    assert f"quality {quality}, agreement 1 in view {view}, " in result.stdout
    assert result.stderr == ""


@pytest.mark.slow
def test_all_networks_have_to_agree(photo: Path, shipped: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, easy=Critic(error(shipped, 10)), hard=Critic(error(shipped, 60)))
    qualities = []
    for tasks in (["easy"], ["hard"], ["easy", "hard"]):
        options = [option for task in tasks for option in ("--task", f"{task}.yaml")]
        assert run("encode", photo, "--keep", 1, "--overwrite", *options).exit_code == 0
        qualities.append(read_header(photo.with_suffix(".dip").read_bytes()).quality)
    assert qualities[0] < qualities[1] == qualities[2]


def test_what_cannot_be_kept_is_said_and_the_best_written(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, never=Critic(1e-9))
    manifest = photo.with_name("m.jsonl")
    result = run("encode", photo, "--keep", 0.9, "--task", "never.yaml", "--manifest", manifest)
    assert result.exit_code == 0
    assert "agreement 0 in view machine" in result.stdout
    assert "none of 14 codings reaches agreement 0.9; this is the best of them" in result.stderr
    line = json.loads(manifest.read_text())
    assert (line["measure"], line["score"], line["reached"]) == ("agreement", 0, False)
    assert photo.with_suffix(".dip").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("measure", METRICS)
def test_a_metric_is_reached_in_the_human_view(photo: Path, shipped: Codec, measure: str) -> None:
    metric, sign = MEASURES[measure], METRICS[measure][1]
    wanted = metric(cat(), shipped.decode(shipped.encode(cat(), 55), "human"))
    result = run("encode", photo, "--target", f"{measure}={wanted - sign * 1e-6:.9f}")
    assert result.exit_code == 0, result.output
    data = photo.with_suffix(".dip").read_bytes()
    reached = metric(cat(), shipped.decode(data, "human"))
    assert sign * reached >= sign * wanted - 1e-5
    assert f"{measure} {reached:.4g} in view human" in result.stdout
    quality = read_header(data).quality
    assert quality == round(quality) <= 55


@pytest.mark.slow
def test_targets_in_batches(tmp_path: Path, codec_file: Path) -> None:
    for number in range(3):
        picture(40 + number, 30, number).save(tmp_path / f"{number}.png")
    command = ["encode", tmp_path, "--target", "psnr=18", "--view", "machine", "--model", codec_file]
    manifest = tmp_path / "m.jsonl"
    alone = run(*command, "-o", tmp_path / "alone")
    beside = run(*command, "-o", tmp_path / "beside", "--jobs", 2, "--manifest", manifest)
    assert (alone.exit_code, beside.exit_code) == (0, 0)
    for line in map(json.loads, manifest.read_text().splitlines()):
        written = Path(line["output"])
        assert written.read_bytes() == (tmp_path / "alone" / written.name).read_bytes()
        assert line["measure"] == "psnr"
        assert line["reached"] == (line["score"] >= 18)


def test_a_picture_too_small_for_a_metric(tmp_path: Path, codec_file: Path) -> None:
    picture(8, 8).save(tmp_path / "p.png")
    result = run("encode", tmp_path / "p.png", "--target", "ssim=0.9", "--model", codec_file)
    assert result.exit_code == 1
    assert "a picture of 8 x 8 is too small for ssim" in result.stderr
    assert not (tmp_path / "p.dip").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--keep", 0], "a share above 0"),
        (["--keep", 95], "a share above 0"),
        (["--keep", "nan"], "a share above 0"),
        (["--target", "vmaf=90"], "one of ssimulacra2, psnr, ssim, lpips"),
        (["--target", "psnr"], "METRIC=VALUE"),
        (["--target", "psnr=high"], "METRIC=VALUE"),
        (["--task", "net.onnx"], "--keep, which is missing"),
        (["--view", "human"], "both are missing"),
        (["--target", "psnr=30", "--view", "people"], "no view 'people'"),
        (["--keep", 0.9, "--target", "psnr=30"], "--keep and --target exclude each other"),
        (["-q", 40, "--keep", 0.9], "--quality and --keep exclude each other"),
        (["--bpp", 1, "--target", "psnr=30"], "--bpp and --target exclude each other"),
        (["--target-size", 900, "--keep", 0.9], "--target-size and --keep exclude each other"),
        (["-q", 40, "--bpp", 1], "--quality and --bpp exclude each other"),
    ],
)
def test_impossible_goals(photo: Path, arguments: list[object], said: str) -> None:
    result = run("encode", photo, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not photo.with_suffix(".dip").exists()


def test_task_networks_that_cannot_be_asked(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "features.yaml").write_text("kind: features\nbackbone: efficientnet_lite1\n")
    for task, said in (("features.yaml", "finds no objects"), ("missing.safetensors", "missing.safetensors")):
        result = run("encode", photo, "--keep", 0.9, "--task", tmp_path / task)
        assert result.exit_code == 1
        [line] = result.stderr.splitlines()
        assert said in line
