"""Random views of labelled photos, mosaics and pasted objects: labels move with the pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from diptych.data.augment import PADDING, Augmentation, Example, mosaic, paste, training_example
from diptych.data.coco import IGNORE, CocoDataset
from diptych.data.photos import Photos
from labels import compressed, rectangle, write_dataset

SIZE = 64
BOX = (16, 20, 36, 28)
"""Left, top, width and height of the red object in the wide photo."""
VIEWS = st.builds(
    lambda low, high, colour: Augmentation(SIZE, (min(low, high), max(low, high)), colour),
    st.floats(0.4, 2),
    st.floats(0.4, 2),
    st.sampled_from([0.0, 0.3]),
)
SEEDS = st.integers(0, 2**31)


def wide_photo() -> np.ndarray:
    """Blue, with a red ellipse that fills ``BOX``."""
    photo = np.zeros((80, 110, 3), dtype=np.uint8)
    photo[..., 2] = 200
    photo[ellipse()] = (200, 0, 0)
    return photo


def ellipse() -> np.ndarray:
    x, y, width, height = BOX
    rows, columns = np.mgrid[:80, :110] + 0.5
    return ((columns - x - width / 2) / (width / 2)) ** 2 + ((rows - y - height / 2) / (height / 2)) ** 2 <= 1


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> CocoDataset:
    """A wide photo with one object, a square one with an object and a crowd, and one without labels."""
    folder = tmp_path_factory.mktemp("augment")
    square = (np.random.default_rng(0).random((SIZE, SIZE, 3)) ** 8 * 256).astype(np.uint8)
    annotations = [
        rectangle(*BOX, image_id=1, segmentation=compressed(ellipse())),
        rectangle(8, 10, 20, 30, image_id=2, category_id=7),
        rectangle(30, 30, 30, 30, image_id=2, iscrowd=1),
    ]
    return CocoDataset(folder, write_dataset(folder, [wide_photo(), square, square[:40]], annotations))


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    folder = tmp_path_factory.mktemp("unlabelled")
    Image.fromarray(wide_photo()).save(folder / "photo.png")
    return Photos(folder)


def view(data: CocoDataset, index: int, how: Augmentation, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    return training_example(data, index, how, np.random.default_rng(seed))


def surroundings(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mask without its rim of two pixels, and everything two pixels or more away from it."""
    padded = np.pad(mask.astype(bool), 2, mode="edge")
    shifted = [padded[i : i + mask.shape[0], j : j + mask.shape[1]] for i in range(5) for j in range(5)]
    return np.all(shifted, axis=0), ~np.any(shifted, axis=0)


@settings(max_examples=60)
@given(how=VIEWS, seed=SEEDS, index=st.integers(0, 2))
def test_shapes_ranges_and_determinism(data: CocoDataset, how: Augmentation, seed: int, index: int) -> None:
    picture, target = view(data, index, how, seed)
    assert (picture.shape, picture.dtype) == ((3, SIZE, SIZE), torch.float32)
    assert 0 <= float(picture.min()) <= float(picture.max()) <= 1
    boxes, labels, masks = target["boxes"], target["labels"], target["masks"]
    count = len(labels)
    assert (boxes.shape, boxes.dtype) == ((count, 4), torch.float32)
    assert (masks.shape, masks.dtype) == ((count, SIZE, SIZE), torch.uint8)
    assert labels.dtype == torch.int64
    assert set(labels.tolist()) <= {IGNORE, 1, 2}
    assert ((boxes >= 0) & (boxes <= SIZE)).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= 4).all()
    again, same = view(data, index, how, seed)
    assert torch.equal(picture, again)
    assert all(torch.equal(target[name], same[name]) for name in target)


@settings(max_examples=100)
@given(how=VIEWS, seed=SEEDS)
def test_box_mask_and_pixels_move_together(data: CocoDataset, how: Augmentation, seed: int) -> None:
    picture, target = view(data, 0, how, seed)
    for box, mask in zip(target["boxes"].tolist(), target["masks"].numpy(), strict=True):
        rows, columns = np.nonzero(mask)
        if not rows.size:
            continue
        assert box[0] - 1 <= columns.min() <= columns.max() + 1 <= box[2] + 1
        assert box[1] - 1 <= rows.min() <= rows.max() + 1 <= box[3] + 1
        red = (picture[0] > picture[2]).numpy()
        inside, outside = surroundings(mask)
        assert red[inside].all()
        assert not red[outside].any()


@settings(max_examples=100)
@given(scale=st.floats(0.5, 3), seed=SEEDS)
def test_what_is_cropped_too_far_is_ignored(data: CocoDataset, scale: float, seed: int) -> None:
    how = Augmentation(SIZE, (scale, scale), 0.0)
    _, target = view(data, 0, how, seed)
    factor = scale * SIZE / 110
    whole = BOX[2] * BOX[3] * factor**2
    for box, label in zip(target["boxes"], target["labels"].tolist(), strict=True):
        left = float((box[2] - box[0]) * (box[3] - box[1])) / whole
        assert left <= 1.001
        if abs(left - how.keep) > 0.01:
            assert (label == IGNORE) == (left < how.keep)
    if scale <= 1:
        assert target["labels"].tolist() == [1]


