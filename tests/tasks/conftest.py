"""Two labelled pictures and an untrained task network, small enough for many tests."""

import numpy as np
import pytest
import torch

from diptych.data.coco import CocoDataset
from diptych.tasks.detector_task import DetectorTask
from diptych.tasks.fcos import FcosSettings, FcosTask
from diptych.tasks.mask_rcnn import MaskRCNNSettings, MaskRCNNTask
from labels import rectangle, write_dataset
from samples import picture

SMALL = MaskRCNNSettings(
    classes=("square", "round"),
    size=64,
    channels=8,
    hidden=16,
    mask_layers=(8,),
    anchors=(8, 16, 32, 64),
    proposals=20,
    samples=8,
)
SMALL_FCOS = FcosSettings(classes=("square", "round"), size=64, channels=32, convolutions=1)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> CocoDataset:
    """A photo with two objects and a crowd, one with one object, one with none."""
    photos = [np.asarray(picture(64, 64, seed)) for seed in range(3)]
    annotations = [
        rectangle(4, 6, 30, 20),
        rectangle(30, 30, 20, 24, category_id=7),
        rectangle(40, 2, 20, 20, iscrowd=1),
        rectangle(10, 10, 40, 40, image_id=2),
    ]
    folder = tmp_path_factory.mktemp("data")
    return CocoDataset(folder, write_dataset(folder, photos, annotations))


@pytest.fixture
def network() -> MaskRCNNTask:
    """Untrained and frozen."""
    torch.manual_seed(0)
    return MaskRCNNTask(SMALL).requires_grad_(False)


@pytest.fixture
def boxer() -> FcosTask:
    """A task network without masks, untrained but for a bias, without which it would find nothing, and frozen."""
    torch.manual_seed(0)
    task = FcosTask(SMALL_FCOS).requires_grad_(False)
    torch.nn.init.zeros_(task.net.head.classification_head.cls_logits.bias)
    return task


@pytest.fixture(params=["network", "boxer"])
def detector(request: pytest.FixtureRequest) -> DetectorTask:
    """Each of the package's own detectors."""
    found: DetectorTask = request.getfixturevalue(request.param)
    return found
