"""Open Images' tables and masks as COCO-format labels."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.data.coco import IGNORE, CocoDataset
from diptych.data.openimages import convert
from diptych.errors import RecipeError
from samples import picture

WIDTH, HEIGHT = 80, 60
BOX_COLUMNS = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
)
MASK_COLUMNS = "MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks"
FEW = "ImageID,LabelName,IsGroupOf,XMin,YMin,XMax,YMax"
CAT, DOG, TREE = "/m/01yrx", "/m/0bt9lr", "/m/07j7r"
Row = Sequence[object]


def box(image: str, code: str, x0: float, y0: float, x1: float, y1: float, group: int = 0) -> Row:
    return (image, "xclick", code, 1, x0, x1, y0, y1, 0, 0, group, 0, 0)


def mask(image: str, code: str, number: int, x0: float, y0: float, x1: float, y1: float) -> Row:
    name = f"{image}_{code[1:].replace('/', '')}_{number:08x}.png"
    return (name, image, code, f"{number:08x}", x0, x1, y0, y1, 0.8, "")


def write_csv(path: Path, header: str, rows: Sequence[Row]) -> Path:
    with open(path, "w", newline="") as file:
        file.write(f"{header}\n" if header else "")
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("train/a1", "train/b2", "c3"):
        path = tmp_path / "photos" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(WIDTH, HEIGHT).save(path)
    return tmp_path / "photos"


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "classes.csv", "LabelName,DisplayName", [(DOG, "Dog"), (CAT, "Cat")])


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    rows = [
        box("a1", CAT, 0.1, 0.2, 0.600000444, 0.7),
        box("a1", CAT, 0.11, 0.2, 0.62, 0.7),
        box("a1", DOG, 0.1, 0.2, 0.6, 0.7),
        box("b2", DOG, 0, 0, 1, 1, group=1),
        box("b2", TREE, 0, 0, 0.5, 1),
        box("zz", DOG, 0, 0, 1, 1),
    ]
    return write_csv(tmp_path / "boxes.csv", BOX_COLUMNS, rows)


def load(photos: Path, result: tuple, path: Path) -> CocoDataset:  # type: ignore[type-arg]
    labels, problems = result
    assert problems == []
    labels.write(path)
    data = CocoDataset(photos, path)
    assert data.problems == []
    return data


@pytest.mark.parametrize("header", [True, False])
def test_boxes_alone(tmp_path: Path, photos: Path, boxes: Path, classes: Path, header: bool) -> None:
    if not header:
        write_csv(classes, "", [(DOG, "Dog"), (CAT, "Cat")])
    data = load(photos, convert(photos, classes, boxes), tmp_path / "labels.json")
    assert data.classes == ("Dog", "Cat")
    assert [data.name(k) for k in range(len(data))] == ["train/a1.jpg", "train/b2.jpg"]
    found, labels, _ = data.instances(0, crowds=True)
    assert labels.tolist() == [2, 2, 1]
    assert np.allclose(found, [[8, 12, 48, 42], [8.8, 12, 49.6, 42], [8, 12, 48, 42]], atol=0.01)
    assert data.instances(1, crowds=True)[1].tolist() == [IGNORE]


def test_masks_join_their_boxes(tmp_path: Path, photos: Path, boxes: Path, classes: Path) -> None:
    rows = [
        mask("a1", CAT, 1, 0.110001, 0.2, 0.62, 0.7),
        mask("a1", DOG, 2, 0.1, 0.2, 0.6, 0.7),
        mask("b2", DOG, 3, 0.2, 0.2, 0.4, 0.4),
        mask("b2", TREE, 4, 0, 0, 0.5, 1),
        mask("zz", DOG, 5, 0, 0, 1, 1),
    ]
    masks = write_csv(tmp_path / "masks.csv", MASK_COLUMNS, rows)
    shape = np.zeros((HEIGHT // 2, WIDTH // 2), dtype=bool)
    shape[8:20, 6:22] = True
    for row in rows:
        path = tmp_path / "masks" / str(row[0])[0] / str(row[0])
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(shape).save(path)
    result = convert(photos, classes, boxes, masks, tmp_path / "masks")
    data = load(photos, result, tmp_path / "labels.json")
    found, labels, made = data.instances(0, crowds=True)
    assert labels.tolist() == [IGNORE, 2, 1]
    assert np.allclose(found[1], [8.8, 12, 49.6, 42], atol=0.01)
    expected = np.repeat(np.repeat(shape, 2, 0), 2, 1)
    assert np.array_equal(made[1], expected)
    assert np.array_equal(made[2], expected)
    found, labels, _ = data.instances(1, crowds=True)
    assert labels.tolist() == [IGNORE, 1]
    assert np.allclose(found[1], [16, 12, 32, 24], atol=0.01)


def test_missing_and_damaged_files_are_named(tmp_path: Path, photos: Path, boxes: Path, classes: Path) -> None:
    rows = [mask("a1", CAT, 1, 0.1, 0.2, 0.6, 0.7), mask("a1", DOG, 2, 0.1, 0.2, 0.6, 0.7)]
    masks = write_csv(tmp_path / "masks.csv", MASK_COLUMNS, rows)
    (tmp_path / str(rows[1][0])).write_bytes(b"no picture")
    (photos / "train" / "b2.jpg").write_bytes(b"no picture")
    labels, problems = convert(photos, classes, boxes, masks)
    assert (labels.photos, labels.instances) == (1, 3)
    assert [problem.split(" was left out")[0] for problem in problems] == [
        *(f"The mask {row[0]}" for row in rows),
        "Photo b2.jpg",
    ]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("boxes", "", "no column ImageID"),
        ("boxes", "ImageID,LabelName,IsGroupOf,XMin,YMin,XMax\n", "no column YMax"),
        ("boxes", f"{FEW}\na1,/m/01yrx,0,a,0,1,1\n", "no four numbers"),
        ("boxes", f"{FEW}\na1,/m/01yrx\n", "2 instead of 7"),
        (
            "boxes",
            f"{FEW}\nzz,/m/01yrx,0,0,0,1,1\n",
            "no box of the photos",
        ),
        ("boxes", b"\xff\xfe\x00", "cannot be read"),
        ("boxes", None, "cannot be read: no such file"),
        ("classes", "", "names no class"),
        ("classes", None, "cannot be read"),
    ],
)
def test_wrong_tables_are_refused(
    photos: Path, boxes: Path, classes: Path, file: str, content: str | bytes | None, message: str
) -> None:
    path = {"boxes": boxes, "classes": classes}[file]
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RecipeError, match=message):
        convert(photos, classes, boxes)
