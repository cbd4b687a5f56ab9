"""Cityscapes' pictures of numbers as COCO-format labels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.data.cityscapes import convert
from diptych.data.coco import IGNORE, CocoDataset
from diptych.errors import RecipeError
from samples import picture

ROAD, PERSON, CAR, CARAVAN = 7, 24, 26, 29


def write(root: Path, name: str, numbers: np.ndarray, split: str = "val") -> None:
    """A frame of the city ``name`` begins with, and its numbers as the 16-bit picture of the data set."""
    city = name.partition("_")[0]
    height, width = numbers.shape
    for kind, suffix in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_instanceIds")):
        (root / kind / split / city).mkdir(parents=True, exist_ok=True)
        image = picture(width, height) if kind == "leftImg8bit" else Image.fromarray(numbers.astype(np.uint16))
        image.save(root / kind / split / city / f"{name}_{suffix}.png")


def street() -> np.ndarray:
    numbers = np.full((32, 64), ROAD)
    numbers[2:12, 3:8] = PERSON * 1000
    numbers[2:12, 20:26] = PERSON * 1000 + 1
    numbers[20:30, 10:40] = CAR * 1000
    numbers[20:30, 22:26] = ROAD
    numbers[0:10, 40:60] = PERSON
    numbers[20:30, 50:60] = CARAVAN * 1000
    return numbers


def test_instances_groups_and_what_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, "aachen_000000_000019", street())
    write(tmp_path, "bonn_000001_000019", np.full((32, 64), ROAD))
    labels, problems = convert(tmp_path, "val")
    assert problems == []
    labels.write(tmp_path / "labels.json")
    data = CocoDataset(tmp_path / "leftImg8bit" / "val", tmp_path / "labels.json")
    assert data.problems == []
    assert data.classes == ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
    assert [data.name(k) for k in range(len(data))] == [
        "aachen/aachen_000000_000019_leftImg8bit.png",
        "bonn/bonn_000001_000019_leftImg8bit.png",
    ]
    boxes, found, masks = data.instances(0, crowds=True)
    assert found.tolist() == [IGNORE, 1, 1, 3]
    assert boxes.tolist() == [[40, 0, 60, 10], [3, 2, 8, 12], [20, 2, 26, 12], [10, 20, 40, 30]]
    for mask, number in zip(masks, (PERSON, PERSON * 1000, PERSON * 1000 + 1, CAR * 1000), strict=True):
        assert np.array_equal(mask, street() == number)
    assert data.labels(1) == []


def test_frames_without_usable_numbers_are_named(tmp_path: Path) -> None:
    for number in range(4):
        write(tmp_path, f"ulm_{number:06}_000019", street(), "train")
    truth = tmp_path / "gtFine/train/ulm"
    (truth / "ulm_000000_000019_gtFine_instanceIds.png").unlink()
    (truth / "ulm_000001_000019_gtFine_instanceIds.png").write_bytes(b"no picture")
    picture(64, 32).save(truth / "ulm_000002_000019_gtFine_instanceIds.png")
    labels, problems = convert(tmp_path, "train")
    assert (labels.photos, labels.instances) == (1, 4)
    assert [problem.partition(" was left out")[0] for problem in problems] == [
        f"Photo ulm_{number:06}_000019_leftImg8bit.png" for number in range(3)
    ]
    (truth / "ulm_000003_000019_gtFine_instanceIds.png").unlink()
    with pytest.raises(RecipeError, match="no such file"):
        convert(tmp_path, "train")


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no photos"):
        convert(tmp_path, "train")
