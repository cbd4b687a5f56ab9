"""Boxes in NumPy: the same as torchvision's operations."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import MultiScaleRoIAlign, batched_nms, box_iou

from diptych.tasks.regions import best_apart, overlaps, pasted, pooled, resized

SEEDS = st.integers(0, 2**32 - 1)


def boxes_in(random: np.random.Generator, count: int, size: tuple[int, int]) -> np.ndarray:
    """Boxes of all sizes in a picture of a height and width, thin ones and whole pictures among them."""
    limits = np.array(size[::-1] * 2, np.float32)
    ends = np.sort(random.random((count, 2, 2)), axis=1).reshape(count, 4).astype(np.float32) * limits
    ends[0], ends[1, 2:] = [0, 0, size[1], size[0]], ends[1, :2] + 0.01
    return ends


@settings(max_examples=30)
@given(SEEDS, st.integers(2, 60), st.sampled_from([0.3, 0.5, 0.7]))
def test_suppression(seed: int, count: int, limit: float) -> None:
    random = np.random.default_rng(seed)
    boxes, groups = boxes_in(random, count, (40, 60)), random.integers(0, 3, count)
    scores = random.permutation(count).astype(np.float32)
    expected = batched_nms(*map(torch.from_numpy, (boxes, scores, groups)), limit).numpy()
    assert np.array_equal(best_apart(boxes, scores, groups, limit, count), expected)
    assert np.array_equal(best_apart(boxes, scores, groups, limit, 3), expected[:3])
    iou = box_iou(torch.from_numpy(boxes), torch.from_numpy(boxes)).numpy()
    assert np.allclose(overlaps(boxes, boxes), iou, atol=1e-6)


@settings(max_examples=30)
@given(SEEDS, st.sampled_from([7, 14]), st.sampled_from([(96, 128), (32, 32), (384, 256)]))
def test_pooling(seed: int, side: int, size: tuple[int, int]) -> None:
    random = np.random.default_rng(seed)
    boxes = boxes_in(random, 12, size)
    levels = [random.standard_normal((size[0] // s, size[1] // s, 3), np.float32) for s in (8, 16, 32)]
    features = {str(k): torch.from_numpy(f).permute(2, 0, 1)[None] for k, f in enumerate(levels)}
    pool = MultiScaleRoIAlign(["0", "1", "2"], side, 2)
    expected = pool(features, [torch.from_numpy(boxes)], [size]).permute(0, 2, 3, 1).numpy()
    assert np.allclose(pooled(levels, boxes, (8, 16, 32), side), expected, atol=1e-4)


@settings(max_examples=30)
@given(SEEDS, st.sampled_from([(40, 60), (1, 1), (7, 200)]))
def test_pasting(seed: int, size: tuple[int, int]) -> None:
    random = np.random.default_rng(seed)
    boxes, masks = boxes_in(random, 5, size), random.random((5, 28, 28), np.float32)
    expected = paste_masks_in_image(torch.from_numpy(masks)[:, None], torch.from_numpy(boxes), size)[:, 0].numpy()
    found = pasted(masks, boxes, size)
    assert found.shape == (5, *size)
    # A box whose side is a whole number of pixels but for the last digit may get one more.
    assert (np.abs(found - expected) < 1e-4).mean() > 0.97


@pytest.mark.parametrize("old", [(1, 1), (5, 9), (64, 48)])
@pytest.mark.parametrize("new", [(1, 1), (3, 20), (64, 48), (97, 31)])
def test_resizing(old: tuple[int, int], new: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).random((3, *old), np.float32)
    expected = interpolate(torch.from_numpy(picture)[None], new, mode="bilinear", align_corners=False)[0].numpy()
    assert np.allclose(resized(picture, new), expected, atol=1e-5)
