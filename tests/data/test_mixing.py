"""Mosaics and pasted objects: labels follow the pixels."""

import numpy as np
import torch

from diptych.data.mixing import Example, mosaic, paste

SIDE = 32


def example(box: tuple[int, int, int, int], label: int = 1, level: float = 0.0) -> Example:
    """A picture of one grey level with one rectangular object, brighter by 0.5."""
    left, top, right, bottom = box
    picture = torch.full((3, SIDE, SIDE), level)
    picture[:, top:bottom, left:right] += 0.5
    mask = torch.zeros(1, SIDE, SIDE, dtype=torch.uint8)
    mask[:, top:bottom, left:right] = 1
    return picture, {"boxes": torch.tensor([box]).float(), "labels": torch.tensor([label]), "masks": mask}


def covered(example: Example, number: int) -> torch.Tensor:
    """Which pixels the mask of an object says are its own."""
    return example[1]["masks"][number].bool()


def test_objects_keep_their_pixels_in_a_mosaic() -> None:
    boxes = [(2, 3, 9, 12), (20, 1, 30, 8), (0, 0, 5, 5), (16, 16, 32, 32)]
    picture, target = mosaic([example(box, number + 1) for number, box in enumerate(boxes)])
    assert picture.shape == (3, 2 * SIDE, 2 * SIDE)
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
