"""COCO-format labels: what they become, and what is left out of them."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

from diptych.data.coco import IGNORE, CocoDataset, repeated
from diptych.data.sampling import in_validation
from diptych.errors import PictureError, RecipeError
from labels import CATEGORIES, compressed, rectangle, uncompressed, write_dataset

PHOTO = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def read(folder: Path, annotations: list[Any], photos: int = 1, **options: Any) -> CocoDataset:
    return CocoDataset(folder, write_dataset(folder, [PHOTO] * photos, annotations), **options)


def test_photos_and_instances(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), dtype=np.uint8)
    mask[3:9, 4:14] = 1
    forms = [[[4, 3, 14, 3, 14, 9, 4, 9]], uncompressed(mask), compressed(mask)]
    data = read(tmp_path, [rectangle(4, 3, 10, 6, id=k, segmentation=form) for k, form in enumerate(forms)])
    assert data.problems == []
    assert (len(data), data.ids, data.name(0)) == (1, [1], "1.png")
    assert np.array_equal(data.photo(0), PHOTO)
    boxes, labels, masks = data.instances(0)
    assert (boxes.dtype, labels.dtype, masks.dtype) == (np.float32, np.int64, np.uint8)
    assert boxes.tolist() == [[4, 3, 14, 9]] * 3
    assert all(np.array_equal(found, mask) for found in masks)
    target = data.target(0)
    assert {name: tuple(value.shape) for name, value in target.items()} == {
        "boxes": (3, 4),
        "labels": (3,),
        "masks": (3, 20, 30),
    }


def test_labels_count_from_one_in_the_order_of_the_category_ids(tmp_path: Path) -> None:
    data = read(tmp_path, [rectangle(4, 3, 10, 6, category_id=7), rectangle(4, 3, 10, 6)])
    assert data.classes == ("square", "round")
    assert data.labels(0) == [2, 1]
    assert [c["id"] for c in data.truth().dataset["categories"]] == [1, 2]
    assert [a["category_id"] for a in data.truth().dataset["annotations"]] == [2, 1]


def test_crowds_are_neither_examples_nor_forgotten(tmp_path: Path) -> None:
    data = read(tmp_path, [rectangle(4, 3, 10, 6, iscrowd=1), rectangle(1, 1, 5, 5)])
    assert data.labels(0) == data.instances(0)[1].tolist() == data.target(0)["labels"].tolist() == [1]
    assert data.instances(0, crowds=True)[1].tolist() == [IGNORE, 1]
    assert [a["iscrowd"] for a in data.truth().dataset["annotations"]] == [1, 0]


def test_photos_without_instances_stay(tmp_path: Path) -> None:
    data = read(tmp_path, [], photos=2)
    assert [tuple(part.shape) for part in data.instances(1)] == [(0, 4), (0,), (0, 20, 30)]
    assert data.truth().getAnnIds() == []


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (rectangle(4, 3, 10, 6, id=9, category_id=99), "9 .*unknown category 99"),
        (rectangle(4, 3, 10, 6, id=9, bbox=[4, 3, 0, 6]), "9 .*empty"),
        (rectangle(4, 3, 10, 6, id=9, bbox=[4, 3, 10, -6]), "9 .*empty"),
        (rectangle(4, 3, 10, 6, id=9, bbox=[30, 3, 10, 6]), "9 .*outside the photo"),
        (rectangle(4, 3, 10, 6, id=9, bbox=[4, -9, 10, 9.5]), "9 .*outside the photo"),
        (rectangle(4, 3, 10, 6, id=9, bbox=[4, 3, float("inf"), 6]), "9 .*bbox.*finite"),
        (rectangle(4, 3, 10, 6, id=9, bbox=[float("nan"), 3, 10, 6]), "9 .*bbox.*finite"),
        (rectangle(4, 3, 10, 6, id=9, bbox=[4, 3]), "9 .*bbox"),
        (rectangle(4, 3, 10, 6, id=9, bbox=None), "9 .*bbox"),
        (rectangle(4, 3, 10, 6, id=9, iscrowd="many"), "9 .*iscrowd"),
        (rectangle(4, 3, 10, 6, id=9, segmentation=[[4, 3, 14, 3]]), "9 .*three points"),
        (rectangle(4, 3, 10, 6, id=9, segmentation=[4, 3, 14, 3, 14, 9]), "9 .*neither polygons"),
        (rectangle(4, 3, 10, 6, id=9, segmentation={"size": [20, 30]}), "9 .*neither polygons"),
        (rectangle(4, 3, 10, 6, id=9, segmentation=[[40, 3, 50, 3, 50, 9, 40, 9]]), "9 .*empty"),
        (rectangle(4, 3, 10, 6, id=9, segmentation={"size": [20, 30], "counts": [5, 5]}), "9 .*cover"),
        (rectangle(4, 3, 10, 6, id=9, segmentation={"size": [20, 30], "counts": [600]}), "9 .*empty"),
        (rectangle(4, 3, 10, 6, id=9, image_id=[1]), "9 "),
        ({"id": 9, "image_id": 1, "category_id": 3}, "9 of 1.png .*bbox: Field required"),
        ({"segmentation": []}, "number 1 .*image_id: Field required"),
        (rectangle(4, 3, 10, 6, id=1), "1 of 1.png .*twice"),
        ("nonsense", "number 1 "),
    ],
)
def test_bad_annotations_are_left_out_and_named(tmp_path: Path, annotation: Any, reason: str) -> None:
    good = rectangle(4, 3, 10, 6, id=1)
    data = read(tmp_path, [good, annotation, good | {"id": 2}])
    assert data.labels(0) == [1, 1]
    (problem,) = data.problems
    assert re.match(f"Annotation {reason}", problem), problem


def test_boxes_without_a_mask_stand_for_it(tmp_path: Path) -> None:
    forms: list[dict[str, Any]] = [{"segmentation": []}, {"segmentation": None}, {}]
    boxes = [{k: v for k, v in rectangle(4, 3, 10, 6).items() if k != "segmentation"} | form for form in forms]
    data = read(tmp_path, boxes)
    assert data.problems == []
    expected = np.zeros((20, 30), dtype=np.uint8)
    expected[3:9, 4:14] = 1
    assert all(np.array_equal(mask, expected) for mask in data.instances(0)[2])
    assert "3 of them boxes without a mask" in data.summary()


def test_boxes_are_cut_to_the_photo(tmp_path: Path) -> None:
    data = read(tmp_path, [rectangle(-5, 12, 60, 15)])
    assert data.problems == []
    boxes, _, masks = data.instances(0)
    assert boxes.tolist() == [[0, 12, 30, 20]]
    assert masks[0, 12:].all()


@pytest.mark.parametrize("area", [None, float("nan")])
def test_an_area_that_is_not_there_is_that_of_the_mask(tmp_path: Path, area: float | None) -> None:
    (entry,) = read(tmp_path, [rectangle(4, 3, 10, 6, area=area)]).truth().dataset["annotations"]
    assert entry["area"] == 60


def test_labels_of_which_nothing_can_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"None of the annotations .* category 0"):
        read(tmp_path, [rectangle(4, 3, 10, 6, category_id=0)] * 3)


def test_labels_with_a_byte_order_mark(tmp_path: Path) -> None:
    labels = write_dataset(tmp_path, [PHOTO], [rectangle(4, 3, 10, 6)])
    labels.write_bytes(b"\xef\xbb\xbf" + labels.read_bytes())
    assert CocoDataset(tmp_path, labels).labels(0) == [1]


def test_annotations_of_other_photos_are_no_problem(tmp_path: Path) -> None:
    data = read(tmp_path, [rectangle(4, 3, 10, 6, image_id=5)])
    assert (data.labels(0), data.problems) == ([], [])


def test_broken_photos_are_left_out_and_named(tmp_path: Path) -> None:
    labels = write_dataset(tmp_path, [PHOTO] * 5, [rectangle(4, 3, 10, 6, image_id=5)])
    (tmp_path / "1.png").unlink()
    (tmp_path / "2.png").write_bytes(b"no picture")
    (tmp_path / "3.png").write_bytes((tmp_path / "4.png").read_bytes()[:-900])
    Image.fromarray(PHOTO[:, :9]).save(tmp_path / "4.png")
    data = CocoDataset(tmp_path, labels)
    assert (data.ids, data.labels(0)) == ([5], [1])
    assert len(data.problems) == 4
    for number, problem in enumerate(data.problems, start=1):
        assert problem.startswith(f"Photo {number}.png was left out: ")
    assert "9x20" in data.problems[3]
    assert "30x20" in data.problems[3]
    (tmp_path / "5.png").unlink()
    with pytest.raises(RecipeError, match="no photo that can be read"):
        CocoDataset(tmp_path, labels)


def image(**changes: Any) -> dict[str, Any]:
    return {"id": 1, "file_name": "1.png", "width": 30, "height": 20} | changes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "not in COCO format"),
        ({"images": [], "categories": []}, "annotations"),
        ({"images": {}, "annotations": [], "categories": []}, "images"),
        ({"images": ["a"], "annotations": [], "categories": []}, "images.0"),
        ({"images": [image(id="1")], "annotations": [], "categories": []}, "images.0.id"),
        ({"images": [image(width=0)], "annotations": [], "categories": []}, "images.0.width"),
        ({"images": [{"id": 1}], "annotations": [], "categories": []}, "images.0.file_name"),
        ({"images": [image()], "annotations": [], "categories": []}, "no category"),
        ({"images": [image(), image()], "annotations": [], "categories": CATEGORIES}, "Two photos"),
        ({"images": [image()], "annotations": [], "categories": [{"id": 1, "name": "a"}] * 2}, "Two categories"),
        ({"images": [image()], "annotations": [], "categories": [{"id": 1}]}, "categories.0.name"),
        ({"images": [], "annotations": [], "categories": CATEGORIES}, "no photo that can be read"),
        ({"images": [image()], "annotations": [], "categories": CATEGORIES}, "read from .*1.png.*no such file"),
    ],
)
def test_wrong_labels_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    labels = tmp_path / "labels.json"
    labels.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(RecipeError, match=message):
        CocoDataset(tmp_path, labels)


def test_missing_and_binary_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        CocoDataset(tmp_path, tmp_path / "none.json")
    (tmp_path / "labels.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="cannot be read"):
        CocoDataset(tmp_path, tmp_path / "labels.json")


def test_the_split_never_changes() -> None:
    held = [k for k in range(200) if in_validation(f"{k}.jpg", 0.05)]
    assert held == [26, 96, 115, 138, 195]


@given(st.text(st.characters(codec="utf-8")), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_validation_part_holds_the_smaller_one(name: str, one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert in_validation(name, small) <= in_validation(name, large)
    assert not in_validation(name, 0)
    assert in_validation(name, 1)


def test_splits_are_disjoint_and_complete(tmp_path: Path) -> None:
    parts = {
        split: read(tmp_path, [rectangle(4, 3, 10, 6, image_id=3)], photos=12, split=split, validation=0.4).ids
        for split in ("all", "train", "validation")
    }
    assert parts["train"]
    assert parts["validation"]
    assert sorted(parts["train"] + parts["validation"]) == parts["all"] == list(range(1, 13))
    assert read(tmp_path, [], photos=12, limit=4).ids == [1, 2, 3, 4]


def test_photos_of_rare_classes_are_repeated(tmp_path: Path) -> None:
    common = [rectangle(4, 3, 10, 6, image_id=k) for k in range(1, 9)]
    data = read(tmp_path, [*common, rectangle(4, 3, 10, 6, image_id=2, category_id=7)], photos=9)
    assert repeated(data, 0.0).tolist() == list(range(9))
    counts = np.bincount(repeated(data, 0.9, seed=1), minlength=9)
    assert counts[1] in (2, 3)
    assert counts[8] == 1
    assert np.array_equal(counts, np.bincount(repeated(data, 0.9, seed=1), minlength=9))
    assert (np.delete(counts, [1, 8]) <= 2).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("upright", [False, True])
def test_the_size_in_the_labels_tells_how_a_photo_lies(tmp_path: Path, orientation: int, upright: bool) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    turned = upright and orientation >= 5
    corners = [4, 3, 14, 3, 14, 9, 4, 9]
    labels = write_dataset(tmp_path, [PHOTO.transpose(1, 0, 2) if turned else PHOTO], [])
    content = json.loads(labels.read_text())
    content["annotations"] = [rectangle(4, 3, 10, 6, segmentation=[corners])]
    labels.write_text(json.dumps(content))
    Image.fromarray(PHOTO).save(tmp_path / "1.png", exif=exif)
    data = CocoDataset(tmp_path, labels)
    expected = Image.fromarray(PHOTO)
    if turned:
        with Image.open(tmp_path / "1.png") as image:
            expected = ImageOps.exif_transpose(image)
    assert np.array_equal(data.photo(0), np.asarray(expected))
    assert data.instances(0)[2].shape[1:] == data.photo(0).shape[:2]


def test_photos_beyond_the_budget_are_decoded_when_needed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    annotations = [rectangle(4, 3, 10, 6, image_id=number, id=number) for number in range(1, 7)]
    labels = write_dataset(tmp_path, [PHOTO + number for number in range(6)], annotations)
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:-900])
    (tmp_path / "3.png").write_bytes(b"no picture")
    Image.fromarray(PHOTO[:, :9]).save(tmp_path / "4.png")
    data = CocoDataset(tmp_path, labels, memory=2 * PHOTO.nbytes)
    assert data.ids == [1, 2, 5, 6]
    assert [problem.split()[1] for problem in data.problems] == ["3.png", "4.png"]
    assert all(np.array_equal(data.photo(k), PHOTO + (data.ids[k] - 1)) for k in (0, 2, 3, 2, 0))
    with pytest.raises(PictureError, match=r"2\.png"):
        data.photo(1)
    views = [data.sample(1, np.random.default_rng(seed)) for seed in range(20)]
    assert all((view.photo != PHOTO + 1).any() and view.labels.tolist() == [1] for view in views)
    assert len({view.photo[0, 0, 0] for view in views}) == 3
    again = [data.sample(1, np.random.default_rng(seed)) for seed in range(20)]
    assert all(np.array_equal(a.photo, b.photo) for a, b in zip(views, again, strict=True))
    assert [problem.split()[1] for problem in data.problems] == ["3.png", "4.png", "2.png"]
    assert "2.png was left out" in caplog.text


def test_labels_without_a_photo_that_can_be_decoded_are_refused(tmp_path: Path) -> None:
    labels = write_dataset(tmp_path, [PHOTO] * 2, [])
    for number in (1, 2):
        path = tmp_path / f"{number}.png"
        path.write_bytes(path.read_bytes()[:-900])
    for memory in (0, 1 << 20):
        with pytest.raises(RecipeError, match="no photo that can be read"):
            CocoDataset(tmp_path, labels, memory=memory)


def test_a_summary_counts_and_names_a_few_problems(tmp_path: Path) -> None:
    good = [rectangle(4, 3, 10, 6, id=1), rectangle(4, 3, 10, 6, id=2, iscrowd=1)]
    bad = [rectangle(4, 3, 10, 6, id=k, category_id=99) for k in range(3, 10)]
    labels = write_dataset(tmp_path, [PHOTO] * 2, good + bad)
    Image.fromarray(PHOTO).save(tmp_path / "unlisted.png")
    data = CocoDataset(tmp_path, labels)
    file = tmp_path / "run" / "problems.txt"
    first, *named, rest = data.summary(file).splitlines()
    assert first.startswith(f"2 photos in {tmp_path} with 1 instances, 2 classes, 1 crowds, 1 photos there are not")
    assert named == data.problems[:5]
    assert rest == f"... and 2 more problems, all in {file}"
    assert file.read_text().splitlines() == data.problems
    assert data.summary().splitlines()[-1] == "... and 2 more problems"


def test_a_dataset_can_be_sent_to_another_process(tmp_path: Path) -> None:
    data = read(tmp_path, [rectangle(4, 3, 10, 6)])
    sent = pickle.dumps(data)
    assert PHOTO.tobytes()[:100] not in sent
    copy = pickle.loads(sent)
    assert np.array_equal(copy.photo(0), PHOTO)
    assert copy.labels(0) == [1]


@pytest.mark.parametrize("nothing", [[[]], [[], []], [], None])
def test_empty_polygons_are_no_mask(tmp_path: Path, nothing: object) -> None:
    data = read(tmp_path, [rectangle(4, 3, 10, 6, segmentation=nothing)])
    assert data.problems == []
    assert "1 of them boxes without a mask" in data.summary()


@pytest.mark.parametrize(
    "bad",
    [[], [4, 3], [4, 3, 14, 3], [1, 2, 3, 4, 5, 6, 7], [0, 0, 1e9, 0, 1e9, 1e9], [0, 0, 1, 1, 2, float("nan")]],
)
def test_a_bad_polygon_costs_itself_alone(tmp_path: Path, bad: list[float]) -> None:
    good = [4, 3, 14, 3, 14, 9, 4, 9]
    data = read(tmp_path, [rectangle(4, 3, 10, 6, id=9, segmentation=[bad, good])])
    assert data.labels(0) == [1]
    assert data.instances(0)[2].sum() == 60
    assert len(data.problems) == 1
    assert data.problems[0].startswith("A polygon of annotation 9 of 1.png was left out: ")
