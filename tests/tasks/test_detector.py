"""The shipped task network without PyTorch finds what it finds with it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from diptych.codec.defaults import CAT, TASK
from diptych.codec.engine.graphs import Engine
from diptych.codec.engine.onnx import OnnxRuntime
from diptych.codec.engine.openvino import OpenVino
from diptych.codec.engine.torch import Torch
from diptych.errors import ModelError
from diptych.tasks import load_task
from diptych.tasks.detector import Detector, shipped_detector
from diptych.tasks.fcos import FcosTask
from diptych.tasks.mask_rcnn import MaskRCNNTask
from samples import picture

ENGINES: dict[str, Engine] = {"openvino": OpenVino(), "onnxruntime": OnnxRuntime(), "torch": Torch()}
PHOTOS = Path(__file__).parents[3] / "shared" / "data" / "voc" / "val"
NAMES = ("2008_000009", "2008_000073", "2008_000120", "2008_000223")
Found = dict[str, np.ndarray]


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), np.float32).transpose(2, 0, 1) / 255


def both(detector: Detector, task: MaskRCNNTask, image: np.ndarray) -> tuple[Found, Found]:
    """What both find with a score above 0.5, beside the number of all."""
    [ours], [theirs] = detector.predict([image]), task.predict([torch.from_numpy(image)])
    arrays = {name: value.numpy() for name, value in theirs.items()}
    assert {k: (v.dtype, v.shape[1:]) for k, v in ours.items()} == {
        k: (v.dtype, v.shape[1:]) for k, v in arrays.items()
    }
    assert len(ours["scores"]) == pytest.approx(len(arrays["scores"]), abs=1)
    first, second = ({k: v[f["scores"] > 0.5] for k, v in f.items()} for f in (ours, arrays))
    return first, second


def assert_same(ours: Found, theirs: Found) -> None:
    assert ours["labels"].tolist() == theirs["labels"].tolist()
    assert np.allclose(ours["boxes"], theirs["boxes"], atol=0.05)
    assert np.allclose(ours["scores"], theirs["scores"], atol=1e-3)
    first, second = ours["masks"] > 0.5, theirs["masks"] > 0.5
    common, either = ((a).sum((1, 2, 3)) for a in (first & second, first | second))
    assert (common >= 0.95 * either).all()


@pytest.fixture(scope="module")
def trained() -> MaskRCNNTask:
    task: MaskRCNNTask = load_task(TASK)
    return task


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_the_cat_at_any_size(trained: MaskRCNNTask, engine: str) -> None:
    detector, cat = Detector.load(TASK, ENGINES[engine]), Image.open(CAT)
    assert detector.classes == trained.classes
    for size in (cat.size, (767, 511), (200, 333), (97, 90)):
        ours, theirs = both(detector, trained, pixels(cat.resize(size)))
        assert "cat" in [detector.classes[label - 1] for label in ours["labels"]]
        assert_same(ours, theirs)


@pytest.mark.slow
@pytest.mark.skipif(not PHOTOS.is_dir(), reason="there are no photos")
@pytest.mark.parametrize("name", NAMES)
def test_photos(trained: MaskRCNNTask, name: str) -> None:
    photo = Image.open(PHOTOS / f"{name}.jpg")
    for image in (photo, photo.resize((851, 611)), photo.crop((3, 5, 336, 98)), photo.rotate(90, expand=True)):
        ours, theirs = both(shipped_detector(), trained, pixels(image))
        assert_same(ours, theirs)
        if image is photo:
            assert len(ours["labels"])


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (3, 200), (97, 31), (64, 64), (4, 256), (5, 321), (1000, 2)])
def test_a_network_of_another_shape(tmp_path: Path, network: MaskRCNNTask, size: tuple[int, int]) -> None:
    with torch.no_grad():  # scores far apart, so that the last digit decides nothing
        network.net.rpn.head.cls_logits.weight.normal_()
        network.net.roi_heads.box_predictor.cls_score.weight.normal_()
    network.save(tmp_path / "own.safetensors")
    again = load_task(tmp_path / "own.safetensors")
    assert_same(*both(Detector.load(tmp_path / "own.safetensors"), again, pixels(picture(*size))))


def test_files_that_are_no_detector(tmp_path: Path, boxer: FcosTask) -> None:
    boxer.save(tmp_path / "fcos.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    shape = {"classes": ["cat"]}
    kinds = {"kind": "mask_rcnn", "settings": json.dumps(shape)}
    save_file({"net.one": np.zeros(1, np.float16)}, tmp_path / "few.safetensors", kinds)
    kinds["settings"] = json.dumps({"classes": ["cat"], "size": -1})
    save_file({"net.one": np.zeros(1, np.float16)}, tmp_path / "odd.safetensors", kinds)
    for name, said in {
        "none": "cannot be read",
        "text": "cannot be read",
        "fcos": "holds no Mask R-CNN",
        "few": "its weights do not fit its description",
        "odd": "cannot be used",
    }.items():
        with pytest.raises(ModelError, match=said) as caught:
            Detector.load(tmp_path / f"{name}.safetensors")
        assert f"{name}.safetensors" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_predicting_imports_no_torch() -> None:
    program = """
import sys
import diptych.report.demo, diptych.tasks.view_hint, diptych.tasks
from diptych.tasks.detector import shipped_detector
shipped_detector()
print([name for name in ("torch", "onnx", "onnxruntime", "scipy", "pycocotools") if name in sys.modules])
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stdout == "[]\n", ended.stderr
