"""From recipe to table: rows that are trained, rows that are there; what is kept; what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from diptych.cli.main import app
from diptych.codec.codec import load
from diptych.errors import DiptychError, RecipeError
from diptych.evaluation.ablation import run
from diptych.evaluation.results import read
from diptych.training.export import save_model
from labels import rectangle, write_dataset
from samples import lively_model, picture

pytestmark = pytest.mark.slow
SIZES = ((90, 75), (65, 98))


class TinyAblation:
    """A folder with all that an ablation needs, and its recipe.

    Attributes:
        content: the recipe; what a test changes is written by :meth:`recipe`.
    """

    def __init__(self, folder: Path, codec: Path, task: Path) -> None:
        self.folder, self.codec = folder, codec
        self.view = codec.with_suffix(".human.safetensors")
        self.other = folder / "other.safetensors"
        save_model(lively_model(seed=1), self.other, {"stage": "test"})
        photos = folder / "photos"
        photos.mkdir()
        labels = write_dataset(
            photos,
            [np.asarray(picture(*size, seed=number)) for number, size in enumerate(SIZES)],
            [rectangle(10, 12, 40, 30), rectangle(8, 20, 30, 50, id=2, image_id=2)],
        )
        human = folder / "human.yaml"
        human.write_text(
            f"photos: {photos}\ncodec: nowhere.safetensors\nbatch: 2\ncrop: 64\npatch: 32\n"
            "loop: {out: nowhere, steps: 9, threads: 1, precision: fp32, warmup: 1}\n"
        )
        self.content: dict[str, Any] = {
            "human": str(human),
            "folder": str(folder / "rows"),
            "training": {"loop": {"steps": 2}},
            "evaluation": {
                "photos": str(photos),
                "labels": str(labels),
                "tasks": {"small": str(task)},
                "qualities": [20, 70],
                "views": ["machine"],
                "metrics": ["psnr", "grid"],
                "resamples": 20,
                "cache": str(folder / "cache"),
                "out": str(folder / "results" / "ablation.json"),
            },
            "rows": {
                "base codec": {"model": str(codec)},
                "3 patches": {"train": {}},
                "resize": {"upsampler": "resize", "train": {"gan_weight": 0}},
                "shuffle": {"upsampler": "shuffle", "train": {"gan_weight": 0}},
                "shipped": {"view": str(self.view), "views": [0.5, "human"]},
                "blurred": {"filter": {"kind": "gaussian", "sigma": 0.8}},
                "other decoder": {"decoder": str(self.other)},
            },
        }

    def recipe(self) -> Path:
        """The recipe, written."""
        path = self.folder / "ablation.yaml"
        path.write_text(yaml.safe_dump(self.content, sort_keys=False))
        return path

    def weights(self) -> dict[str, Path]:
        """What was trained, by the row's name as folders have it."""
        found = self.folder.glob("rows/*/weights.safetensors")
        return {path.parent.name.rsplit("-", 1)[0]: path for path in found}

    def files(self, folder: str) -> dict[Path, int]:
        """All files below a folder, with the times at which they were changed."""
        return {path: path.stat().st_mtime_ns for path in (self.folder / folder).rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained task network that knows the classes of the labels."""
    from diptych.tasks.mask_rcnn import MaskRCNNSettings, MaskRCNNTask

    torch.manual_seed(0)
    shape = {"channels": 8, "hidden": 16, "mask_layers": (8,), "anchors": (8, 16, 32, 64)}
    settings = MaskRCNNSettings(classes=("round", "square"), size=64, proposals=20, samples=8, **shape)
    path = tmp_path_factory.mktemp("task") / "task.safetensors"
    MaskRCNNTask(settings).save(path)
    return path


@pytest.fixture
def tiny(tmp_path: Path, codec_file: Path, task: Path) -> TinyAblation:
    return TinyAblation(tmp_path, codec_file, task)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, codec_file: Path, task: Path) -> TinyAblation:
    """An ablation that was run, by the command; tests may add to its folders but not change what is there."""
    tiny = TinyAblation(tmp_path_factory.mktemp("ablation"), codec_file, task)
    done = CliRunner().invoke(app, ["ablate", str(tiny.recipe()), "evaluation.resamples=10"])
    assert done.exit_code == 0, done.output
    for row in tiny.content["rows"]:
        assert row in done.output
    return tiny


def test_every_row_against_the_base_codec_in_one_command(finished: TinyAblation) -> None:
    found = read(finished.folder / "results/ablation.json")
    assert list(found.models) == list(finished.content["rows"])
    assert len(set(found.models.values())) == 1
    assert found.provenance.command.endswith("ablation.yaml evaluation.resamples=10")
    assert {str(entry.reference) for entry in found.comparisons} == {
        f"base codec {setting} machine" for setting in ("q20", "q70", "mean over qualities")
    }
    rows = [(entry.tested.codec, entry.tested.view) for entry in found.comparisons if entry.tested.setting is None]
    shown = [("shipped", 0.5), ("shipped", "human"), *((name, "machine") for name in ("blurred", "other decoder"))]
    assert rows == [("3 patches", "human"), ("resize", "machine"), ("shuffle", "machine"), *shown]
    sizes = {tuple(point.rows["bytes"]) for point in found.points if point.setting == 20}
    assert len(sizes) == 1
    assert found.bd_rate == []


def test_a_trained_row_is_the_view_that_was_trained(finished: TinyAblation) -> None:
    weights = finished.weights()
    assert weights.keys() == {"3-patches", "resize", "shuffle"}
    tuned = load(finished.codec, weights["3-patches"])
    photo = picture(*SIZES[0], seed=0)
    data = tuned.encode(photo, 20)
    assert data == load(finished.codec).encode(photo, 20)
    decoded = np.asarray(tuned.decode(data, "human"), np.float64)
    error = np.mean((decoded - np.asarray(photo)) ** 2)
    found = read(finished.folder / "results/ablation.json")
    [point] = [p for p in found.points if (p.codec, p.setting) == ("3 patches", 20)]
    assert point.rows["psnr"][0] == pytest.approx(10 * np.log10(255**2 / error), abs=1e-3)


def test_nothing_is_done_twice(finished: TinyAblation) -> None:
    rows, measured = finished.files("rows"), finished.files("cache")
    run(finished.recipe(), [f"evaluation.out={finished.folder / 'again' / 'ablation.json'}"])
    assert finished.files("rows") == rows
    assert finished.files("cache") == measured


def test_a_training_that_was_cut_off_goes_on_and_other_settings_are_trained_beside_it(tiny: TinyAblation) -> None:
    tiny.content["rows"] = dict(list(tiny.content["rows"].items())[:2])
    run(tiny.recipe())
    weights = tiny.weights()["3-patches"]
    before = load_file(weights)
    (weights.parent / "row.json").unlink()
    weights.unlink()
    run(tiny.recipe())
    after = load_file(weights)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())

    kept = tiny.files("rows")
    tiny.content["rows"]["3 patches"]["train"]["mse_over"] = "crop"
    run(tiny.recipe())
    assert tiny.files("rows").items() > kept.items()
    assert len(list(tiny.folder.glob("rows/3-patches-*/row.json"))) == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"train": {}, "model": "x"}, "model"),
        ({"trian": {}}, "trian"),
        ({"filter": {"kind": "median", "sigma": 1}}, "median"),
        ({"train": {"stages": 9}}, "row 'bad'.*cannot be tuned"),
        ({"train": {"patch": 128}}, "row 'bad'.*do not fit"),
        ({"train": {"gan_wait": 1}}, "row 'bad'.*gan_wait"),
        ({"train": {"photos": "nowhere"}}, "nowhere"),
        ({"train": {}, "recipe": "nowhere.yaml"}, "row 'bad'.*nowhere.yaml"),
        ({"view": "nowhere.safetensors"}, "codec 'bad'.*nowhere"),
        ({"decoder": "nowhere.safetensors"}, "codec 'bad'.*nowhere"),
    ],
)
def test_a_bad_row_is_refused_before_anything_is_trained(
    tiny: TinyAblation, row: dict[str, Any], message: str
) -> None:
    tiny.content["rows"]["bad"] = row
    with pytest.raises(DiptychError, match=message):
        run(tiny.recipe())
    assert not tiny.files("rows")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": {"first": {"train": {}}}}, "must name the base codec"),
        ({"rows": {"base": {"model": "x"}, "a b": {"train": {}}, "a, b": {"train": {}}}}, "several rows 'a b'"),
        ({"evaluation": {"codecs": {"mine": "x"}}}, "names none"),
        ({"evaluation": {"task": "x"}}, r"evaluation\.task"),
    ],
)
def test_a_recipe_that_is_no_ablation(tiny: TinyAblation, changes: dict[str, Any], message: str) -> None:
    for key, value in changes.items():
        tiny.content[key] = tiny.content[key] | value if key == "evaluation" else value
    with pytest.raises(RecipeError, match=message):
        run(tiny.recipe())


def test_views_of_other_codecs_are_refused(tiny: TinyAblation) -> None:
    tiny.content["rows"]["base codec"] = {"model": str(tiny.other)}
    with pytest.raises(DiptychError, match=r"codec 'shipped'.*is a view of codec"):
        run(tiny.recipe())
    assert not tiny.files("rows")


def test_photos_and_labels_are_checked_before_anything_is_trained(tiny: TinyAblation) -> None:
    (Path(tiny.content["evaluation"]["photos"]) / "2.png").write_bytes(b"not a photo")
    with pytest.raises(RecipeError, match=r"2\.png"):
        run(tiny.recipe())
    assert not tiny.files("rows")