@settings(max_examples=30)
@given(seed=SEEDS)
def test_at_its_own_size_a_photo_is_only_flipped(data: CocoDataset, seed: int) -> None:
    picture, target = view(data, 1, Augmentation(SIZE, (1.0, 1.0), 0.0), seed)
    pixels, masks = data.photo(1), data.instances(1, crowds=True)[2]
    boxes = [[8, 10, 28, 40], [30, 30, 60, 60]]
    found = (picture * 255).round().byte().permute(1, 2, 0).numpy()
    if not np.array_equal(found, pixels):
        pixels, masks = pixels[:, ::-1], masks[:, :, ::-1]
        boxes = [[36, 10, 56, 40], [4, 30, 34, 60]]
    assert np.array_equal(found, pixels)
    assert np.array_equal(target["masks"].numpy(), masks)
    assert target["boxes"].tolist() == boxes
    assert target["labels"].tolist() == [2, IGNORE]


def test_half_of_the_views_are_flipped(data: CocoDataset) -> None:
    how = Augmentation(SIZE, (1.0, 1.0), 0.0)
    flipped = [float(view(data, 1, how, seed)[1]["boxes"][0, 0]) == 36 for seed in range(60)]
    assert 15 < sum(flipped) < 45


def test_small_photos_lie_on_a_grey_canvas(data: CocoDataset) -> None:
    picture, target = view(data, 0, Augmentation(SIZE, (0.5, 0.5), 0.0), 3)
    grey = (picture * 255).round().eq(PADDING).all(dim=0)
    assert int((~grey).sum()) == 32 * round(80 * 32 / 110)
    assert target["labels"].tolist() == [1]


@settings(max_examples=30)
@given(how=VIEWS, seed=SEEDS)
def test_views_of_photos_without_labels_are_the_same_views(
    data: CocoDataset, unlabelled: Photos, how: Augmentation, seed: int
) -> None:
    picture, target = training_example(unlabelled, 0, how, np.random.default_rng(seed))
    assert torch.equal(picture, view(data, 0, how, seed)[0])
    assert {name: tuple(value.shape) for name, value in target.items()} == {
        "boxes": (0, 4),
        "labels": (0,),
        "masks": (0, SIZE, SIZE),
    }


def test_colours_change_within_bounds(data: CocoDataset) -> None:
    plain, _ = view(data, 1, Augmentation(SIZE, (1.0, 1.0), 0.0), 5)
    bright, _ = view(data, 1, Augmentation(SIZE, (1.0, 1.0), 0.2), 5)
    assert not torch.equal(plain, bright)
    assert 0.7 * float(plain.mean()) < float(bright.mean()) < 1.3 * float(plain.mean())


def example(box: tuple[int, int, int, int], label: int = 1, level: float = 0.0) -> Example:
    """A picture of one grey level with one rectangular object, brighter by 0.5."""
    left, top, right, bottom = box
    picture = torch.full((3, SIZE, SIZE), level)
    picture[:, top:bottom, left:right] += 0.5
    mask = torch.zeros(1, SIZE, SIZE, dtype=torch.uint8)
    mask[:, top:bottom, left:right] = 1
    return picture, {"boxes": torch.tensor([box]).float(), "labels": torch.tensor([label]), "masks": mask}


def covered(example: Example, number: int) -> torch.Tensor:
    """Which pixels the mask of an object says are its own."""
    return example[1]["masks"][number].bool()


def test_objects_keep_their_pixels_in_a_mosaic() -> None:
    boxes = [(2, 3, 9, 12), (20, 1, 30, 8), (0, 0, 5, 5), (16, 16, 32, 32)]
    picture, target = mosaic([example(box, number + 1) for number, box in enumerate(boxes)])
    assert picture.shape == (3, 2 * SIZE, 2 * SIZE)
    assert target["labels"].tolist() == [1, 2, 3, 4]
    for number, (box, mask) in enumerate(zip(target["boxes"].int().tolist(), target["masks"], strict=True)):
        left, top, right, bottom = box
        assert mask.sum() == (right - left) * (bottom - top)
        assert mask[top:bottom, left:right].all()
        assert (picture[:, mask.bool()] == 0.5).all(), number


def test_a_pasted_object_hides_what_is_below() -> None:
    random = np.random.default_rng(1)  # whose first number chooses the only object
    below, above = example((4, 4, 20, 20), 1), example((12, 0, 32, 32), 2, level=0.25)
    picture, target = mixed = paste(below, above, random)
    assert target["labels"].tolist() == [1, 2]
    assert target["boxes"].tolist() == [[4, 4, 12, 20], [12, 0, 32, 32]]
    assert not (covered(mixed, 0) & covered(mixed, 1)).any()
    assert (picture[:, covered(mixed, 1)] == 0.75).all()
    assert (picture[:, covered(mixed, 0)] == 0.5).all()


def test_what_is_hidden_is_no_longer_taught() -> None:
    _, target = paste(example((10, 10, 14, 14), 1), example((0, 0, 32, 32), 2), np.random.default_rng(1))
    assert target["labels"].tolist() == [2]


def test_nothing_to_paste_changes_nothing() -> None:
    below, crowd = example((4, 4, 20, 20)), example((12, 0, 32, 32), -1)
    assert paste(below, crowd, np.random.default_rng(1)) is below
