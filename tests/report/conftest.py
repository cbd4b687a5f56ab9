"""Real results of a tiny evaluation, and a task network that sees something."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from diptych.codec.codec import Codec
from diptych.errors import DiptychError
from diptych.evaluation.anchors import ANCHORS
from diptych.evaluation.harness import evaluate
from diptych.evaluation.recipe import Evaluation
from diptych.io.recipes import read_recipe
from labels import rectangle, write_dataset
from samples import picture

SETTINGS = {
    "jpeg": [20, 80],
    "webp": [20, 80],
    "avif": [30, 70],
    "avif-default": [30, 70],
    "heic": [20, 40],
    "jxl": [30, 80],
    "vvc": [40, 30],
    "vvc-slower": [40, 30],
}


class Spotter:
    """A task network that finds one square around the brightest pixels of a picture."""

    classes = ("square",)

    def predict(self, images: Sequence[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        return [self._found(image) for image in images]

    def _found(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        bright = image.mean(dim=0) > 0.85
        rows, columns = bright.any(dim=1).nonzero().flatten(), bright.any(dim=0).nonzero().flatten()
        if not len(rows):
            return {name: value[:0] for name, value in self._found(torch.ones_like(image)).items()}
        box = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()
        return {
            "boxes": box[None],
            "labels": torch.tensor([1]),
            "scores": torch.tensor([0.9]),
            "masks": bright.float()[None, None],
        }


@pytest.fixture(scope="session")
def spotter() -> Any:
    return Spotter()


@pytest.fixture(scope="session")
def results_file(tmp_path_factory: pytest.TempPathFactory, codec: Codec, spotter: Any) -> Path:
    """What ``diptych evaluate`` writes about two photos and every anchor that is installed."""
    folder = tmp_path_factory.mktemp("evaluation")
    photos = [np.asarray(picture(120, 104, seed)) // 2 for seed in (1, 2)]
    for photo in photos:
        photo[20:60, 24:88] = 255
    annotations = [rectangle(24, 20, 64, 40, id=number, image_id=number) for number in (1, 2)]
    labels = write_dataset(folder, photos, annotations)
    recipe = {
        "photos": str(folder),
        "labels": str(labels),
        "tasks": {"spotter": "stand-in.yaml"},
        "qualities": [10, 50, 90],
        "anchors": {name: SETTINGS[name] for name in ANCHORS if installed(name)},
        "matched": ["jpeg"],
        "metrics": ["psnr", "grid"],
        "resamples": 20,
        "cache": str(folder / "cache"),
        "out": str(folder / "eval-tiny.json"),
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe))
    command = ["diptych", "evaluate", str(path)]
    evaluate(read_recipe(path, Evaluation, ["limit=2"]), command, {"diptych": codec}, {"spotter": spotter})
    return folder / "eval-tiny.json"


def installed(anchor: str) -> bool:
    try:
        return bool(ANCHORS[anchor].made_with)
    except DiptychError:
        return False
