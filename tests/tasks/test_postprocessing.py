"""Boxes of faces out of raw outputs, and two networks that nobody trained together on the same photos."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diptych.errors import ModelError
from diptych.tasks import load_task
from diptych.tasks.agreement import agreement
from diptych.tasks.descriptions import UltralightDecoder, YunetDecoder
from diptych.tasks.postprocessing import decode

REPOSITORY = Path(__file__).parents[2]
SHARED = REPOSITORY / ".." / "shared" / "data"
YUNET, ULTRALIGHT = YunetDecoder(kind="yunet"), UltralightDecoder(kind="ultralight")


def yunet(height: int, width: int) -> dict[str, np.ndarray]:
    """Outputs that find nothing."""
    cells = {stride: (height // stride) * (width // stride) for stride in (8, 16, 32)}
    sides = {"cls": 1, "obj": 1, "bbox": 4}
    return {f"{n}_{s}": np.zeros((1, count, k), np.float32) for n, k in sides.items() for s, count in cells.items()}


def test_boxes_of_yunet() -> None:
    outputs = yunet(64, 96)
    cell = 2 * 6 + 4  # row 2, column 4 of the 4 x 6 cells at stride 16
    outputs["cls_16"][0, cell], outputs["obj_16"][0, cell] = 0.81, 1
    outputs["bbox_16"][0, cell] = (0.5, 0.25, np.log(2), np.log(3))
    found = decode(YUNET, outputs, (64, 96), 1)
    assert found["scores"].tolist() == pytest.approx([0.9])
    assert found["labels"].tolist() == [1]
    x, y = 16 * 4.5, 16 * 2.25
    torch.testing.assert_close(found["boxes"], torch.tensor([[x - 16, y - 24, x + 16, y + 24]]))
    outputs["cls_16"][0, cell + 1], outputs["obj_16"][0, cell + 1] = 0.5, 1  # nearly the same box, less sure
    outputs["bbox_16"][0, cell + 1] = (-0.5, 0.25, np.log(2), np.log(3))
    assert len(decode(YUNET, outputs, (64, 96), 1)["boxes"]) == 1
    with pytest.raises(ModelError, match="an output 'cls_8'"):
        decode(YUNET, outputs, (64, 128), 1)
    with pytest.raises(ModelError, match="one class"):
        decode(YUNET, outputs, (64, 96), 2)


def test_boxes_of_ultralight() -> None:
    """A prior of the first level, one of the last, and offsets in tenths and fifths."""
    outputs = {"scores": np.zeros((1, 4420, 2), np.float32), "boxes": np.zeros((1, 4420, 4), np.float32)}
    first, last = 3 * (2 * 40 + 5) + 1, 4419  # row 2, column 5, side 16; row 3, column 4, side 256
    outputs["scores"][0, first, 1], outputs["scores"][0, last, 1] = 0.9, 0.8
    outputs["boxes"][0, first] = (5, 0, 5 * np.log(2), 0)
    found = decode(ULTRALIGHT, outputs, (240, 320), 1)
    x, y = 8 * 5.5 + 8, 8 * 2.5
    assert found["scores"].tolist() == pytest.approx([0.9, 0.8])
    torch.testing.assert_close(found["boxes"][0], torch.tensor([x - 16, y - 8, x + 16, y + 8]))
    assert found["boxes"][1].tolist() == [4.5 * 64 - 128, 3.5 * 64 - 128, 320, 240]
    with pytest.raises(ModelError, match=r"an output 'boxes' \(1, 4420"):
        decode(ULTRALIGHT, {"scores": outputs["scores"]}, (240, 320), 1)


@pytest.mark.slow
def test_two_networks_find_the_same_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (SHARED / "networks" / "yunet_n_dynamic.onnx").is_file():
        pytest.skip("needs ../shared/data")
    monkeypatch.chdir(REPOSITORY)
    one, other = (load_task(f"recipes/tasks/{name}.yaml") for name in ("yunet", "ultralight"))
    agreed = []
    for name in ("2008_000359", "2008_000673", "2008_001076", "2008_003546"):
        pixels = np.asarray(Image.open(SHARED / "voc" / "val" / f"{name}.jpg"))
        image = torch.tensor(pixels).permute(2, 0, 1).float() / 255
        agreed.append(agreement(one.predict([image])[0], other.predict([image])[0]))
    assert agreed == [1, 1, 1, 1]
