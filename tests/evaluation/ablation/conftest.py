"""Two small photos with labels, an untrained task network, and an ablation of every kind of row."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from diptych.cli.main import app
from diptych.tasks.mask_rcnn import MaskRCNNSettings, MaskRCNNTask
from diptych.training.export import save_model
from labels import rectangle, write_dataset
from samples import lively_model, picture

SIZES = ((90, 75), (65, 98))


class TinyAblation:
    """A folder with all that an ablation needs, and its recipe.

    Attributes:
        content: the recipe; what a test changes is written by :meth:`recipe`.
    """

    def __init__(self, folder: Path, codec: Path) -> None:
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
            "codec": str(codec),
            "human": str(human),
            "folder": str(folder / "rows"),
            "training": {"loop": {"steps": 2}},
            "evaluation": {
                "photos": str(photos),
                "labels": str(labels),
                "task": str(self._task()),
                "qualities": [20, 70],
                "resamples": 20,
                "cache": str(folder / "cache"),
            },
            "out": str(folder / "results" / "ablation.json"),
            "rows": [
                {"name": "base codec", "base": True, "paper": {"mAP": 0.766, "psnr": 27.695, "ssim": 0.709}},
                {"name": "3 patches", "train": {}, "paper": {"mAP": 0.752, "psnr": 28.526, "ssim": 0.764}},
                {"name": "resize", "upsampler": "resize", "train": {"gan_weight": 0}},
                {"name": "shuffle", "upsampler": "shuffle", "train": {"gan_weight": 0}},
                {"name": "shipped", "view": str(self.view)},
                {"name": "half", "view": str(self.view), "blend": 0.5},
                {"name": "blurred", "filter": {"kind": "gaussian", "sigma": 0.8}},
                {"name": "bilateral", "filter": {"kind": "bilateral", "sigma": 1.5, "contrast": 25}},
                {"name": "other decoder", "decoder": str(self.other)},
            ],
        }

    def _task(self) -> Path:
        torch.manual_seed(0)
        shape = {"channels": 8, "hidden": 16, "mask_layers": (8,), "anchors": (8, 16, 32, 64)}
        settings = MaskRCNNSettings(classes=("round", "square"), size=64, proposals=20, samples=8, **shape)
        path = self.folder / "task.safetensors"
        MaskRCNNTask(settings).save(path)
        return path

    def recipe(self) -> Path:
        """The recipe, written."""
        path = self.folder / "ablation.yaml"
        path.write_text(yaml.safe_dump(self.content))
        return path

    def weights(self) -> dict[str, Path]:
        """What was trained, by the row's name as folders have it."""
        found = self.folder.glob("rows/*/weights.safetensors")
        return {path.parent.name.rsplit("-", 1)[0]: path for path in found}

    def files(self, folder: str) -> dict[Path, int]:
        """All files below a folder, with the times at which they were changed."""
        return {path: path.stat().st_mtime_ns for path in (self.folder / folder).rglob("*") if path.is_file()}


@pytest.fixture
def tiny(tmp_path: Path, codec_file: Path) -> TinyAblation:
    return TinyAblation(tmp_path, codec_file)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, codec_file: Path) -> TinyAblation:
    """An ablation that was run, by the command; tests may add to its folders but not change what is there."""
    tiny = TinyAblation(tmp_path_factory.mktemp("ablation"), codec_file)
    done = CliRunner().invoke(app, ["ablate", str(tiny.recipe()), "evaluation.resamples=10"])
    assert done.exit_code == 0, done.output
    return tiny
