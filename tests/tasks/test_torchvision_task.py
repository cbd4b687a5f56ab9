"""torchvision's detectors with checkpoints of one's own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import get_model

from diptych.data.coco import CocoDataset
from diptych.errors import DiptychError, ModelError
from diptych.nn.losses import feature_distance
from diptych.tasks import load_task

from .test_mask_rcnn import pictures, targets

CLASSES = ["square", "round"]
SMALL = {"min_size": 64, "max_size": 96}
MODELS: dict[str, dict[str, int]] = {
    "maskrcnn_resnet50_fpn": SMALL,
    "retinanet_resnet50_fpn_v2": SMALL,
    "fcos_resnet50_fpn": SMALL,
    "ssdlite320_mobilenet_v3_large": {},
}
QUICK = "ssdlite320_mobilenet_v3_large"


def network(name: str, classes: int = 2) -> nn.Module:
    """An untrained model whose layers pass on gradients."""
    torch.manual_seed(0)
    model = get_model(name, weights=None, weights_backbone=None, num_classes=classes + 1, **MODELS[name])
    for module in model.backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return model


def described(folder: Path, name: str, checkpoint: str, **settings: Any) -> Path:
    path = folder / "detector.yaml"
    content = {"kind": "torchvision", "model": name, "checkpoint": str(folder / checkpoint), "classes": CLASSES}
    path.write_text(yaml.safe_dump(content | {"options": MODELS.get(name, {})} | settings))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_losses_features_and_detections(tmp_path: Path, data: CocoDataset, name: str) -> None:
    model = network(name)
    torch.save(model.state_dict(), tmp_path / "own.pt")
    task = load_task(described(tmp_path, name, "own.pt"))
    assert task.classes == ("square", "round")
    images, wanted = pictures(data).requires_grad_(), targets(data)
    found = task.features(images)
    assert all(len(level) == len(images) for level in found.values())
    torch.manual_seed(3)
    reused = task.loss(images, wanted, found)
    torch.manual_seed(3)
    anew = task.loss(images, wanted)
    assert reused.keys() == anew.keys() != set()
    for loss_name, loss in anew.items():
        assert torch.isfinite(loss), loss_name
        torch.testing.assert_close(reused[loss_name], loss)
    (gradient,) = torch.autograd.grad(torch.stack(list(anew.values())).sum(), images)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0
    assert not any(module.training for module in task.modules())
    assert not any(p.requires_grad for p in task.parameters())
    with torch.no_grad():
        expected = model.eval()(list(images))
    for one, other in zip(task.predict(list(images)), expected, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            torch.testing.assert_close(one[key], other[key])


def test_batch_norms_stay_as_they_were_trained(tmp_path: Path, data: CocoDataset) -> None:
    torch.save(network(QUICK).state_dict(), tmp_path / "own.pt")
    task = load_task(described(tmp_path, QUICK, "own.pt"))
    before = {name: value.clone() for name, value in task.state_dict().items()}
    task.loss(pictures(data), targets(data))
    assert all(torch.equal(before[name], value) for name, value in task.state_dict().items())


@pytest.mark.slow
def test_nothing_is_found_in_threads(tmp_path: Path) -> None:
    name = "retinanet_resnet50_fpn_v2"
    torch.save(network(name).state_dict(), tmp_path / "own.pt")
    task = load_task(described(tmp_path, name, "own.pt"))
    found = task.predict([torch.rand(3, 1, 500), torch.rand(3, 40, 50)])
    assert [found[0][key].shape[0] for key in ("boxes", "labels", "scores")] == [0, 0, 0]
    assert found[0].keys() == found[1].keys()


def as_is(state: dict[str, Tensor]) -> Any:
    return state


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrap",
    [
        as_is,
        lambda state: {"model": state, "epoch": 12},
        lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}},
        lambda state: {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")},
    ],
)
def test_usual_checkpoints_load(tmp_path: Path, wrap: Callable[[dict[str, Tensor]], Any]) -> None:
    model = network(QUICK)
    torch.save(wrap(model.state_dict()), tmp_path / "own.pt")
    save_file(model.state_dict(), tmp_path / "own.safetensors")
    tasks = [load_task(described(tmp_path, QUICK, f"own.{suffix}")) for suffix in ("pt", "safetensors")]
    image = torch.rand(1, 3, 64, 64)
    assert float(feature_distance(*(task.features(image) for task in tasks))) == 0


class Surprise:
    """What an attacker would hide in a checkpoint."""

    def __reduce__(self) -> Any:
        return (print, ("code was run",))


@pytest.mark.slow
def test_wrong_checkpoints_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = network(QUICK).state_dict()

    def refused(content: Any, *messages: str, **settings: Any) -> None:
        path = tmp_path / "own.pt"
        path.unlink(missing_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            torch.save(content, path)
        with pytest.raises(DiptychError) as raised:
            load_task(described(tmp_path, QUICK, "own.pt", **settings))
        assert "\n" not in str(raised.value)
        assert isinstance(raised.value, ModelError)
        for message in messages:
            assert message in str(raised.value)

    first = next(iter(state))
    refused(None, "There is no file", "own.pt")
    refused(b"", "own.pt")
    refused(b"garbage", "own.pt")
    refused(Surprise(), "more than tensors", "state_dict()")
    assert "code was run" not in capsys.readouterr().out
    refused([1, 2], "no state_dict")
    refused({"epoch": 3}, "no state_dict")
    refused({name: value for name, value in state.items() if name != first}, f"lacks '{first}'")
    refused(state | {"extra.weight": torch.zeros(2)}, "'extra.weight' is not in the model")
    head = "head.classification_head.module_list.0.1.weight"
    refused(state, head, "(18, 672, 1, 1) instead of (24, 672, 1, 1)", "3 classes", classes=["a", "b", "c"])
    refused(network("retinanet_resnet50_fpn_v2").state_dict(), "lacks 'backbone.")
    refused(state, "names no classes", classes=[])
    refused(state, "no detector 'yolo'", "ssd300_vgg16", model="yolo")
    refused(state, "no option 'surprise'", options={"surprise": 1})
    refused(state, "cannot build", options={"norm_layer": "batch"})
    refused(state, "There is no file names.txt", classes="names.txt")
