"""Files of boxes: three kinds, photos found by name, and what cannot be meant."""

import json
from pathlib import Path
from typing import Any

import pytest

from diptych.errors import DiptychError
from diptych.io.boxes import read_boxes

SIZE = (640, 480)
BOX = [10.5, 20, 30, 40]
LABELS = {
    "images": [
        {"id": 7, "file_name": "b/a.jpg", "width": 640, "height": 480, "license": 1},
        {"id": 8, "file_name": "empty.jpg", "width": 640, "height": 480},
    ],
    "annotations": [{"image_id": 7, "bbox": BOX, "category_id": 3}, {"image_id": 7, "bbox": [1, 2, 3, 4]}],
}


def written(folder: Path, content: Any) -> Path:
    path = folder / "boxes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_list_holds_for_every_photo(tmp_path: Path) -> None:
    boxes = read_boxes(written(tmp_path, [BOX]))
    assert list(boxes.of(Path("any.jpg"), SIZE)) == [tuple(BOX)]
    assert list(boxes.of(Path("-"), SIZE)) == [tuple(BOX)]


def test_names_are_the_ends_of_paths_and_the_longest_counts(tmp_path: Path) -> None:
    boxes = read_boxes(written(tmp_path, {"a.jpg": [[1, 1, 1, 1]], "b/a.jpg": [BOX], "none.jpg": []}))
    for photo, found in {
        "a.jpg": [(1, 1, 1, 1)],
        "/photos/c/a.jpg": [(1, 1, 1, 1)],
        "/photos/b/a.jpg": [tuple(BOX)],
        "none.jpg": [],
        "other.jpg": [],
        "photos/aa.jpg": [],
    }.items():
        assert list(boxes.of(Path(photo), SIZE)) == found


def test_labels_in_coco_format(tmp_path: Path) -> None:
    boxes = read_boxes(written(tmp_path, LABELS))
    assert list(boxes.of(Path("photos/b/a.jpg"), SIZE)) == [tuple(BOX), (1, 2, 3, 4)]
    assert list(boxes.of(Path("empty.jpg"), SIZE)) == []
    with pytest.raises(DiptychError, match="tells of a photo of 640 x 480 pixels; upright, this one has 480 x 640"):
        boxes.of(Path("b/a.jpg"), (480, 640))


@pytest.mark.parametrize("box", [[640, 0, 9, 9], [0, 480, 9, 9], [-9, 5, 9, 9], [5, -9, 9, 9]])
def test_boxes_beside_the_photo_are_refused(tmp_path: Path, box: list[float]) -> None:
    boxes = read_boxes(written(tmp_path, [[0, 0, 5, 5], box]))
    with pytest.raises(DiptychError, match="is outside the photo of 640 x 480: a box is x, y, width, height"):
        boxes.of(Path("a.jpg"), SIZE)


@pytest.mark.parametrize("box", [[-9, -9, 10, 10], [639, 479, 50, 50]])
def test_boxes_may_reach_beyond_the_photo(tmp_path: Path, box: list[float]) -> None:
    assert list(read_boxes(written(tmp_path, [box])).of(Path("a.jpg"), SIZE)) == [tuple(box)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[[1, 2, 3", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        (5, "at '', input should be a valid dictionary"),
        ([[1, 2, 3]], "at '0.3', field required"),
        ([[1, 2, 3, 0]], "at '0.3', input should be greater than 0"),
        ([[1, 2, 3, "wide"]], "at '0.3', input should be a valid number"),
        ("[[1, 2, 3, NaN]]", "at '0.3'"),
        ("[[Infinity, 2, 3, 4]]", "at '0.0', input should be a finite number"),
        ({"a.jpg": [1, 2, 3, 4]}, "at 'a.jpg.0'"),
        ({"images": [{"id": 1}], "annotations": []}, "at 'images.0.file_name', field required"),
        (LABELS | {"annotations": [{"image_id": 9, "bbox": BOX}]}, "a box in the photo 9, which it does not list"),
    ],
)
def test_what_holds_no_boxes(tmp_path: Path, content: Any, said: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(DiptychError) as raised:
        read_boxes(path)
    assert said in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DiptychError, match=r"cannot read .*boxes.json: no such file"):
        read_boxes(tmp_path / "boxes.json")
