from pathlib import Path

import pytest
import torch

from diptych.tasks.mask_rcnn import MaskRCNNSettings, MaskRCNNTask


@pytest.fixture(scope="session")
def task_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained task network that knows one class, ``spot``."""
    torch.manual_seed(0)
    settings = MaskRCNNSettings(
        classes=("spot",),
        size=64,
        channels=8,
        hidden=16,
        mask_layers=(8,),
        anchors=(8, 16, 32, 64),
        proposals=20,
        samples=8,
    )
    path = tmp_path_factory.mktemp("machine") / "small.safetensors"
    MaskRCNNTask(settings).save(path)
    return path
