"""A few tiny photos with labels, and a small task network."""

import json
from pathlib import Path

import pytest
import torch

from diptych.tasks.mask_rcnn import MaskRCNNSettings, MaskRCNNTask
from samples import picture


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of six PNG photos and ``labels.json`` in COCO format, one box per photo."""
    folder = tmp_path_factory.mktemp("photos")
    images, annotations = [], []
    for number in range(6):
        name = f"{number}.png"
        picture(96, 80, seed=number).save(folder / name)
        images.append({"id": number, "file_name": name, "width": 96, "height": 80})
        outline = [10, 12, 60, 12, 60, 58, 10, 58]
        annotations.append(
            {
                "id": number + 1,
                "image_id": number,
                "category_id": 1 + number % 2,
                "bbox": [10, 12, 50, 46],
                "area": 2300,
                "iscrowd": 0,
                "segmentation": [outline],
            }
        )
    categories = [{"id": 1, "name": "square"}, {"id": 2, "name": "box"}]
    labels = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "labels.json").write_text(json.dumps(labels))
    return folder


@pytest.fixture(scope="session")
def task_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained task network."""
    shape = {"channels": 8, "hidden": 16, "mask_layers": (8,), "anchors": (8, 16, 32, 64)}
    torch.manual_seed(0)
    task = MaskRCNNTask(MaskRCNNSettings(classes=("square", "box"), size=64, proposals=20, samples=8, **shape))
    path = tmp_path_factory.mktemp("machine") / "task.safetensors"
    task.save(path)
    return path
