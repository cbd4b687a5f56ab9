"""What both of the package's detector detectors promise: losses, predictions, files."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from diptych.data.coco import CocoDataset
from diptych.errors import ModelError
from diptych.tasks import load_task
from diptych.tasks.detector_task import DetectorTask
from tensors import pictures, targets


def test_losses_reach_the_pictures_through_frozen_weights(data: CocoDataset, detector: DetectorTask) -> None:
    images = pictures(data).requires_grad_()
    wanted = targets(data)
    losses = detector.loss(images, wanted)
    assert losses
    for name, loss in losses.items():
        assert loss.shape == ()
        assert torch.isfinite(loss), name
        (gradient,) = torch.autograd.grad(loss, images, retain_graph=True)
        assert torch.isfinite(gradient).all(), name
        assert gradient.abs().max() > 0, name
    assert all(p.grad is None and not p.requires_grad for p in detector.parameters())
    assert [sorted(target) for target in wanted] == [["boxes", "labels", "masks"]] * 3


def test_known_features_give_the_same_losses(data: CocoDataset, detector: DetectorTask) -> None:
    images = pictures(data)
    found, width = detector.features(images), detector.settings.channels
    assert [tuple(level.shape) for level in found.values()] == [(3, width, side, side) for side in (8, 4, 2, 1)]
    torch.manual_seed(3)
    anew = detector.loss(images, targets(data))
    torch.manual_seed(3)
    reused = detector.loss(images, targets(data), found)
    for name, loss in anew.items():
        torch.testing.assert_close(reused[name], loss)


def test_losses_fall_when_trained_on(data: CocoDataset, detector: DetectorTask) -> None:
    detector.requires_grad_(True)
    detector.backbone.requires_grad_(False)
    images, wanted = pictures(data), targets(data)
    found = detector.features(images)
    optimizer = torch.optim.Adam([p for p in detector.parameters() if p.requires_grad], lr=1e-2)
    totals = []
    for _ in range(30):
        torch.manual_seed(0)
        total = torch.stack(list(detector.loss(images, wanted, found).values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.7 * totals[0]


def test_predictions_are_sorted_and_lie_in_the_picture(detector: DetectorTask) -> None:
    torch.manual_seed(1)
    images = [torch.rand(3, 60, 96), torch.rand(3, 33, 20)]
    for image, found in zip(images, detector.predict(images), strict=True):
        height, width = image.shape[1:]
        count = len(found["scores"])
        assert count > 0
        assert found["boxes"].shape == (count, 4)
        assert set(found["labels"].tolist()) <= {1, 2}
        assert found["scores"].tolist() == sorted(found["scores"].tolist(), reverse=True)
        assert (found["boxes"] >= 0).all()
        assert (found["boxes"] <= torch.tensor([width, height] * 2)).all()
        assert 0 <= float(found["scores"].min()) <= float(found["scores"].max()) <= 1
        if "masks" in found:
            assert found["masks"].shape == (count, 1, height, width)
            assert 0 <= float(found["masks"].min()) <= float(found["masks"].max()) <= 1


def test_nothing_is_found_in_threads(detector: DetectorTask) -> None:
    shapes = [(1, 64), (1, 1), (3, 192), (500, 2), (40, 60), (2, 126)]
    found = detector.predict([torch.rand(3, *shape) for shape in shapes])
    assert [each["masks"].shape[2:] for each in found if "masks" in each] in (shapes, [])
    assert [len(found[k]["scores"]) for k in (0, 2, 3)] == [0, 0, 0]
    assert all(len(found[k]["scores"]) > 0 for k in (1, 4))
    assert found[0].keys() == found[1].keys()
    assert detector.predict([]) == []


def test_predictions_do_not_depend_on_chance_or_on_losses(data: CocoDataset, detector: DetectorTask) -> None:
    images = list(pictures(data))
    before = detector.predict(images)
    detector.loss(pictures(data), targets(data))
    for one, other in zip(before, detector.predict(images), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_files_keep_the_network(tmp_path: Path, data: CocoDataset, detector: DetectorTask) -> None:
    images = pictures(data)
    detector.save(tmp_path / "first.safetensors")
    first = load_task(tmp_path / "first.safetensors")
    assert first.settings == detector.settings
    assert first.classes == ("square", "round")
    assert not first.training
    assert not any(p.requires_grad for p in first.parameters())
    for level, expected in detector.features(images).items():
        error = (first.features(images)[level] - expected).norm() / expected.norm()
        assert float(error) < 0.01
    first.save(tmp_path / "second.safetensors")
    second = load_task(tmp_path / "second.safetensors")
    for one, other in zip(first.predict(list(images)), second.predict(list(images)), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_other_files_are_refused(tmp_path: Path, detector: DetectorTask) -> None:
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    detector.save(good)
    weights = load_file(good)
    settings = detector.settings

    def refused(message: str) -> None:
        with pytest.raises(ModelError, match=message):
            load_task(bad)

    refused("cannot be read")
    bad.write_bytes(b"garbage")
    refused("cannot be read")
    bad.write_bytes(good.read_bytes()[:-10])
    refused("cannot be read")
    save_file(weights, bad)
    refused("no task network")
    save_file(weights, bad, {"kind": "oracle"})
    refused("no task network")
    save_file(weights, bad, {"kind": detector.KIND, "settings": "{"})
    refused("cannot be read")
    save_file(weights, bad, {"kind": detector.KIND})
    refused("do not fit its description")
    own_kind = [{"mask_layers": ()}, {"hidden": 0}] if detector.KIND == "mask_rcnn" else [{"convolutions": 3}]
    for wrong in ({"channels": 16}, {"channels": 64}, {"classes": ("one",)}, *own_kind):
        described = settings.model_copy(update=wrong).model_dump_json()
        save_file(weights, bad, {"kind": detector.KIND, "settings": described})
        refused("do not fit its description")
    weights.pop(next(iter(weights)))
    save_file(weights, bad, {"kind": detector.KIND, "settings": settings.model_dump_json()})
    refused("do not fit its description")
    with pytest.raises(ModelError, match="cannot be read"):
        load_task(tmp_path)


def test_frozen_blocks_and_depthwise_kernels_do_not_learn(detector: DetectorTask) -> None:
    backbone = detector.requires_grad_(True).backbone
    backbone.freeze(2)
    learning = [name for name, p in backbone.body.named_parameters() if p.requires_grad]
    assert learning
    assert not any(name.startswith(("conv_stem", "blocks.0.", "blocks.1.")) for name in learning)
    assert all(p.shape[1] > 1 for name, p in backbone.body.named_parameters() if name in learning and p.ndim == 4)
