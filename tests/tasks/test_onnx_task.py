"""A user's own network in ONNX: features, gradients, detections, and everything that is refused at the start."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from diptych.data.coco import CocoDataset
from diptych.errors import DiptychError, ModelError, RecipeError
from diptych.evaluation.average_precision import AveragePrecision, Precision
from diptych.evaluation.task_scores import TaskAccuracy
from diptych.nn.losses import feature_distance
from diptych.tasks import Task, load_task
from diptych.tasks.agreement import agreement
from diptych.tasks.descriptions import NanodetDecoder
from diptych.tasks.onnx_graph import at_size
from diptych.tasks.postprocessing import decode

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx2torch")

from onnx import TensorProto, helper  # noqa: E402

from .graphs import conv, describe, pyramid, write  # noqa: E402

REPOSITORY = Path(__file__).parents[2]
SHARED = REPOSITORY.parent / "shared" / "data"
KEEP = {"resize": "keep", "multiple": 8}


def task(folder: Path, nodes: Any, kernels: Any, shape: Any, input: Any = KEEP, **settings: Any) -> Any:
    return load_task(describe(write(folder / "net.onnx", nodes, kernels, shape), input=dict(input), **settings))


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_features_reach_the_picture(tmp_path: Path) -> None:
    network = task(tmp_path, *pyramid())
    images = pictures(2, 3, 48, 64)
    seen = (images + 0.1 * torch.randn_like(images)).requires_grad_()
    levels = network.features(seen)
    assert {name: tuple(level.shape) for name, level in levels.items()} == {
        "four_on": (2, 6, 12, 16),
        "eight_on": (2, 8, 6, 8),
    }
    distance = feature_distance(network.features(images), levels)
    assert distance.shape == (2,)
    assert (distance > 0).all()
    (gradient,) = torch.autograd.grad(distance.sum(), seen)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().amax((1, 2, 3)).min() > 0
    assert feature_distance(network.features(images), network.features(images)).max() == 0
    assert network.loss(seen, [], levels) == {}
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


def test_a_graph_for_one_picture_takes_a_batch(tmp_path: Path) -> None:
    nodes, kernels, _ = pyramid()
    both = [
        load_task(describe(write(tmp_path / f"{k}.onnx", nodes, kernels, shape), input={"size": [32, 40]}))
        for k, shape in enumerate([(1, 3, 32, 40), ("n", 3, 32, 40)])
    ]
    images = pictures(3, 3, 50, 33)
    one, other = (network.features(images) for network in both)
    for name, level in one.items():
        assert len(level) == 3
        torch.testing.assert_close(level, other[name])


def test_named_tensors_and_raw_outputs(tmp_path: Path) -> None:
    network = task(tmp_path, *pyramid(), features=["head", "two"])
    image = pictures(1, 3, 32, 40)
    levels = network.features(image)
    assert list(levels) == ["head", "two"]
    (raw,) = network.predict([image[0]])
    torch.testing.assert_close(raw["map"], levels["head"].sigmoid(), rtol=1e-4, atol=1e-5)


def test_without_convolutions_the_outputs_count(tmp_path: Path) -> None:
    nodes = [helper.make_node("GlobalAveragePool", ["picture"], ["map"])]
    assert list(task(tmp_path, nodes, [], ("n", 3, "h", "w")).features(pictures(1, 3, 32, 32))) == ["map"]


@pytest.mark.parametrize("how", ["SAME_UPPER", "SAME_LOWER"])
def test_automatic_padding(tmp_path: Path, how: str) -> None:
    network = task(tmp_path, *pyramid(auto_pad=how, pads=None))
    assert network.features(pictures(1, 3, 32, 32))["eight_on"].shape == (1, 8, 4, 4)


def test_input_is_prepared_as_described(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["picture", "one"], ["map"])]
    one = onnx.numpy_helper.from_array(np.ones((), np.float32), "one")
    how = {"channels": "bgr", "white": 255, "mean": [1, 2, 3], "std": [4, 5, 6], "layout": "nhwc", "size": [4, 6]}
    network = task(tmp_path, nodes, [one], ("n", "h", "w", 3), input=how)
    image = pictures(1, 3, 4, 6)
    wanted = (image.flip(1) * 255 - torch.tensor([1, 2, 3])[:, None, None]) / torch.tensor([4, 5, 6])[:, None, None]
    torch.testing.assert_close(network.features(image)["map"], wanted.permute(0, 2, 3, 1))
    torch.testing.assert_close(network.predict([image[0]])[0]["map"], wanted.permute(0, 2, 3, 1))


def refused(folder: Path, message: str, *graph: Any, **settings: Any) -> None:
    with pytest.raises(ModelError, match=message) as raised:
        task(folder, *graph, **settings)
    assert "\n" not in str(raised.value)
    assert "net.onnx" in str(raised.value)


def test_damaged_graphs(tmp_path: Path) -> None:
    path = write(tmp_path / "net.onnx", *pyramid())
    whole, description = path.read_bytes(), describe(path, input=KEEP)
    for content in (b"", b"garbage", whole[: len(whole) // 2], whole[:100] + bytes(50) + whole[150:]):
        path.write_bytes(content)
        with pytest.raises(ModelError, match="cannot be read"):
            load_task(description)
    path.unlink()
    with pytest.raises(ModelError, match="There is no file"):
        load_task(description)


def test_unsupported_operators_are_named(tmp_path: Path) -> None:
    nodes, kernels, shape = pyramid()
    nodes[1] = helper.make_node("Shrink", ["two"], ["two_on"])
    nodes[3] = helper.make_node("ThresholdedRelu", ["four"], ["four_on"])
    refused(tmp_path, "cannot convert: Shrink, ThresholdedRelu", nodes, kernels, shape)
    assert task(tmp_path, nodes, kernels, shape, features=["two"])


def test_a_conversion_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    graph = pyramid((1, 3, 33, 33), auto_pad="SAME_UPPER", pads=None)
    refused(tmp_path, "differently", *graph, input={})


def test_graphs_without_a_gradient(tmp_path: Path) -> None:
    nodes, kernels, shape = pyramid()
    nodes[1] = helper.make_node("Sign", ["two"], ["two_on"])
    refused(tmp_path, "No gradient", nodes, kernels, shape)


def test_graphs_that_take_something_else(tmp_path: Path) -> None:
    nodes, kernels, _ = pyramid()
    refused(
        tmp_path, "takes 4 channels", [conv("picture", "map", 4, 2)[0]], [conv("", "map", 4, 2)[1]], (1, 4, 8, 8)
    )
    refused(tmp_path, "takes 2 pictures", nodes, kernels, (2, 3, 32, 32), input={})
    refused(tmp_path, "size open", nodes, kernels, ("n", 3, "h", "w"), input={})
    refused(tmp_path, "32x40 pixels only, not 32x32", nodes, kernels, (1, 3, 32, 40), input={"size": [32, 32]})
    refused(tmp_path, "'keep' is not possible", nodes, kernels, (1, 3, 32, 40))
    refused(tmp_path, "no tensor 'five'", nodes, kernels, ("n", 3, "h", "w"), features=["five"])
    cast = [helper.make_node("Cast", ["picture"], ["map"], to=TensorProto.FLOAT)]
    path = write(tmp_path / "net.onnx", cast, [], kind=TensorProto.UINT8)
    with pytest.raises(ModelError, match="takes uint8 of 4 axes"):
        load_task(describe(path))
    split = [helper.make_node("Split", ["picture"], ["left", "map"], axis=3)]
    refused(tmp_path, "one of several", split, [], (1, 3, 8, 8), input={}, features=["left"])


def test_decoders_want_their_outputs_and_classes(tmp_path: Path) -> None:
    message = r"\(1, 7, height, width\), but the network gives \(1, 1, 24, 32\)"
    with pytest.raises(ModelError, match=message):
        task(tmp_path, *pyramid(), decoder={"kind": "fastestdet"}, classes=["a", "b"])
    with pytest.raises(ModelError, match="finds one class, but 2 are named"):
        task(tmp_path, *pyramid(), decoder={"kind": "dbnet"}, classes=["a", "b"])


def test_a_graph_that_has_one_picture_built_in_takes_a_batch(tmp_path: Path) -> None:
    nodes, kernels, shape = pyramid()
    nodes[0].input[0] = "one"
    nodes.insert(0, helper.make_node("Reshape", ["picture", "sides"], ["one"]))
    kernels.append(onnx.numpy_helper.from_array(np.array([1, 3, 32, -1], np.int64), "sides"))
    network = task(tmp_path, nodes, kernels, shape, input={"size": [32, 40]})
    assert network.features(pictures(3, 3, 32, 40))["eight_on"].shape == (3, 8, 4, 5)


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"input": {"std": [1, 0, 1]}}, "std must be above 0"),
        ({"input": {"resize": "keep", "size": [32, 32]}}, "exclude each other"),
        ({"input": {"channels": "rgba"}}, "input.channels"),
        ({"decoder": {"kind": "yolo"}}, "decoder"),
        ({"kind": "caffe"}, "kind"),
        ({"surprise": 1}, "surprise"),
        ({"network": None}, "network"),
    ],
)
def test_descriptions_are_checked(tmp_path: Path, settings: dict[str, Any], where: str) -> None:
    with pytest.raises(RecipeError, match=where):
        load_task(describe(tmp_path / "net.onnx", **settings))


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("diptych.tasks.onnx_task", "diptych.tasks.onnx_graph"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "onnx2torch", None)
    with pytest.raises(DiptychError, match=r"needs the package 'onnx2torch': pip install 'diptych\[train,onnx\]'"):
        task(tmp_path, *pyramid())


def test_class_names_from_a_file(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("cat\nhot dog\n\n")
    assert task(tmp_path, *pyramid(), classes=str(names), rename={"cat": "kitty"}).classes == ("kitty", "hot dog")
    with pytest.raises(ModelError, match="no class 'dog'"):
        task(tmp_path, *pyramid(), classes=str(names), rename={"dog": "puppy"})
    names.write_text("\n")
    with pytest.raises(ModelError, match="are empty"):
        task(tmp_path, *pyramid(), classes=str(names))


def score_on(photos: CocoDataset, network: Task) -> Precision:
    accuracy = TaskAccuracy(network, photos.truth(), "bbox", 1)
    return AveragePrecision([accuracy(name, [photos.photo(k)])[0] for k, name in enumerate(photos.ids)]).over()


@pytest.mark.slow
def test_fastestdet_sees_as_well_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """On 100 photos; on all 400 it has an AP50 of 0.555 (0.544 with boxes that may leave the picture)."""
    if not (SHARED / "networks" / "fastestdet.onnx").is_file():
        pytest.skip("needs ../shared/data")
    monkeypatch.chdir(REPOSITORY)
    network = load_task("recipes/tasks/fastestdet.yaml")
    photos = CocoDataset(SHARED / "voc" / "val", SHARED / "voc" / "val.json", limit=100)
    assert score_on(photos, network) == pytest.approx((0.390, 0.648), abs=0.01)


def test_boxes_of_nanodet() -> None:
    """Two cells that are sure: one by odds for whole strides, one between two."""
    canvas, classes = (64, 96), 3
    outputs = {f"p{s}": np.zeros((1, 6144 // s**2, classes), np.float32) for s in (8, 16)}
    outputs |= {f"d{s}": np.full((1, 6144 // s**2, 32), -50, np.float32) for s in (8, 16)}
    fine, coarse = 3 * 12 + 5, 2 * 6 + 1  # row 3, column 5 of 8 x 12 cells; row 2, column 1 of 4 x 6
    outputs["p8"][0, fine] = (0.02, 0.9, 0.3)
    outputs["p8"][0, fine + 1, 1] = 0.8  # nearly the same box, less sure
    outputs["p16"][0, coarse, 2] = 0.7
    for cell, bins in ((fine, (2, 1, 3, 2)), (fine + 1, (3, 1, 2, 2))):
        outputs["d8"][0, cell, [8 * side + k for side, k in enumerate(bins)]] = 50
    halves = [8 * side + k for side in range(4) for k in (0, 1)]
    outputs["d16"][0, coarse, halves] = 50
    found = decode(NanodetDecoder(kind="nanodet"), outputs, canvas, classes)
    assert found["labels"].tolist() == [2, 3, 3]
    assert found["scores"].tolist() == pytest.approx([0.9, 0.7, 0.3])
    box = [43.5 - 16, 27.5 - 8, 43.5 + 24, 27.5 + 16]
    torch.testing.assert_close(found["boxes"], torch.tensor([box, [15.5, 31.5, 31.5, 47.5], box]))
    best = decode(NanodetDecoder(kind="nanodet", most=1), outputs, canvas, classes)
    assert best["labels"].tolist() == [2]
    with pytest.raises(ModelError, match="no stride at which 64 x 64 pixels are 96 cells"):
        decode(NanodetDecoder(kind="nanodet"), outputs, (64, 64), classes)
    with pytest.raises(ModelError, match=r"reads outputs \(1, cells, 4\)"):
        decode(NanodetDecoder(kind="nanodet"), outputs, canvas, 4)


def test_boxes_of_nanodet_stay_in_the_picture() -> None:
    outputs = {"p": np.full((1, 6, 1), 0.9, np.float32), "d": np.zeros((1, 6, 32), np.float32)}
    outputs["d"][..., 7::8] = 50  # seven strides every way
    found = decode(NanodetDecoder(kind="nanodet"), outputs, (60, 90), 1)
    assert found["boxes"].tolist() == [[0, 0, 90, 60]]


@pytest.mark.slow
def test_nanodet_sees_as_well_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """On 40 photos; on all 400 it has an AP50 of 0.715."""
    if not (SHARED / "networks" / "nanodet_m_416.onnx").is_file():
        pytest.skip("needs ../shared/data")
    monkeypatch.chdir(REPOSITORY)
    network = load_task("recipes/tasks/nanodet.yaml")
    photos = CocoDataset(SHARED / "voc" / "val", SHARED / "voc" / "val.json", limit=40)
    assert score_on(photos, network).ap50 == pytest.approx(0.741, abs=0.01)


def written(lines: list[tuple[int, int, str]]) -> Image.Image:
    """A page with lines of text at the given places."""
    page = Image.new("RGB", (400, 300), (235, 230, 215))
    for x, y, line in lines:
        ImageDraw.Draw(page).text((x, y), line, (30, 30, 60), font=ImageFont.load_default(26))
    return page


@pytest.mark.slow
def test_text_detector_of_rapidocr() -> None:
    pytest.importorskip("rapidocr")
    network = load_task(REPOSITORY / "recipes" / "tasks" / "rapidocr.yaml")
    lines = [(30, 30, "machines read this"), (60, 120, "and people"), (150, 220, "read it too")]
    image = torch.tensor(np.asarray(written(lines))).permute(2, 0, 1).float() / 255
    (found,) = network.predict([image])
    assert network.classes == ("text",)
    assert len(found["boxes"]) == 3
    for (x, y, line), box in zip(lines, found["boxes"][found["boxes"][:, 1].argsort()].tolist(), strict=True):
        width = ImageFont.load_default(26).getlength(line)
        assert box == pytest.approx([x, y, x + width, y + 26], abs=14)
    blurred = torch.nn.functional.avg_pool2d(image[None], 25, 1, 12)[0]
    clear, lost = (network.predict([picture])[0] for picture in (image, blurred))
    assert agreement(found, clear) == 1
    assert agreement(found, lost) < 1
    seen = image[None].requires_grad_()
    levels = network.features(seen)
    assert [400 // level.shape[3] for level in levels.values()] == [4, 8, 16, 33]
    (gradient,) = torch.autograd.grad(sum(level.square().sum() for level in levels.values()), seen)
    assert gradient.abs().max() > 0


@pytest.mark.slow
def test_a_graph_for_one_size_computes_the_same_without_looking_at_shapes() -> None:
    pytest.importorskip("rapidocr")
    task = load_task(Path(__file__).parents[2] / "recipes/tasks/rapidocr.yaml")
    x = torch.rand(2, 3, 64, 96, requires_grad=True)
    sized = at_size(task.net, x.detach())
    results = [dict(network(x)) for network in (task.net, sized)]
    gradients = [torch.autograd.grad(sum(v.square().mean() for v in found.values()), x)[0] for found in results]
    assert all(torch.equal(results[0][name], results[1][name]) for name in task.net.names)
    assert torch.equal(*gradients)
    assert not [node for node in sized.graph.nodes if "size" in str(node.target)]


@pytest.mark.parametrize("opset", [13, 17, 18, 19, 20, 21, 22])
def test_every_opset_up_to_todays(tmp_path: Path, opset: int) -> None:
    """What exporters write by default, and onnx2torch does not know by itself."""
    node, kernel = conv("picture", "two", 3, 4, 2)
    last, other = conv("wide", "map", 4, 1)
    nodes = [node, helper.make_node("Resize", ["two", "", "scales"], ["wide"], mode="nearest"), last]
    scales = onnx.numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
    path = write(tmp_path / "net.onnx", nodes, [kernel, other, scales])
    proto = onnx.load(path)
    proto.opset_import[0].version = opset
    proto.ir_version = min(10, onnx.IR_VERSION)
    onnx.save(proto, path)
    network = load_task(describe(path, input=KEEP, features=["map"]))
    images = pictures(1, 3, 32, 32).requires_grad_()
    [found] = network.features(images).values()
    assert found.shape == (1, 1, 32, 32)
    found.sum().backward()
    assert images.grad is not None
    assert bool(images.grad.any())


def test_a_new_operator_is_refused_with_the_opset_to_export(tmp_path: Path) -> None:
    node, kernel = conv("picture", "two", 3, 4, 2)
    path = write(tmp_path / "net.onnx", [node, helper.make_node("Gelu", ["two"], ["map"])], [kernel])
    proto = onnx.load(path)
    proto.opset_import[0].version = 20
    onnx.save(proto, path)
    with pytest.raises(ModelError, match=r"cannot convert: .*Gelu.* It is of opset 20: export it with opset 17\."):
        load_task(describe(path, input=KEEP, features=["map"]))
