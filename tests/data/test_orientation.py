"""One convention per label file: where photos turned by a quarter tell it, the others follow."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from diptych.data.coco import CocoDataset

UNDO = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}
FIELD = (4, 2, 14, 8)


def dataset(folder: Path, photos: list[tuple[int, tuple[int, int]]], upright: bool) -> Path:
    """Photos of an orientation and an upright size, with a red field, and labels around that field."""
    images, annotations = [], []
    for number, (orientation, size) in enumerate(photos):
        picture = Image.new("RGB", size, (90, 90, 90))
        picture.paste((255, 0, 0), FIELD)
        undo = UNDO[orientation]
        stored = picture.transpose(undo) if undo is not None else picture
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        stored.save(folder / f"{number}.png", exif=exif)
        labelled = picture if upright else stored
        rows, columns = np.nonzero(np.asarray(labelled)[..., 1] == 0)
        box = [int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1]
        width, height = labelled.size
        images.append({"id": number, "file_name": f"{number}.png", "width": width, "height": height})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": box})
    labels = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "red"}]}
    (folder / "labels.json").write_text(json.dumps(labels))
    return folder / "labels.json"


AMBIGUOUS = [(1, (40, 30)), (2, (40, 30)), (3, (40, 30)), (4, (40, 30)), (6, (32, 32)), (3, (32, 32))]
TELLING = [(6, (40, 30)), (8, (30, 40))]


def means(data: CocoDataset) -> list[list[float]]:
    found = []
    for index in range(len(data)):
        x0, y0, x1, y1 = data.instances(index)[0][0].astype(int)
        found.append(data.photo(index)[y0:y1, x0:x1].reshape(-1, 3).mean(0).tolist())
    return found


@pytest.mark.parametrize("upright", [True, False])
@pytest.mark.parametrize("memory", [0, 1 << 30])
def test_photos_turned_by_a_quarter_tell_for_all(tmp_path: Path, upright: bool, memory: int) -> None:
    data = CocoDataset(tmp_path, dataset(tmp_path, AMBIGUOUS + TELLING, upright), memory=memory)
    assert means(data) == [[255, 0, 0]] * len(data)
    assert "Nothing tells" not in data.summary()


def test_photos_that_are_not_chosen_tell_as_well(tmp_path: Path) -> None:
    data = CocoDataset(tmp_path, dataset(tmp_path, AMBIGUOUS + TELLING, True), limit=len(AMBIGUOUS))
    assert means(data) == [[255, 0, 0]] * len(AMBIGUOUS)


def test_where_nothing_tells_the_photos_are_named(tmp_path: Path) -> None:
    data = CocoDataset(tmp_path, dataset(tmp_path, AMBIGUOUS, False))
    assert means(data) == [[255, 0, 0]] * len(data)  # as they lie, which is COCO's way
    assert "the labels of 5 photos that EXIF turns are upright: 1.png, 2.png, 3.png, 4.png, 5.png" in data.summary()
    assert data.problems == []
